//! The report as one HTML file that needs nothing else: the pictures, the tables behind them, and what is needed to believe
//! them and to repeat them.
//!
//! It has a style sheet of its own, no script and no reference to anything outside. Pictures are part of the text; on a dark
//! background the few inks that they are drawn with (see [`plot`]) are turned by the style sheet.

use super::losses::{self, Entry, MUST_BE_EXPLAINED};
use super::peers::Role;
use super::plot::{self, relative_mean};
use super::report::{Lost, Metric, NO_DIFFERENCE, Report, Row};
use super::table::{PARTIAL, lost_by, number, percent};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page.
pub fn page(report: &Report, entries: &[Entry]) -> Result<String, String> {
    let ours = &report.allocators()[0].name;
    let title = title_case(&format!("{ours} beside its peers"));
    let lost: Vec<Lost> = Metric::CONTESTED.into_iter().flat_map(|metric| report.lost(metric)).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style_sheet())) }
            }
            body {
                h1 { (title) }
                @if report.partial { p.warning { (PARTIAL) } }
                p { (provenance(report)) }
                p {
                    "In pictures and tables " (ours) " is 1.0: a number above 1.0 means that an allocator takes more than " (ours)
                    ", below 1.0 that it takes less."
                }
                (summary(report)?)
                (lost_rows(report, &lost, entries))
                (row_by_row(report)?)
                (over_time(report)?)
                (failures(report))
                (participants(report))
                (method(report))
            }
        }
    };
    Ok(page.into_string())
}

pub(crate) fn style_sheet() -> String {
    let hex = |c: plotters::style::RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let inks = [(plot::INK, "--ink"), (plot::SOFT, "--soft"), (plot::GRID, "--grid"), (plot::PAPER, "--paper")];
    let turned: Vec<String> = inks
        .into_iter()
        .map(|(ink, name)| {
            let value = hex(ink);
            format!("svg [fill='{value}']{{fill:var({name})}}svg [stroke='{value}']{{stroke:var({name})}}")
        })
        .collect();
    format!("{STYLE}{}", turned.concat())
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#5f5f5f;--grid:#dcdcdc;--paper:#ffffff}\
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--soft:#a9a9a9;--grid:#3d3d3d;--paper:#161616}}\
body{font:15px/1.5 sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}\
h1{font-size:1.7rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--grid)}\
.wide{overflow-x:auto;margin:1rem 0}svg{display:block;height:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}\
th:first-child,td:first-child,td.text,th.text{text-align:left}td.long{white-space:normal;text-align:left;min-width:18rem}\
thead th{border-bottom:2px solid var(--soft)}small{color:var(--soft)}\
summary{cursor:pointer}.warning{border:2px solid;padding:.5rem 1rem}code{font-size:.95em}";

/// A picture. Its own name of the SVG format goes: inside HTML it is not needed.
pub(crate) fn figure(svg: &str) -> Markup {
    let inline = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    html! { div.wide { (PreEscaped(inline)) } }
}

