//! The report as text for a terminal, and as Markdown for the README.

use super::peers::Role;
use super::report::{Metric, NO_DIFFERENCE, Report, Row};
use std::fmt::Write as _;

/// Everything, with spreads, for a terminal.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for metric in Metric::ALL {
        let mut rows = vec![header(report)];
        for row in &report.rows {
            let mut cells = vec![row.workload.clone()];
            for index in 0..report.allocators.len() {
                cells.push(cell(row, metric, index, true));
            }
            cells.push(best(report, row, metric));
            cells.push(percent(report.noise(row, metric)));
            if row.results.iter().any(|figures| figures.summary(metric).is_some() || !figures.failures.is_empty()) {
                rows.push(cells);
            }
        }
        rows.push(mean_row(report, metric));
        let _ = writeln!(out, "{}: median [least..greatest] ratio", metric.title());
        out.push_str(&aligned(&rows));
        out.push('\n');
    }
    let _ = writeln!(out, "Ratios are {} by theirs: below 1 it is better.", report.allocators[0].name);
    for metric in [Metric::Time, Metric::Peak] {
        for (row, peer, ratio) in report.lost(metric) {
            let _ = writeln!(out, "lost: {} in {}: {ratio:.2} of {}", row.workload, metric.title(), peer.name);
        }
    }
    for (workload, allocator, reason) in report.failures() {
        let _ = writeln!(out, "FAILED: {workload} under {allocator}: {reason}");
    }
    out.push_str(&absent(report));
    let _ = writeln!(out, "{}", provenance(report));
    out
}

/// Time and peak memory for the README, with the rows that are lost.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    for metric in [Metric::Time, Metric::Peak] {
        let mut title = metric.title().to_owned();
        title[..1].make_ascii_uppercase();
        let shown: Vec<usize> =
            (0..report.allocators.len()).filter(|&index| report.allocators[index].role != Role::Control).collect();
        let _ = write!(out, "**{title}**\n\n| workload |");
        for &index in &shown {
            let _ = write!(out, " {} |", report.allocators[index].name);
        }
        let _ = writeln!(out, " by the best peer | noise |\n|---|{}---:|---:|", "---:|".repeat(shown.len()));
        for row in &report.rows {
            let _ = write!(out, "| {} |", row.workload);
            for &index in &shown {
                let _ = write!(out, " {} |", cell(row, metric, index, false));
            }
            let _ = writeln!(out, " {} | {} |", best(report, row, metric), percent(report.noise(row, metric)));
        }
        let means = mean_row(report, metric);
        let _ = write!(out, "| **{}** |", means[0]);
        for &index in &shown {
            let _ = write!(out, " **{}** |", means[index + 1]);
        }
        let _ = writeln!(out, " | {} |\n", means.last().map_or("", String::as_str));
        match report.lost(metric).as_slice() {
            [] => out.push_str("No row is lost by more than noise.\n\n"),
            lost => {
                let list: Vec<String> = lost
                    .iter()
                    .map(|(row, peer, ratio)| format!("{} ({ratio:.2} of {})", row.workload, peer.name))
                    .collect();
                let _ = writeln!(out, "Rows lost: {}.\n", list.join(", "));
            }
        }
    }
    for (workload, allocator, reason) in report.failures() {
        let _ = writeln!(out, "Failed: {workload} under {allocator}: {reason}\n");
    }
    out.push_str(&absent(report));
    let _ = writeln!(
        out,
        "Medians; in parentheses {} divided by that peer, below 1.00 {0} is better. Noise is how far a copy of the same \
         library was off in the same run; a row counts as lost beyond that and beyond {:.0} %. {}",
        report.allocators[0].name,
        NO_DIFFERENCE * 100.0,
        provenance(report)
    );
    out
}

fn header(report: &Report) -> Vec<String> {
    let names = report.allocators.iter().map(|a| a.name.clone());
    std::iter::once("workload".into()).chain(names).chain(["by best".into(), "noise".into()]).collect()
}

fn cell(row: &Row, metric: Metric, index: usize, spread: bool) -> String {
    let figures = &row.results[index];
    if !figures.failures.is_empty() {
        return "failed".into();
    }
    let Some(summary) = figures.summary(metric) else { return "-".into() };
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
        cells.push(means.of(metric).map_or_else(|| "-".into(), |mean| format!("{mean:.3}")));
    }
    cells.push(String::new());
    cells.push(percent(report.mean_noise(metric)));
    cells
}

fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.1} %", value * 100.0))
}

/// What did not take part.
fn absent(report: &Report) -> String {
    let mut out = String::new();
    for missing in &report.missing_peers {
        let _ = writeln!(out, "Missing: {} ({})", missing.name, missing.remedy);
    }
    for (job, reason) in &report.missing_jobs {
        let _ = writeln!(out, "Skipped: {job}: {reason}");
    }
    out
}

/// Machine, kernel, versions, date and the size of the run, in one line.
fn provenance(report: &Report) -> String {
    let machine = &report.machine;
    let versions = report.allocators.iter().filter(|a| a.role != Role::Control);
    let versions: Vec<String> = versions.map(|a| format!("{} {}", a.name, a.version)).collect();
    format!(
        "{}, {} processors, {} GiB, Linux {}, {}, load average before the run {}; {}; {} repetitions, {} threads, scale \
         {}; {}.",
        machine.processor,
        machine.processors,
        machine.memory_gib,
        machine.kernel,
        machine.distribution,
        machine.load_average,
        versions.join(", "),
        report.repetitions,
        report.threads,
        report.scale,
        machine.date
    )
}

/// Columns aligned with spaces: the first to the left, all others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
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
    fn both_forms_name_the_lost_row_and_the_ratio() {
        let report = plain();
        assert!(text(&report).contains("lost: larson"));
        let markdown = markdown(&report);
        assert!(markdown.contains("| larson | 2.00 | 1.00 (2.00) | 2.00 | 4.8 % |"), "{markdown}");
        assert!(markdown.contains("Rows lost: larson (2.00 of glibc)."), "{markdown}");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([number(0.1234), number(1.234), number(12.34), number(123.4)], ["0.123", "1.23", "12.3", "123"]);
    }
}
