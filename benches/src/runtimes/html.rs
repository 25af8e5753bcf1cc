//! The report as one HTML file that needs nothing else, and its picture.

use super::programs::Role;
use super::report::{Cell, Line, Report};
use super::table::remarks;
use crate::compare::html::{figure, style_sheet};
use crate::compare::plot::rows::{Bar, Grid};
use crate::compare::table::{PARTIAL, number, percent};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page.
pub fn page(report: &Report) -> Result<String, String> {
    let first = report.runtimes().first().map_or("", |runtime| &runtime.name);
    let machine = &report.setting.machine;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Green-thread runtimes side by side" }
                style { (PreEscaped(style_sheet())) }
            }
            body {
                h1 { "Green-thread runtimes side by side" }
                @if report.partial { p.warning { (PARTIAL) } }
                p {
                    (machine.date) ": " (machine.processor) ", " (machine.processors) " processors, " (machine.memory_gib)
                    " GiB, Linux " (machine.kernel) ", " (machine.distribution) "; load average before the run "
                    (machine.load_average) ". " (report.setting.repetitions) " repetitions of " (report.setting.seconds) " s, "
                    (format!("{:.1}", report.setting.latency_seconds)) " s for latencies."
                }
                @if let Some(svg) = picture(report)? {
                    p { "In the picture " (first) " is 1.0: to the right a runtime costs more, to the left less." }
                    (figure(&svg))
                }
                (table(report))
                ul { @for remark in remarks(report) { li { (remark) } } }
                (participants(report))
                (method(report))
            }
        }
    };
    Ok(page.into_string())
}

/// The picture: a panel for each peer, a bar for each line. None without peers.
pub fn picture(report: &Report) -> Result<Option<String>, String> {
    let lines: Vec<_> = report.lines().collect();
    let bar = |line: &Line, index: usize| match (line.ratio(index), &line.cells[index]) {
        (Some(ratio), _) => Bar::Ratio(1.0 / ratio),
        (None, Cell::Failed) => Bar::Failed,
        (None, _) => Bar::None,
    };
    let peers = report.shown().into_iter().skip(1);
    let grid = Grid {
        what: "cost (of a speed its inverse)",
        ours: report.runtimes().first().map_or("", |runtime| &runtime.name),
        participants: "runtimes",
        rows: lines
            .iter()
            .map(|(row, line)| (format!("{}: {}", row.name, line.figure), report.noise(line).unwrap_or(0.0)))
            .collect(),
        peers: peers
            .map(|index| {
                let name = report.runtimes()[index].name.clone();
                (name, lines.iter().map(|(_, line)| bar(line, index)).collect())
            })
            .collect(),
    };
    grid.draw()
}

fn table(report: &Report) -> Markup {
    let shown = report.shown();
    html! { div.wide { table {
        thead { tr {
            th { "row" }
            @for &index in &shown { th { (report.runtimes()[index].name) } }
            th { "aim" }
            th { "noise" }
        } }
        tbody { @for (row, line) in report.lines() { tr {
            th scope="row" title=(row.does) { (row.name) ": " (line.figure) }
            @for &index in &shown { td { (cell(line, index, line.best(&shown) == Some(index))) } }
            td { @if let Some(aim) = line.aim { (number(aim)) } @else { "–" } }
            td { (percent(report.noise(line))) }
        } } }
    } } }
}

fn cell(line: &Line, index: usize, best: bool) -> Markup {
    match &line.cells[index] {
        Cell::Measured(summary) => html! {
            @if best { strong { (number(summary.median)) } } @else { (number(summary.median)) }
            " " small { "[" (number(summary.min)) "–" (number(summary.max)) "]" }
        },
        Cell::Unsupported => html! { "–" },
        Cell::Failed => html! { "fails" },
        Cell::Absent => html! { small { "not run" } },
    }
}

fn participants(report: &Report) -> Markup {
    html! {
        h2 { "Runtimes" }
        table {
            thead { tr { th { "runtime" } th.text { "version" } th.text { "from" } } }
            tbody { @for runtime in report.runtimes().iter().filter(|runtime| runtime.role != Role::Control) { tr {
                th scope="row" { (runtime.name) }
                td.text { (runtime.version) }
                td.text { (runtime.source) }
            } } }
        }
        h2 { "Rows" }
        table { tbody { @for row in &report.rows { tr { th scope="row" { (row.name) } td.text { (row.does) } } } } }
    }
}

fn method(report: &Report) -> Markup {
    html! {
        h2 { "Method" }
        ul {
            li { "Each row runs in a process of its own, on as many processors as it is for. It checks its answer; a wrong one is a \
                  failure, and a row that failed once has no figures." }
            li { "Interleaved: one repetition runs each row under all runtimes, one right after the other, and the order is rotated." }
            li { "Figures are medians of the repetitions; the least and the greatest stand in brackets." }
            li { "The programs find by themselves how many operations take the time they are given; that is the warm-up too. CPU time \
                  is that of the whole process, helper threads included." }
            li { "Late is a task for every millisecond at which it was due and had not yet run: one that does not run at all until the \
                  hogs are done is late by half the test in the median." }
            li { "Requests come from one load generator, a process of its own. Parked tasks all wait for one thing, so that a \
                  task's memory is counted and not that of what it waits for." }
        }
        h2 { "To repeat it" }
        p { "On a machine with nothing else to do:" }
        pre { code { "make bench-runtime BENCH_RUNTIME_FLAGS='--repetitions " (report.setting.repetitions) "'" } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::plain;
    use super::{page, picture};

    #[test]
    fn the_page_has_every_runtime_row_and_remark() {
        let page = page(&plain("fairground")).unwrap();
        for expected in ["threads", "yield: ns of CPU", "fails", "Missing: may", "<svg", "million messages/s"] {
            assert!(page.contains(expected), "no {expected}");
        }
    }

    #[test]
    fn the_picture_is_one_that_can_be_parsed_and_needs_peers() {
        let mut report = plain("fairground");
        let svg = picture(&report).unwrap().unwrap();
        assert!(roxmltree::Document::parse(&svg).is_ok());
        report.setting.runtimes.truncate(2);
        assert!(picture(&report).unwrap().is_none());
    }
}
