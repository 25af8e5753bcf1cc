//! What is simulated: groups, and tasks that run and wait. `parse` reads it from text, `named` has some ready.

use crate::sched::{Bandwidth, Class, Shares};
use oorandom::Rand64;
use std::time::Duration;

/// Tasks and groups. From text, by [`FromStr`](std::str::FromStr), or by name: see the [module](super).
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// How long to go on if nobody says otherwise.
    pub(super) duration: u64,
    pub(super) groups: Vec<GroupSpec>,
    pub(super) tasks: Vec<TaskSpec>,
}

impl Workload {
    /// How long it is simulated if nobody says otherwise.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.duration)
    }

    /// Most tasks that a simulation can have: each takes memory, and time in each sample.
    pub const MOST_TASKS: usize = 1_000_000;

    /// How many tasks it has over the whole time, on so many cpus.
    pub fn tasks(&self, cpus: usize) -> usize {
        self.tasks.iter().map(|task| task.count as usize * task.streams(cpus)).fold(0, usize::saturating_add)
    }
}

/// A group, below an earlier one or at the top.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupSpec {
    pub(super) name: String,
    pub(super) parent: Option<usize>,
    pub(super) shares: Shares,
    pub(super) bandwidth: Option<Bandwidth>,
}

/// Tasks that are alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TaskSpec {
    pub(super) name: String,
    pub(super) count: u32,
    /// The count is for each cpu.
    pub(super) per_cpu: bool,
    pub(super) class: Class,
    pub(super) group: Option<usize>,
    /// A burst's length; none: for ever.
    pub(super) run: Option<Span>,
    pub(super) then: Then,
    /// Bursts until the end.
    pub(super) times: Option<u64>,
    /// When each begins.
    pub(super) start: Span,
    /// Or how much later than the one before it.
    pub(super) every: Option<Span>,
    /// On whose cpu it is spawned, if not on each by turns.
    pub(super) on: Option<u32>,
}

impl TaskSpec {
    /// How many times there are `count` of them.
    pub(super) fn streams(&self, cpus: usize) -> usize {
        if self.per_cpu { cpus } else { 1 }
    }
}

/// What follows a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    Sleep(Span),
    Yield,
    End,
}

/// A length of time in nanoseconds, drawn anew each time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Span {
    Fixed(u64),
    Between(u64, u64),
    /// Exponential, of this mean.
    About(u64),
}

/// Exponential ones are cut there: one in 20,000 would be longer, and a single one of them makes the longest wait of a run.
const MOST_MEANS: f64 = 10.0;

impl Span {
    pub(super) fn draw(self, random: &mut Rand64) -> u64 {
        match self {
            Span::Fixed(ns) => ns,
            Span::Between(from, to) => random.rand_range(from..to + 1),
            Span::About(mean) => {
                let times = -(1.0 - random.rand_float()).ln();
                (mean as f64 * times.min(MOST_MEANS)) as u64
            }
        }
    }
}