fn provenance(report: &Report) -> Markup {
    let machine = &report.setting.machine;
    html! {
        (machine.date) ": " (machine.processor) ", " (machine.processors) " processors, " (machine.memory_gib) " GiB, Linux "
        (machine.kernel) ", " (machine.distribution) "; load average before the run " (machine.load_average) ". "
        (report.rows.len()) " rows, " (report.setting.repetitions) " repetitions, "
        (report.setting.threads.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ")) " threads, scale "
        (report.setting.scale) "."
    }
}

fn relative(value: Option<f64>, noise: Option<f64>) -> Markup {
    html! {
        @if let Some(value) = value {
            (format!("{value:.2}"))
            @if let Some(noise) = noise { " " small { "±" (percent(Some(noise))) } }
        } @else { "–" }
    }
}

/// The noise of the mean of two allocators' ratios; an allocator by itself has none.
fn mean_noise(report: &Report, a: usize, b: usize, metric: Metric) -> Option<f64> {
    if a == b { None } else { report.mean_noise(metric) }
}

fn summary(report: &Report) -> Result<Markup, String> {
    Ok(html! {
        h2 { "Summary" }
        (figure(&plot::summary::draw(report)?))
        (figure(&plot::scatter::draw(report)?))
        details open {
            summary { "Table: geometric means relative to " (report.allocators()[0].name) ", and the control's noise" }
            div.wide { table {
                thead { tr { th { "allocator" } @for metric in Metric::ALL { th { (metric.name()) } } } }
                tbody { @for index in report.shown() { tr {
                    th scope="row" { (report.allocators()[index].name) }
                    @for metric in Metric::ALL {
                        td {
                            (relative(relative_mean(report, metric, index), mean_noise(report, index, 0, metric)))
                            @if let Some(mean) = report.pair(metric, index, 0) { " " small { (mean.rows) " rows" } }
                        }
                    }
                } } }
            } }
        }
        @for metric in Metric::DECISIVE { (pairs(report, metric)) }
    })
}

/// Every allocator against every other.
fn pairs(report: &Report, metric: Metric) -> Markup {
    html! { details {
        summary { "Table: " (metric.name()) ", every pair: the line's allocator divided by the column's" }
        div.wide { table {
            thead { tr { th {} @for b in report.shown() { th { (report.allocators()[b].name) } } } }
            tbody { @for a in report.shown() { tr {
                th scope="row" { (report.allocators()[a].name) }
                @for b in report.shown() {
                    td { (relative(report.pair(metric, a, b).map(|mean| mean.ratio), mean_noise(report, a, b, metric))) }
                }
            } } }
        } }
    } }
}

fn lost_rows(report: &Report, lost: &[Lost], entries: &[Entry]) -> Markup {
    let ours = &report.allocators()[0].name;
    let unexplained = losses::unexplained(report, entries);
    html! {
        h2 { "Rows that are lost" }
        p {
            "The rows in which the best peer takes less than " (ours) " by more than the row's noise and by more than "
            (percent(Some(NO_DIFFERENCE))) ". Here the ratio is " (ours) "'s median divided by that peer's."
        }
        @if lost.is_empty() { p { "None." } } @else {
            div.wide { table {
                thead { tr {
                    th { "row" } th.text { "in" } th { "ratio" } th.text { "to" } th { "noise" }
                    th.text { "why" } th.text { "what would help" }
                } }
                tbody { @for lost in lost {
                    tr {
                        th scope="row" { (lost.row.workload) }
                        td.text { (lost.metric.name()) }
                        td { (format!("{:.2}", lost.ratio)) }
                        td.text { (lost.peer.name) }
                        td { (percent(Some(lost.noise))) }
                        @if let Some(entry) = losses::entry(entries, lost) {
                            td.long { (entry.why) }
                            td.long { (entry.would_help) }
                        } @else if losses::must_be_explained(lost) {
                            td.text { strong { "No entry in benches/LOSSES.md." } }
                            td {}
                        } @else {
                            td.text { small { "No entry, and none is asked for." } }
                            td {}
                        }
                    }
                } }
            } }
        }
        @if !unexplained.is_empty() {
            div.warning {
                "Worse than " (MUST_BE_EXPLAINED) " of the best peer and without an entry in benches/LOSSES.md:"
                ul { @for lost in &unexplained { li { (lost.metric.name()) ": " (lost_by(lost)) } } }
            }
        }
    }
}

fn row_by_row(report: &Report) -> Result<Markup, String> {
    let mut sections = Vec::new();
    for metric in Metric::ALL {
        if let Some(svg) = plot::rows::draw(report, metric)? {
            sections.push((metric, svg));
        }
    }
    Ok(html! {
        h2 { "Row by row" }
        @for (metric, svg) in &sections {
            h3 { (title_case(&metric.title())) }
            (figure(svg))
            details { summary { "Table: medians, least and greatest, ratios and noise" } (row_table(report, *metric)) }
        }
        details {
            summary { "What the rows stand for" }
            table { tbody { @for row in &report.rows { tr {
                th scope="row" { (row.workload) }
                td.text { (row.stands_for) @if let Some(threads) = row.threads { "; " (threads) " threads" } }
            } } } }
        }
    })
}

fn title_case(text: &str) -> String {
    let mut text = text.to_owned();
    text[..1].make_ascii_uppercase();
    text
}

fn row_table(report: &Report, metric: Metric) -> Markup {
    let rows = report
        .rows
        .iter()
        .filter(|row| row.results.iter().any(|f| f.metrics.contains_key(&metric) || !f.failures.is_empty()));
    html! { div.wide { table {
        thead { tr {
            th { (metric.title()) }
            @for index in report.shown() { th { (report.allocators()[index].name) } }
            th { "noise" }
        } }
        tbody { @for row in rows { tr {
            th scope="row" { (row.workload) }
            @for index in report.shown() { td { (cell(report, row, metric, index)) } }
            td { (percent(report.noise(row, metric))) }
        } } }
    } } }
}

fn cell(report: &Report, row: &Row, metric: Metric, index: usize) -> Markup {
    let figures = &row.results[index];
    if !figures.failures.is_empty() {
        return html! { "failed" };
    }
    let Some(summary) = figures.metrics.get(&metric) else { return html! { "–" } };
    html! {
        (number(summary.median)) " " small { "[" (number(summary.min)) "–" (number(summary.max)) "]" }
        @if index > 0 { br; (relative(row.ratio(metric, index).map(|ratio| 1.0 / ratio), report.noise(row, metric))) }
    }
}

fn over_time(report: &Report) -> Result<Markup, String> {
    let mut sections = Vec::new();
    for row in &report.rows {
        if let Some(svg) = plot::resident::draw(report, row)? {
            sections.push((row, svg));
        }
    }
    Ok(html! {
        @if !sections.is_empty() { h2 { "Memory over time" } }
        @for (row, svg) in sections {
            p { (row.workload) ": " (row.stands_for) ". The first run of each allocator." }
            (figure(&svg))
            details { summary { "Table: resident MiB at the end of each phase" } (phase_table(report, row)) }
        }
    })
}

fn phase_table(report: &Report, row: &Row) -> Markup {
    let series = plot::resident::series(report, row);
    let phases: Vec<&str> =
        series.first().map(|(_, s)| s.at_ends().into_iter().map(|end| end.0).collect()).unwrap_or_default();
    html! { div.wide { table {
        thead { tr { th { "allocator" } @for phase in phases { th { (phase) } } } }
        tbody { @for (allocator, series) in &series { tr {
            th scope="row" { (report.allocators()[*allocator].name) }
            @for (_, kib) in series.at_ends() { td { (format!("{:.1}", kib as f64 / 1024.0)) } }
        } } }
    } } }
}

fn failures(report: &Report) -> Markup {
    let setting = &report.setting;
    let any =
        report.failures().next().is_some() || !setting.missing_peers.is_empty() || !setting.missing_jobs.is_empty();
    html! { @if any {
        h2 { "Failed, missing, skipped" }
        ul {
            @for (workload, allocator, reason) in report.failures() {
                li { strong { "failed: " } (workload) " under " (allocator) ": " (reason) }
            }
            @for missing in &setting.missing_peers { li { "missing: " (missing.name) " (" (missing.remedy) ")" } }
            @for (job, reason) in &setting.missing_jobs { li { "skipped: " (job) ": " (reason) } }
        }
    } }
}

fn participants(report: &Report) -> Markup {
    html! {
        h2 { "Allocators" }
        table {
            thead { tr { th { "allocator" } th.text { "version" } th.text { "from" } } }
            tbody { @for allocator in report.allocators() { tr {
                th scope="row" { (allocator.name) }
                td.text { (allocator.version) }
                td.text { (allocator.source) }
            } } }
        }
    }
}

fn method(report: &Report) -> Markup {
    let setting = &report.setting;
    let threads: Vec<String> = setting.threads.iter().map(u16::to_string).collect();
    let peers: Vec<&str> =
        setting.allocators.iter().filter(|a| a.role == Role::Peer).map(|a| a.name.as_str()).collect();
    html! {
        h2 { "Method" }
        ul {
            li { "Fixed work: every allocator does the same, so that both time and memory can be compared. Contents of blocks are \
                  verified, and each run's checksum must be that of the run under glibc; a run that fails or is wrong has no figures." }
            li { "Interleaved: one repetition runs each row under all allocators, one right after the other, and the order is rotated \
                  from row to row and repetition to repetition. A slow minute hurts all alike." }
            li { "Figures are medians of the repetitions; the least and the greatest stand in brackets. A mean over rows is geometric, \
                  over the rows that both allocators have." }
            li { "The control is a copy of the library under test that runs as one more allocator. How far it is from 1.0 is what noise \
                  does to that very row; it is printed beside every ratio (±). No difference within it, or below "
                 (percent(Some(NO_DIFFERENCE))) ", is called one." }
            li { "Peak memory is the process's own high-water mark (VmHWM); faults, user and system time are the kernel's account of \
                  the process. Phases in which a program waits on purpose are no part of its wall time." }
        }
        h2 { "To repeat it" }
        p { "In a checkout of the version under test, on a machine with nothing else to do:" }
        pre { code {
            "make compare COMPARE_FLAGS='--threads " (threads.join(",")) " --repetitions " (setting.repetitions) " --scale " (setting.scale)
            " --peers " (peers.join(",")) "'"
        } }
        p {
            "It writes this page, the tables (compare.md) and the raw data (compare.json: every sample of every run) into "
            code { "out/" } ". " code { "fairground-compare --from compare.json --html report.html" } " draws the page from raw data; "
            code { "fairground-compare --help" } " tells the rest."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::compare::report::tests::made_up;
    use crate::compare::report::{Metric, Report};

    fn pictures(page: &str) -> Vec<&str> {
        let starts = page.match_indices("<svg").map(|(at, _)| at);
        starts.map(|at| &page[at..at + page[at..].find("</svg>").expect("a picture ends") + 6]).collect()
    }

    #[test]
    fn every_row_and_every_allocator_is_on_the_page() {
        let report = made_up();
        let page = page(&report, &[]).unwrap();
        for row in &report.rows {
            assert!(page.contains(&format!("<th scope=\"row\">{}</th>", row.workload)), "{}", row.workload);
        }
        for allocator in report.allocators() {
            assert!(page.contains(&allocator.name), "{}", allocator.name);
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&made_up(), &[]).unwrap();
        for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn pictures_are_well_formed_and_described() {
        let page = page(&made_up(), &[]).unwrap();
        let pictures = pictures(&page);
        // Summary, scatter, time, peak, faults, user time (no system time was used), memory over time.
        assert_eq!(pictures.len(), 7);
        for picture in pictures {
            let document = roxmltree::Document::parse(picture).unwrap();
            let root = document.root_element();
            for name in ["title", "desc"] {
                let text = root.children().find(|node| node.has_tag_name(name)).and_then(|node| node.text());
                assert!(text.is_some_and(|text| text.len() > 10), "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn names_are_text_whatever_is_in_them() {
        let mut report = made_up();
        report.rows[0].results[1].failures.push("<b>crashed & burned".into());
        let page = page(&report, &[]).unwrap();
        assert!(page.contains("&lt;b&gt;crashed &amp; burned") && !page.contains("<b>"));
    }

    #[test]
    fn unexplained_losses_are_named() {
        let report: Report = made_up();
        let lost = report.lost(Metric::Peak);
        assert!(lost.iter().any(|lost| lost.ratio > 1.15));
        let page = page(&report, &[]).unwrap();
        assert!(page.contains("without an entry in benches/LOSSES.md:<ul><li>"), "{}", lost.len());
    }
}
