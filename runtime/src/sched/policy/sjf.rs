//! Shortest job first: whose next burst is expected to be the shortest runs, until it waits, yields or ends.
//!
//! A burst is what a task runs from waking up (or coming, or yielding) to waiting (or yielding). Nobody knows the next one; what is expected is the
//! exponential average of those before, each new one counting half: `expected = (expected + burst) / 2`, which begins with
//! one [`min_granularity`](crate::sched::Tunables::min_granularity). Long ones wait as long as short ones keep coming.

use super::{Arrival, Contender, Policy, Queue};

/// See the module's text.
pub(super) struct ShortestJob;

impl ShortestJob {
    /// Kept in the memory, where 0 is nobody's yet.
    fn expected(who: Contender<'_>, queue: Queue<'_>) -> u64 {
        match who.memory() {
            0 => queue.tunables().min_granularity,
            expected => expected,
        }
    }

    fn burst_is_over(who: Contender<'_>, queue: Queue<'_>) {
        let expected = ShortestJob::expected(who, queue) / 2 + who.burst() / 2;
        who.set_memory(expected.clamp(1, u64::MAX / 4));
    }
}

impl Policy for ShortestJob {
    fn name(&self) -> &str {
        "sjf"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        if why == Arrival::Yielded {
            ShortestJob::burst_is_over(who, queue);
        }
        who.set_key(ShortestJob::expected(who, queue));
    }

    fn leaves(&self, who: Contender<'_>, queue: Queue<'_>) {
        ShortestJob::burst_is_over(who, queue);
    }
}
