//! The report as text for a terminal, and as Markdown for the README.

use super::losses::{self, Entry};
use super::peers::Role;
use super::report::{Lost, Metric, NO_DIFFERENCE, Report, Row, Setting};
use std::fmt::Write as _;

/// Everything, with spreads, for a terminal.
pub fn text(report: &Report, entries: &[Entry]) -> String {
    let mut out = String::new();
    for metric in Metric::ALL {
        let mut rows = vec![header(report)];
        for row in &report.rows {
            let mut cells = vec![row.workload.clone()];
            for index in 0..report.allocators().len() {
                cells.push(cell(row, metric, index, true));
            }
            cells.push(best(report, row, metric));
            cells.push(percent(report.noise(row, metric)));
            if row.results.iter().any(|figures| figures.metrics.contains_key(&metric) || !figures.failures.is_empty()) {
                rows.push(cells);
            }
        }
        if rows.len() > 1 {
            rows.push(mean_row(report, metric));
            let _ = writeln!(out, "{}: median [least..greatest] ratio", metric.title());
            out.push_str(&aligned(&rows));
            out.push('\n');
        }
    }
    let _ = writeln!(out, "Ratios are {} by theirs: below 1 it is better.", report.allocators()[0].name);
    for line in lost_lines(report, entries) {
        let _ = writeln!(out, "lost: {line}");
    }
    for (workload, allocator, reason) in report.failures() {
        let _ = writeln!(out, "FAILED: {workload} under {allocator}: {reason}");
    }
    out.push_str(&absent(report));
    if report.partial {
        let _ = writeln!(out, "{PARTIAL}");
    }
    let _ = writeln!(out, "{}", provenance(report));
    out
}

/// What is said of a run that ended early.
pub const PARTIAL: &str =
    "PARTIAL: the run ended before all repetitions were done; figures rest on fewer runs, or are missing.";

/// The geometric means, the rows that are lost, and the tables of time and peak memory, for the README.
pub fn markdown(report: &Report, entries: &[Entry]) -> String {
    let mut out = String::new();
    if report.partial {
        let _ = writeln!(out, "{PARTIAL}\n");
    }
    let shown = report.shown();
    out.push_str(&means(report, &shown));
    for metric in Metric::DECISIVE {
        let mut title = metric.title();
        title[..1].make_ascii_uppercase();
        let _ = write!(out, "**{title}**\n\n| workload |");
        for &index in &shown {
            let _ = write!(out, " {} |", report.allocators()[index].name);
        }
        let _ = writeln!(out, " by the best peer | noise |\n|---|{}---:|---:|", "---:|".repeat(shown.len()));
        for row in &report.rows {
            let _ = write!(out, "| {} |", row.workload);
            for &index in &shown {
                let _ = write!(out, " {} |", cell(row, metric, index, false));
            }
            let _ = writeln!(out, " {} | {} |", best(report, row, metric), percent(report.noise(row, metric)));
        }
        out.push('\n');
    }
    let lost = lost_lines(report, entries);
    out.push_str(if lost.is_empty() { "No row is lost by more than noise.\n" } else { "Rows lost:\n\n" });
    for line in lost {
        let _ = writeln!(out, "* {line}");
    }
    out.push('\n');
    for (workload, allocator, reason) in report.failures() {
        let _ = writeln!(out, "Failed: {workload} under {allocator}: {reason}\n");
    }
    out.push_str(&absent(report));
    let _ = writeln!(
        out,
        "Medians; in parentheses {} divided by that peer, below 1.00 {0} is better. Noise is how far a copy of the same \
         library was off in the same run; a row counts as lost beyond that and beyond {:.0} %. {}",
        report.allocators()[0].name,
        NO_DIFFERENCE * 100.0,
        provenance(report)
    );
    out
}

/// The geometric means of all metrics, an allocator a line.
fn means(report: &Report, shown: &[usize]) -> String {
    let metrics: Vec<Metric> = Metric::ALL.into_iter().filter(|&m| report.mean_noise(m).is_some()).collect();
    let mut out = format!("**{} divided by each, geometric means**\n\n| |", report.allocators()[0].name);
    for metric in &metrics {
        let _ = write!(out, " {} |", metric.name());
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(metrics.len()));
    for &index in shown {
        let ratios = &report.geometric_means[index].ratios;
        let _ = write!(out, "| {} |", report.allocators()[index].name);
        for metric in &metrics {
            let _ = write!(
                out,
                " {} |",
                ratios.get(metric).map_or_else(|| "-".into(), |mean| format!("{:.3}", mean.ratio))
            );
        }
        out.push('\n');
    }
    out.push_str("| noise |");
    for &metric in &metrics {
        let _ = write!(out, " {} |", percent(report.mean_noise(metric)));
    }
    out.push_str("\n\n");
    out
}

