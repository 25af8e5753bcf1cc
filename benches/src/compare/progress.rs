//! How far a run is and how long it will take, on standard error.
//!
//! On a terminal one line that is written over; otherwise a line for each row, so that a log stays short and yet shows that
//! the run is alive. What is left is estimated row by row from the runs that are done.

use std::io::{IsTerminal, Write};
use std::time::Instant;

pub(crate) struct Progress {
    begin: Instant,
    finished: usize,
    /// Seconds and number of finished runs of each case.
    spent: Vec<(f64, usize)>,
    /// Runs of each case, all in all.
    runs: Vec<usize>,
    repetitions: usize,
    terminal: bool,
    /// Case and repetition of the last line.
    announced: Option<(usize, usize)>,
}

impl Progress {
    pub(crate) fn new(runs: Vec<usize>, repetitions: usize) -> Self {
        let (begin, terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Self { begin, finished: 0, spent: vec![(0.0, 0); runs.len()], runs, repetitions, terminal, announced: None }
    }

    /// A run begins.
    pub(crate) fn announce(&mut self, case: usize, repetition: usize, row: &str, allocator: &str) {
        let line = self.line(repetition, row, allocator, self.begin.elapsed().as_secs_f64());
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else if self.announced != Some((case, repetition)) {
            eprintln!("{line}");
        }
        self.announced = Some((case, repetition));
    }

    fn line(&self, repetition: usize, row: &str, allocator: &str, elapsed: f64) -> String {
        let percent = 100 * self.finished / self.runs.iter().sum::<usize>().max(1);
        let left =
            self.seconds_left().map_or_else(|| "estimating".to_owned(), |s| format!("about {} left", duration(s)));
        format!(
            "{percent:3} %  {row} under {allocator}, repetition {} of {}; {} gone, {left}",
            repetition + 1,
            self.repetitions,
            duration(elapsed)
        )
    }

    /// A run of a case is over.
    pub(crate) fn done(&mut self, case: usize, seconds: f64) {
        self.finished += 1;
        self.spent[case].0 += seconds;
        self.spent[case].1 += 1;
    }

    /// A run of a case is left out.
    pub(crate) fn skip(&mut self, case: usize) {
        self.runs[case] -= 1;
    }

    /// Cases that have not run yet are taken to be average.
    fn seconds_left(&self) -> Option<f64> {
        if self.finished == 0 {
            return None;
        }
        let (seconds, begun) = self
            .spent
            .iter()
            .filter(|s| s.1 > 0)
            .fold((0.0, 0.0), |(seconds, begun), s| (seconds + s.0 / s.1 as f64, begun + 1.0));
        let left = |(&(spent, count), &runs): (&(f64, usize), &usize)| {
            let each = if count == 0 { seconds / begun } else { spent / count as f64 };
            each * (runs - count) as f64
        };
        Some(self.spent.iter().zip(&self.runs).map(left).sum())
    }

    /// A message that stays.
    pub(crate) fn say(&self, message: &str) {
        self.clear();
        eprintln!("{message}");
    }

    /// Removes the line from a terminal.
    pub(crate) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, duration};

    #[test]
    fn time_left_counts_each_case_by_its_own_runs() {
        let mut progress = Progress::new(vec![2, 2], 1);
        assert_eq!(progress.seconds_left(), None);
        progress.done(0, 3.0);
        assert_eq!(progress.seconds_left(), Some(3.0 + 2.0 * 3.0));
        progress.done(1, 1.0);
        assert_eq!(progress.seconds_left(), Some(3.0 + 1.0));
    }

    #[test]
    fn the_line_says_how_far_what_and_how_long() {
        let mut progress = Progress::new(vec![4], 2);
        progress.done(0, 40.0);
        let line = progress.line(0, "larson-8", "mimalloc", 40.0);
        assert_eq!(line, " 25 %  larson-8 under mimalloc, repetition 1 of 2; 40 s gone, about 2 min left");
    }

    #[test]
    fn long_durations_are_in_hours() {
        assert_eq!(duration(7260.0), "2 h 1 min");
    }
}
