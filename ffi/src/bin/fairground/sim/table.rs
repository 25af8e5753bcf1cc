//! The figures as text.

use super::Report;
use std::fmt::Write;
use std::time::Duration;

/// A table of the policies, and one of the kinds of tasks under each.
pub fn text(reports: &[Report]) -> String {
    let mut text = String::new();
    let Some(first) = reports.first() else { return text };
    let _ = writeln!(
        text,
        "{} cpus, {} tasks, {:?} of virtual time, seed {}\n",
        first.cpus, first.tasks, first.duration, first.seed
    );
    let rows = reports.iter().map(|report| {
        let mut row = vec![report.policy.clone()];
        row.extend(figures(report).into_iter().map(|(_, figure)| figure));
        row
    });
    let mut head = vec!["policy"];
    head.extend(figures(first).into_iter().map(|(name, _)| name));
    text += &lines(&head, rows.collect());
    for report in reports {
        let _ = writeln!(text, "\n{}", report.policy);
        let rows = report.kinds.iter().map(|kind| {
            let part =
                |time: Duration| percent(time.as_secs_f64() / (report.duration.as_secs_f64() * report.cpus as f64));
            vec![
                kind.name.clone(),
                kind.tasks.to_string(),
                part(kind.ran),
                part(kind.ideal),
                ms(kind.lag),
                ms(kind.latency.p50),
                ms(kind.latency.p99),
                ms(kind.latency.max),
                ms(kind.response.p50),
                ms(kind.response.p99),
                kind.migrations.to_string(),
            ]
        });
        let head = ["task", "number", "got", "ideal", "lag", "wake p50", "p99", "max", "burst p50", "p99", "moves"];
        text += &lines(&head, rows.collect());
    }
    text += "\nTimes in ms. fairness: Jain's index, 1 is even. lag: the most a task was behind what it should have had. wake: from\n\
             waking up to running. burst: from waking up to the burst's end. moves: to other cpus. of possible: what ran of\n\
             what could have run. got, ideal: of the machine's time.\n";
    text
}

/// Names and figures of a policy's row, which the page shows too.
pub fn figures(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("fairness", format!("{:.4}", report.fairness)),
        ("lag", ms(report.lag)),
        ("wake p50", ms(report.latency.p50)),
        ("p99", ms(report.latency.p99)),
        ("max", ms(report.latency.max)),
        ("burst p50", ms(report.response.p50)),
        ("p99", ms(report.response.p99)),
        ("bursts", report.bursts.to_string()),
        ("switches", report.switches.to_string()),
        ("moves", report.migrations.to_string()),
        ("idle", percent(report.idle)),
        ("of possible", percent(report.throughput)),
    ]
}

pub fn percent(part: f64) -> String {
    // No minus before a zero that is not quite one.
    format!("{:.1}%", (part * 100.0).max(0.0))
}

/// Three digits that mean something.
pub fn ms(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        0.0 => "0".into(),
        ms if ms >= 99.95 => format!("{ms:.0}"),
        ms if ms >= 9.995 => format!("{ms:.1}"),
        ms if ms >= 0.9995 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

/// The first column to the left, the others to the right.
fn lines(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let head: Vec<_> = head.iter().map(|name| (*name).to_owned()).collect();
    let line = |row: &Vec<String>| {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        line + "\n"
    };
    std::iter::once(&head).chain(&rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let of = |us| ms(Duration::from_micros(us));
        assert_eq!([of(0), of(7), of(1_234), of(56_789), of(1_234_567)], ["0", "0.007", "1.23", "56.8", "1235"]);
    }
}
