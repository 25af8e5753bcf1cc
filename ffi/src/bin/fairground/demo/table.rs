//! The demo's table: plain text, one line a workload, both allocators side by side.
//!
//! A ratio below 1 means Fairground needs less. Rows that went badly are shown like the others: a failure and a
//! DIFFERENT answer take the place of figures, and a missing program its own line with the package to install.

use super::{Figures, Outcome, Row};
use std::fmt::Write;
use std::path::Path;

/// The geometric mean of Fairground's figure over the system's; none if nothing was measured.
pub fn geometric_mean(rows: &[Row], figure: impl Fn(&Figures) -> f64) -> Option<f64> {
    let mut sum = 0.0;
    let mut count = 0;
    for row in rows {
        if let Outcome::Measured { system, fairground, .. } = &row.outcome {
            sum += (figure(fairground) / figure(system)).ln();
            count += 1;
        }
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// The whole table with its legend.
pub fn render(rows: &[Row], library: &Path) -> String {
    let mut text = String::new();
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("geometric mean".len());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Fairground: {}\n", library.display());
    let _ = writeln!(text, "{:width$}  {:^28}   {:^32}", "", "time, median", "peak memory, median");
    let _ = writeln!(
        text,
        "{:width$}  {:>9} {:>11} {:>6}   {:>11} {:>13} {:>6}   {:>6}  answer",
        "program", "system", "Fairground", "ratio", "system", "Fairground", "ratio", "rounds"
    );
    for row in rows {
        match &row.outcome {
            Outcome::Measured { rounds, system, fairground, same_answer, .. } => {
                let _ = writeln!(
                    text,
                    "{:width$}  {:>7.2} s {:>9.2} s {:>6.2}   {:>7.1} MiB {:>9.1} MiB {:>6.2}   {rounds:>6}  {}",
                    row.name,
                    system.seconds,
                    fairground.seconds,
                    fairground.seconds / system.seconds,
                    mib(system),
                    mib(fairground),
                    fairground.peak_rss_kib as f64 / system.peak_rss_kib as f64,
                    if *same_answer { "same" } else { "DIFFERENT" }
                );
            }
            Outcome::Failed { reason } => {
                let _ = writeln!(text, "{:width$}  FAILED {reason}", row.name);
            }
            Outcome::Missing { programs, packages } => {
                let _ = writeln!(
                    text,
                    "{:width$}  missing: {} (Debian: apt-get install {})",
                    row.name,
                    programs.join(", "),
                    packages.join(" ")
                );
            }
        }
    }
    let time = geometric_mean(rows, |figures| figures.seconds);
    let peak = geometric_mean(rows, |figures| figures.peak_rss_kib as f64);
    if let (Some(time), Some(peak)) = (time, peak) {
        let _ = writeln!(text, "{:width$}  {:28.2}   {:32.2}", "geometric mean", time, peak);
    }
    let _ = writeln!(text, "\nRatios below 1: Fairground needs less. System: the program left alone.");
    for row in rows {
        let _ = writeln!(text, "  {:width$}  {}", row.name, row.what);
        for note in &row.notes {
            let _ = writeln!(text, "  {:width$}  note: {note}", "");
        }
    }
    text
}

fn mib(figures: &Figures) -> f64 {
    figures.peak_rss_kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, seconds: f64, kib: u64, same_answer: bool) -> Row {
        let outcome = Outcome::Measured {
            rounds: 3,
            system: Figures { seconds: 1.0, peak_rss_kib: 1024 },
            fairground: Figures { seconds, peak_rss_kib: kib },
            same_answer,
            answer_system: String::new(),
            answer_fairground: String::new(),
        };
        Row { name, what: "a workload", notes: vec!["it says so".into()], outcome }
    }

    #[test]
    fn every_outcome_has_its_line() {
        let rows = [
            measured("good", 0.5, 2048, true),
            measured("bad", 2.0, 512, false),
            Row { name: "dead", what: "", notes: vec![], outcome: Outcome::Failed { reason: "signal 6".into() } },
            Row {
                name: "absent",
                what: "",
                notes: vec![],
                outcome: Outcome::Missing { programs: vec!["node"], packages: vec!["nodejs"] },
            },
        ];
        let text = render(&rows, Path::new("/opt/libfairground.so"));
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("good").contains("0.50 s") && line("good").ends_with("same"), "{text}");
        assert!(line("bad").ends_with("DIFFERENT"), "{text}");
        assert!(line("dead").contains("FAILED signal 6"), "{text}");
        assert!(line("absent").contains("missing: node (Debian: apt-get install nodejs)"), "{text}");
        assert!(text.contains("note: it says so"), "{text}");
    }

    #[test]
    fn means_are_geometric_and_only_over_what_was_measured() {
        let rows = [measured("a", 0.5, 2048, true), measured("b", 2.0, 512, true)];
        let mean = geometric_mean(&rows, |figures| figures.seconds).unwrap();
        assert!((mean - 1.0).abs() < 1e-9);
        assert!(geometric_mean(&[], |figures| figures.seconds).is_none());
    }
}
