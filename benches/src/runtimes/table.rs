//! The report as text for a terminal, and as Markdown.

use super::programs::Role;
use super::report::{Cell, Line, Lost, NO_DIFFERENCE, Report, Setting};
use crate::compare::statistics::Summary;
use crate::compare::table::{PARTIAL, aligned, number, percent};
use std::fmt::Write as _;

/// Everything, for a terminal.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut rows = vec![header(report)];
    for (row, line) in report.lines() {
        let mut cells = vec![format!("{}: {}", row.name, line.figure)];
        let best = line.best(&report.shown());
        for index in report.shown() {
            let mark = if best == Some(index) { "*" } else { "" };
            cells.push(format!("{mark}{}", cell(line, index)));
        }
        cells.extend(ends(report, line));
        rows.push(cells);
    }
    let _ = writeln!(out, "Medians, ± half the range; * is best.");
    out.push_str(&aligned(&rows));
    out.push('\n');
    for line in remarks(report) {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "{}", provenance(report));
    out
}

/// The same as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "| {} |", header(report).join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(report.shown().len() + 3));
    for (row, line) in report.lines() {
        let best = line.best(&report.shown());
        let _ = write!(out, "| {}: {} |", row.name, line.figure);
        for index in report.shown() {
            let text = cell(line, index);
            let _ = if best == Some(index) { write!(out, " **{text}** |") } else { write!(out, " {text} |") };
        }
        let _ = writeln!(out, " {} |", ends(report, line).join(" | "));
    }
    out.push('\n');
    for line in remarks(report) {
        let _ = writeln!(out, "* {line}");
    }
    let _ = writeln!(out, "\nMedians, ± half the range of the repetitions; the best in bold. {}", provenance(report));
    out
}

fn header(report: &Report) -> Vec<String> {
    let names = report.shown().into_iter().map(|index| report.runtimes()[index].name.clone());
    let ends = ["aim".into(), "by best peer".into(), "noise".into()];
    std::iter::once("row".into()).chain(names).chain(ends).collect()
}

fn cell(line: &Line, index: usize) -> String {
    match &line.cells[index] {
        Cell::Measured(summary) if summary.min == summary.max => number(summary.median),
        Cell::Measured(summary) => format!("{} ±{:.0}%", number(summary.median), spread(summary) * 100.0),
        Cell::Unsupported => "-".into(),
        Cell::Failed => "fails".into(),
        Cell::Absent => "not run".into(),
    }
}

/// Half the range, relative to the median.
fn spread(summary: &Summary) -> f64 {
    if summary.median == 0.0 { 0.0 } else { (summary.max - summary.min) / 2.0 / summary.median }
}

/// The aim and whether it is reached, ours by the best peer, the noise.
fn ends(report: &Report, line: &Line) -> [String; 3] {
    let ours = line.cells.first().and_then(Cell::median).filter(|_| report.ours());
    let aim = line.aim.map_or_else(
        || "-".into(),
        |aim| match ours.and_then(|ours| line.reached(ours)) {
            Some(true) => format!("{} reached", number(aim)),
            Some(false) => format!("{} missed", number(aim)),
            None => number(aim),
        },
    );
    let best = report.best_peer(line).filter(|_| report.ours());
    let best = best.map_or_else(|| "-".into(), |(_, ratio)| format!("{ratio:.2}"));
    [aim, best, percent(report.noise(line))]
}

/// What is to be said of the lines: what is lost, failed, impossible, missing.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.ours() {
        let named = |lost: Lost| {
            format!(
                "{}: {} ({:.2} of {}, noise {})",
                lost.row,
                lost.line.figure,
                lost.ratio,
                lost.peer,
                percent(Some(lost.noise))
            )
        };
        let lost: Vec<String> = report.lost().into_iter().map(named).collect();
        lines.push(if lost.is_empty() { "Lost: none.".into() } else { format!("Lost: {}.", lost.join("; ")) });
    }
    for (row, runtime, reason) in report.failures() {
        lines.push(format!("FAILED: {row} under {runtime}: {reason}"));
    }
    for (row, runtime, reason) in report.unsupported() {
        lines.push(format!("No means: {row} under {runtime}: {reason}"));
    }
    for missing in &report.setting.missing {
        lines.push(format!("Missing: {} ({})", missing.name, missing.remedy));
    }
    if report.partial {
        lines.push(PARTIAL.into());
    }
    lines
}

/// How ratios and noise are meant, machine, versions, date.
fn provenance(report: &Report) -> String {
    let Setting { machine, repetitions, seconds, latency_seconds, runtimes, .. } = &report.setting;
    let versions: Vec<String> = runtimes
        .iter()
        .filter(|runtime| runtime.role != Role::Control)
        .map(|runtime| format!("{} {}", runtime.name, runtime.version))
        .collect();
    let first = runtimes.first().map_or("", |runtime| &runtime.name);
    format!(
        "Ratios are costs, ours divided by theirs: below 1 ours is better. Noise is how far a copy of {first}'s program was off in \
         the same run; a line counts as lost beyond that and beyond {:.0} %. {}, {} processors, {} GiB, Linux {}, {}, \
         load average before the run {}; {}; {repetitions} repetitions of {seconds} s, {latency_seconds:.1} s for latencies; {}.",
        NO_DIFFERENCE * 100.0,
        machine.processor,
        machine.processors,
        machine.memory_gib,
        machine.kernel,
        machine.distribution,
        machine.load_average,
        versions.join(", "),
        machine.date
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::plain;
    use super::{markdown, text};

    #[test]
    fn both_forms_have_every_cell_the_aim_and_the_ratio() {
        let report = plain("fairground");
        let text = text(&report);
        let line = text.lines().find(|line| line.contains("yield: ns of CPU")).unwrap();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(words[4..], ["*41.0", "±7%", "82.0", "fails", "35.0", "missed", "0.50", "2.4", "%"], "{text}");
        let markdown = markdown(&report);
        assert!(
            markdown.contains("| mpsc: million messages/s | 20.0 | **40.0** | - | 35.0 missed | 2.00 | 0.0 % |"),
            "{markdown}"
        );
    }

    #[test]
    fn what_is_lost_failed_impossible_or_missing_is_said() {
        let text = text(&plain("fairground"));
        for expected in [
            "Lost: mpsc: million messages/s (2.00 of go, noise 0.0 %); mpsc: ns of CPU a message",
            "FAILED: yield under threads: killed after 60 s",
            "No means: mpsc under threads: no channel",
            "Missing: may (build it)",
        ] {
            assert!(text.contains(expected), "no '{expected}' in {text}");
        }
    }

    #[test]
    fn without_our_runtime_there_is_an_aim_but_nothing_reached_or_lost() {
        let text = text(&plain("go"));
        assert!(!text.contains("missed") && !text.contains("Lost") && text.contains("35.0"), "{text}");
    }

    #[test]
    fn a_run_that_ended_early_says_so() {
        let mut report = plain("fairground");
        report.partial = true;
        assert!(text(&report).contains("PARTIAL") && markdown(&report).contains("PARTIAL"));
    }
}
