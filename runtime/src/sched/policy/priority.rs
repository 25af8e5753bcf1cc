//! Strict priority: a smaller nice value always runs first, and interrupts; equal ones take turns of `Tunables::rr_slice`. Who has
//! a large one waits as long as others want to run.
//!
//! A group counts as a task of the nice value that weighs as much, or the next larger one.

use super::{Arrival, Contender, Policy, Queue};
use crate::sched::weight::Nice;

/// See the module's text.
pub(super) struct Priority;

/// The key's upper part is the rank, the lower one the time of coming in units of 16 ns: 36 years until it wraps.
const RANK_SHIFT: u32 = 56;
const TIME: u64 = (1 << RANK_SHIFT) - 1;

/// 0 to 39, from nice -20 to 19.
fn rank(who: Contender<'_>) -> u64 {
    let weight = who.entity.weight.get();
    let nice =
        (Nice::MIN.get()..Nice::MAX.get()).find(|nice| Nice::new(*nice).is_ok_and(|nice| nice.weight() <= weight));
    (nice.unwrap_or(Nice::MAX.get()) - Nice::MIN.get()) as u64
}

impl Policy for Priority {
    fn name(&self) -> &str {
        "priority"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        let keeps = match why {
            Arrival::Back => who.ran_at_once() < queue.tunables().rr_slice,
            Arrival::Moved => true,
            Arrival::New | Arrival::Woken | Arrival::Yielded => false,
        };
        let time = if keeps { who.key() } else { queue.now() >> 4 };
        who.set_key(rank(who) << RANK_SHIFT | time & TIME);
    }

    fn slice(&self, _: Contender<'_>, queue: Queue<'_>) -> u64 {
        queue.tunables().rr_slice
    }

    /// Its turn goes on if all others are of less.
    fn over(&self, running: Contender<'_>, first: Contender<'_>, queue: Queue<'_>) -> bool {
        rank(first) < rank(running)
            || rank(first) == rank(running) && running.ran_at_once() >= self.slice(running, queue)
    }

    fn preempts(&self, came: Contender<'_>, running: Contender<'_>, _: Queue<'_>) -> bool {
        rank(came) < rank(running)
    }

    fn yields_to(&self, yielding: Contender<'_>, next: Contender<'_>, _: Queue<'_>) -> bool {
        rank(next) <= rank(yielding)
    }
}
