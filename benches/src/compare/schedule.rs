//! Which cases there are, and in which order they run.
//!
//! A case is a row of the tables: a job, with a number of threads if it takes one. The results are given to the caller after
//! every row of every repetition, so that a run that ends early loses the row it was at and no more.

use super::jobs::Job;
use super::peers::Allocator;
use super::progress::Progress;
use super::sample::{Load, Sample};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How long a workload settles in the first repetition: memory should be given back within a second of activity.
const SETTLE_MS: u32 = 1000;

/// The outcomes of one case under one allocator, one for each repetition.
pub type Outcomes = Vec<Result<Sample, String>>;

/// A row: what runs, and with how many threads.
#[derive(Clone, Copy)]
pub struct Case {
    /// What runs.
    pub job: Job,
    /// With how many threads, if the job takes a number of them.
    pub threads: u16,
    /// Whether the number is part of the name.
    numbered: bool,
}

impl Case {
    /// The row's name.
    pub fn name(&self) -> String {
        let name = self.job.name();
        if self.numbered { format!("{name}-{}", self.threads) } else { name.to_owned() }
    }
}

/// Every job with every number of threads that it takes. The first number is the usual one and not part of names.
pub fn cases(jobs: &[Job], threads: &[u16]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, &threads) in threads.iter().enumerate() {
        let jobs = jobs.iter().filter(|job| index == 0 || job.threaded());
        cases.extend(jobs.map(|&job| Case { job, threads, numbered: index > 0 }));
    }
    cases
}

/// The order of `count` allocators for the `case`th case in a repetition: rotated, so that over `count` repetitions each
/// allocator has run in every place, and in one repetition the first place goes round.
pub fn order(count: usize, case: usize, repetition: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + case + repetition) % count)
}

/// Runs every case under every allocator `repetitions` times. The result is indexed by case, then by allocator. After each
/// case `keep` gets what there is so far. Once `stop` is set, the run under way is dropped (whoever interrupts this program
/// by the terminal interrupts its child too) and nothing further is started.
pub fn run_all(
    cases: &[Case],
    allocators: &[Allocator],
    repetitions: usize,
    load: &Load,
    stop: &AtomicBool,
    mut keep: impl FnMut(&[Vec<Outcomes>]),
) -> Vec<Vec<Outcomes>> {
    let mut results = vec![vec![Outcomes::new(); allocators.len()]; cases.len()];
    let takes_part = |case: &Case, allocator: &Allocator| allocator.serves(case.job.kind());
    let runs = cases.iter().map(|case| allocators.iter().filter(|a| takes_part(case, a)).count() * repetitions);
    let mut progress = Progress::new(runs.collect(), repetitions);
    for repetition in 0..repetitions {
        for (c, case) in cases.iter().enumerate() {
            // Settling once is enough: it takes as long as the work, and what it shows hardly differs from run to run.
            let settle_ms = if repetition == 0 { SETTLE_MS } else { 0 };
            let load = Load { threads: case.threads, settle_ms, ..load.clone() };
            for a in order(allocators.len(), c, repetition).filter(|&a| takes_part(case, &allocators[a])) {
                progress.announce(c, repetition, &case.name(), &allocators[a].name);
                let begin = Instant::now();
                let mut outcome = case.job.run(&allocators[a], &load);
                if stop.load(Ordering::Relaxed) {
                    progress.clear();
                    return results;
                }
                progress.done(c, begin.elapsed().as_secs_f64());
                match &mut outcome {
                    Err(error) => progress.say(&format!("{} under {}: {error}", case.name(), allocators[a].name)),
                    // One curve is enough to draw, and hundreds of points a run swell the raw data.
                    Ok(sample) if repetition > 0 => sample.series = None,
                    Ok(_) => {}
                }
                results[c][a].push(outcome);
            }
            keep(&results);
        }
    }
    progress.clear();
    results
}

#[cfg(test)]
mod tests {
    use super::{cases, order};
    use crate::compare::jobs::Job;

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
    fn every_further_number_of_threads_makes_rows_of_the_jobs_that_take_it() {
        let jobs = Job::named("larson,true").unwrap();
        let names: Vec<String> = cases(&jobs, &[2, 8]).iter().map(|case| case.name()).collect();
        assert_eq!(names, ["larson", "true", "larson-8"]);
    }
}
