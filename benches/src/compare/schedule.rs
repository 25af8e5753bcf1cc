//! In which order the runs take place, and how long they will take.

use super::jobs::Job;
use super::peers::Allocator;
use super::sample::{Load, Sample};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// The outcomes of one job under one allocator, one for each repetition.
pub type Outcomes = Vec<Result<Sample, String>>;

/// How long a workload settles in the first repetition: memory should be given back within a second of activity.
const SETTLE_MS: u32 = 1000;

/// The order of `count` allocators for the `job`th job in a repetition: rotated, so that over `count` repetitions each
/// allocator has run in every place, and in one repetition the first place goes round.
pub fn order(count: usize, job: usize, repetition: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + job + repetition) % count)
}

/// Runs every job under every allocator `repetitions` times. The result is indexed by job, then by allocator.
pub fn run_all(jobs: &[Job], allocators: &[Allocator], repetitions: usize, load: &Load) -> Vec<Vec<Outcomes>> {
    let mut results = vec![vec![Outcomes::new(); allocators.len()]; jobs.len()];
    let mut progress = Progress::new(jobs.len() * allocators.len() * repetitions, jobs.len());
    for repetition in 0..repetitions {
        // Once is enough: it takes as long as the work, and what it shows hardly differs from run to run.
        let load = &Load { settle_ms: if repetition == 0 { SETTLE_MS } else { 0 }, ..load.clone() };
        for (j, job) in jobs.iter().enumerate() {
            for a in order(allocators.len(), j, repetition) {
                progress.announce(repetition + 1, repetitions, job.name(), &allocators[a].name);
                let begin = Instant::now();
                let outcome = job.run(&allocators[a], load);
                progress.done(j, begin.elapsed().as_secs_f64());
                if let Err(error) = &outcome {
                    progress.say(&format!("{} under {}: {error}", job.name(), allocators[a].name));
                }
                results[j][a].push(outcome);
            }
        }
    }
    progress.clear();
    results
}

/// One line on standard error that is overwritten; separate lines at long intervals if that is not a terminal.
struct Progress {
    runs: usize,
    finished: usize,
    /// Seconds and number of finished runs of each job: what is left is estimated job by job.
    spent: Vec<(f64, usize)>,
    runs_per_job: usize,
    terminal: bool,
    last_line: Option<Instant>,
}

impl Progress {
    fn new(runs: usize, jobs: usize) -> Self {
        let runs_per_job = runs / jobs.max(1);
        let terminal = std::io::stderr().is_terminal();
        Self { runs, finished: 0, spent: vec![(0.0, 0); jobs], runs_per_job, terminal, last_line: None }
    }

    fn announce(&mut self, repetition: usize, repetitions: usize, job: &str, allocator: &str) {
        let left = match self.seconds_left() {
            Some(seconds) if seconds >= 90.0 => format!("about {:.0} min left", seconds / 60.0),
            Some(seconds) => format!("about {seconds:.0} s left"),
            None => "estimating the time".to_owned(),
        };
        let line = format!(
            "[{}/{}] repetition {repetition} of {repetitions}: {job} under {allocator}, {left}",
            self.finished + 1,
            self.runs
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else if self.last_line.is_none_or(|last| last.elapsed().as_secs() >= 10) {
            eprintln!("{line}");
            self.last_line = Some(Instant::now());
        }
    }

    fn done(&mut self, job: usize, seconds: f64) {
        self.finished += 1;
        self.spent[job].0 += seconds;
        self.spent[job].1 += 1;
    }

    /// Jobs that have not run yet are taken to be average.
    fn seconds_left(&self) -> Option<f64> {
        if self.finished == 0 {
            return None;
        }
        let mean = self.spent.iter().map(|s| s.0).sum::<f64>() / self.finished as f64;
        let left = |&(seconds, count): &(f64, usize)| {
            let each = if count == 0 { mean } else { seconds / count as f64 };
            each * (self.runs_per_job - count) as f64
        };
        Some(self.spent.iter().map(left).sum())
    }

    fn say(&self, message: &str) {
        self.clear();
        eprintln!("{message}");
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, order};

    #[test]
    fn each_allocator_runs_once_a_repetition_and_in_every_place_over_time() {
        let mut places = [[false; 4]; 4];
        for repetition in 0..4 {
            let order: Vec<usize> = order(4, 2, repetition).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            for (place, allocator) in order.into_iter().enumerate() {
                places[allocator][place] = true;
            }
        }
        assert!(places.iter().flatten().all(|&seen| seen));
    }

    #[test]
    fn time_left_counts_each_job_by_its_own_runs() {
        let mut progress = Progress::new(4, 2);
        assert_eq!(progress.seconds_left(), None);
        progress.done(0, 3.0);
        assert_eq!(progress.seconds_left(), Some(3.0 + 2.0 * 3.0));
        progress.done(1, 1.0);
        assert_eq!(progress.seconds_left(), Some(3.0 + 1.0));
    }
}