/// The rows that are lost: for each metric a line for the rows with the same reason.
fn lost_lines(report: &Report, entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    for metric in Metric::CONTESTED {
        let mut by_reason: Vec<(String, Vec<String>)> = Vec::new();
        for lost in report.lost(metric) {
            let reason = reason(&lost, entries);
            match by_reason.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, rows)) => rows.push(lost_by(&lost)),
                None => by_reason.push((reason, vec![lost_by(&lost)])),
            }
        }
        lines
            .extend(by_reason.iter().map(|(reason, rows)| format!("{}: {}. {reason}", metric.name(), rows.join(", "))));
    }
    lines
}

/// Which row is lost, by how much, and to whom.
pub fn lost_by(lost: &Lost) -> String {
    format!("{} ({:.2} of {}, noise {:.1} %)", lost.row.workload, lost.ratio, lost.peer.name, lost.noise * 100.0)
}

/// Why a row is lost, or that this is missing.
pub fn reason(lost: &Lost, entries: &[Entry]) -> String {
    match losses::entry(entries, lost) {
        Some(entry) => entry.why.clone(),
        None if losses::must_be_explained(lost) => "NO ENTRY in benches/LOSSES.md says why, and one must.".into(),
        None => "No entry, and none is asked for.".into(),
    }
}

fn header(report: &Report) -> Vec<String> {
    let names = report.allocators().iter().map(|a| a.name.clone());
    std::iter::once("workload".into()).chain(names).chain(["by best".into(), "noise".into()]).collect()
}

fn cell(row: &Row, metric: Metric, index: usize, spread: bool) -> String {
    let figures = &row.results[index];
    if !figures.failures.is_empty() {
        return "failed".into();
    }
    let Some(summary) = figures.metrics.get(&metric) else { return "-".into() };
    let mut text = number(summary.median);
    if spread {
        let _ = write!(text, " [{}..{}]", number(summary.min), number(summary.max));
    }
    if index > 0
        && let Some(ratio) = row.ratio(metric, index)
    {
        let _ = if spread { write!(text, " {ratio:.2}") } else { write!(text, " ({ratio:.2})") };
    }
    text
}

fn best(report: &Report, row: &Row, metric: Metric) -> String {
    report.best_peer(row, metric).map_or_else(|| "-".into(), |(_, ratio)| format!("{ratio:.2}"))
}

fn mean_row(report: &Report, metric: Metric) -> Vec<String> {
    let mut cells = vec!["geometric mean".to_owned()];
    for means in &report.geometric_means {
        cells.push(means.ratios.get(&metric).map_or_else(|| "-".into(), |mean| format!("{:.3}", mean.ratio)));
    }
    cells.push(String::new());
    cells.push(percent(report.mean_noise(metric)));
    cells
}

pub(crate) fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.1} %", value * 100.0))
}

/// What did not take part.
fn absent(report: &Report) -> String {
    let mut out = String::new();
    for missing in &report.setting.missing_peers {
        let _ = writeln!(out, "Missing: {} ({})", missing.name, missing.remedy);
    }
    for (job, reason) in &report.setting.missing_jobs {
        let _ = writeln!(out, "Skipped: {job}: {reason}");
    }
    out
}

/// Machine, kernel, versions, date and the size of the run, in one line.
fn provenance(report: &Report) -> String {
    let Setting { machine, threads, scale, repetitions, allocators, .. } = &report.setting;
    let versions = allocators.iter().filter(|a| a.role != Role::Control);
    let versions: Vec<String> = versions.map(|a| format!("{} {}", a.name, a.version)).collect();
    let threads: Vec<String> = threads.iter().map(u16::to_string).collect();
    format!(
        "{}, {} processors, {} GiB, Linux {}, {}, load average before the run {}; {}; {repetitions} repetitions, {} threads, \
         scale {scale}; {}.",
        machine.processor,
        machine.processors,
        machine.memory_gib,
        machine.kernel,
        machine.distribution,
        machine.load_average,
        versions.join(", "),
        threads.join(" and "),
        machine.date
    )
}

/// Columns aligned with spaces: the first to the left, all others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::plain;
    use super::{markdown, number, text};

    #[test]
    fn both_forms_name_the_lost_row_the_ratio_and_that_no_entry_says_why() {
        let report = plain();
        assert!(text(&report, &[]).contains("lost: wall time: larson (2.00 of glibc, noise 4.8 %). NO ENTRY"));
        let markdown = markdown(&report, &[]);
        assert!(markdown.contains("| larson | 2.00 | 1.00 (2.00) | 2.00 | 4.8 % |"), "{markdown}");
        assert!(markdown.contains("* wall time: larson (2.00 of glibc, noise 4.8 %). NO ENTRY"), "{markdown}");
        assert!(markdown.contains("| glibc | 2.000 | 1.000 |"), "{markdown}");
    }

    #[test]
    fn a_run_that_ended_early_says_so() {
        let mut report = plain();
        report.partial = true;
        assert!(text(&report, &[]).contains("PARTIAL") && markdown(&report, &[]).contains("PARTIAL"));
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([number(0.1234), number(1.234), number(12.34), number(123.4)], ["0.123", "1.23", "12.3", "123"]);
    }
}
