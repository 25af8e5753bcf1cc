//! A scheduling policy of one's own: a multi-level feedback queue. It is tried in the simulator, and then runs a program.
//!
//! ```sh
//! cargo run --release --example feedback -- 200
//! ```
//!
//! Look at how long those who type wait. CFS knows by nice values who computes in the background; *feedback* is told nothing, finds
//! out from how tasks use their turns, and does better than round robin, which does not care.

use fairground_runtime::sched::policy::{Arrival, Contender, Policy, PolicyRef, Queue};
use fairground_runtime::sim::{Simulation, Workload};
use fairground_runtime::topology::Shape;
use fairground_runtime::{Runtime, spawn};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// Who used up its turn goes down a level, where turns are twice as long and all wait as if they had come later; who waits for
/// something goes up one.
struct Feedback;

impl Feedback {
    const LEVELS: u64 = 4;
    /// A turn at the top, nanoseconds.
    const TURN: u64 = 2_000_000;
    /// How much later one seems to have come for each level. It is no more than that, so nobody starves.
    const LATER: u64 = 100_000_000;

    fn turn(level: u64) -> u64 {
        Feedback::TURN << level
    }
}

impl Policy for Feedback {
    fn name(&self) -> &str {
        "feedback"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        let level = who.memory();
        let level = match why {
            Arrival::Back if who.ran_at_once() < Feedback::turn(level) => return,
            Arrival::Back => (level + 1).min(Feedback::LEVELS - 1),
            Arrival::Woken => level.saturating_sub(1),
            _ => level,
        };
        who.set_memory(level);
        who.set_key(queue.now() + level * Feedback::LATER);
    }

    fn slice(&self, who: Contender<'_>, _: Queue<'_>) -> u64 {
        Feedback::turn(who.memory())
    }

    fn preempts(&self, came: Contender<'_>, running: Contender<'_>, _: Queue<'_>) -> bool {
        came.memory() < running.memory()
    }
}

fn simulated(policy: PolicyRef, ms: u64) -> Result<(), Box<dyn Error>> {
    let workload: Workload = Workload::text("batch-and-interactive").ok_or("it has another name now")?.parse()?;
    let machine = "2".parse::<Shape>()?.topology();
    let report = Simulation::new(&workload, &machine).policy(policy).duration(Duration::from_millis(ms)).run()?;
    println!("{} on 2 simulated cores, fairness {:.3}", report.policy, report.fairness);
    for kind in &report.kinds {
        let (ran, latency) = (kind.ran.as_millis(), kind.latency);
        println!(
            "  {:<8} ran {ran:>6} ms, waits after waking up: p50 {:.2?}, p99 {:.2?}",
            kind.name, latency.p50, latency.p99
        );
    }
    Ok(())
}

fn run(ms: u64) -> Result<(), Box<dyn Error>> {
    simulated(PolicyRef::default(), ms)?;
    simulated("rr".parse()?, ms)?;
    simulated(PolicyRef::new(Feedback), ms)?;
    let runtime = Runtime::builder().workers(2).policy(PolicyRef::new(Feedback)).build()?;
    let sum: u64 = runtime.run(|| {
        let tasks: Vec<_> = (1..=100_u64).map(|n| spawn(move || n)).collect();
        tasks.into_iter().filter_map(|task| task.join().ok()).sum()
    });
    println!("and on real ones: 1 + 2 + ... + 100 = {sum}");
    Ok(())
}

fn main() -> ExitCode {
    let ms = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse());
    if let Err(error) = ms.map_err(|error| format!("usage: feedback [MILLISECONDS]: {error}").into()).and_then(run) {
        eprintln!("feedback: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
