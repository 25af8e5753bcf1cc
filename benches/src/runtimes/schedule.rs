//! In which order everything runs.

use super::programs::Runtime;
use super::rows::Row;
use super::run::{Load, Outcome, run};
use crate::compare::progress::Progress;
use crate::compare::schedule::order;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The outcomes of one row under one runtime, one for each repetition, until one is without figures.
pub type Outcomes = Vec<Outcome>;

/// Runs every row under every runtime `repetitions` times. The result is indexed by row, then by runtime. What failed or is not
/// supported is not tried again: one failure is reported as such, and many take minutes. After each row `keep` gets
/// what there is so far. Once `stop` is set, the run under way is dropped and nothing further is started.
pub fn run_all(
    rows: &[&Row],
    runtimes: &[Runtime],
    repetitions: usize,
    load: &Load,
    stop: &AtomicBool,
    mut keep: impl FnMut(&[Vec<Outcomes>]),
) -> Vec<Vec<Outcomes>> {
    let mut results = vec![vec![Outcomes::new(); runtimes.len()]; rows.len()];
    let mut progress = Progress::new(vec![runtimes.len() * repetitions; rows.len()], repetitions);
    for repetition in 0..repetitions {
        for (r, row) in rows.iter().enumerate() {
            for p in order(runtimes.len(), r, repetition) {
                if results[r][p].iter().any(|outcome| !matches!(outcome, Outcome::Measured(_))) {
                    progress.skip(r);
                    continue;
                }
                progress.announce(r, repetition, row.name, &runtimes[p].name);
                let begin = Instant::now();
                let outcome = run(row, &runtimes[p].program, load);
                if stop.load(Ordering::Relaxed) {
                    progress.clear();
                    return results;
                }
                progress.done(r, begin.elapsed().as_secs_f64());
                if let Outcome::Failed(reason) = &outcome {
                    progress.say(&format!("{} under {}: {reason}", row.name, runtimes[p].name));
                }
                results[r][p].push(outcome);
            }
            keep(&results);
        }
    }
    progress.clear();
    results
}
