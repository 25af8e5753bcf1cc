//! CFS: who ran least for its weight.
//!
//! The key is the virtual run time. Who comes is placed beside the queue's moment, `min_vruntime`:
//! * new: one slice later than it. So a task gains nothing by spawning others.
//! * woken: where it stood, but no earlier than half a latency before it. So a sleeper gets the core soon, cannot save time up,
//!   and cannot wash off what it ran too much by sleeping for a moment: its vruntime never goes back.
//! * from another cpu: as far from this queue's moment as it was from that one's.

use super::{Arrival, Contender, Policy, Queue};

/// A task that slept longer is placed as if it had never run: numbers that old may have wrapped around. The kernel's value.
const LONG_SLEEP: u64 = 60_000_000_000;

/// See the module's text.
pub(in crate::sched) struct Cfs;

impl Cfs {
    pub(in crate::sched) const NAME: &str = "cfs";
}

impl Policy for Cfs {
    fn name(&self) -> &str {
        Cfs::NAME
    }

    /// The kernel's `place_entity`. The queue has set the vruntime to where it would be without any rule.
    #[inline]
    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        let entity = who.entity;
        match why {
            Arrival::New => {
                let debit = who.virtual_ns(queue.fair.slice(entity, queue.tunables, queue.now));
                entity.vruntime.set(entity.vruntime.get().plus(debit));
            }
            Arrival::Woken => {
                let earliest = queue.fair.moment().minus(queue.tunables.latency / 2);
                let slept = queue.now.saturating_sub(entity.exec_start.get());
                let own = entity.vruntime.get();
                entity.vruntime.set(if slept > LONG_SLEEP { earliest } else { own.max(earliest) });
            }
            Arrival::Moved | Arrival::Back | Arrival::Yielded => (),
        }
        entity.key.set(entity.vruntime.get());
    }

    /// Its share, by weight, of the time in which each runs once.
    #[cold]
    fn slice(&self, who: Contender<'_>, queue: Queue<'_>) -> u64 {
        let (weight, tunables) = (who.entity.weight.get().raw(), queue.tunables);
        let period = tunables.latency.max(u64::from(queue.number()) * tunables.min_granularity);
        let slice = u128::from(period) * u128::from(weight) / u128::from(queue.fair.load.max(weight));
        (slice as u64).max(tunables.min_granularity)
    }

    /// Its slice is over; or it came with a lead, by waking up, and has used that up long ago.
    #[inline]
    fn over(&self, running: Contender<'_>, first: Contender<'_>, queue: Queue<'_>) -> bool {
        let (ran, slice) = (running.ran_at_once(), queue.fair.slice(running.entity, queue.tunables, queue.now));
        let lead = running.entity.vruntime.get().since(first.entity.vruntime.get());
        ran >= slice || ran >= queue.tunables.min_granularity && lead > slice.min(i64::MAX as u64) as i64
    }

    /// It is so far behind the running one that it runs at once.
    #[inline]
    fn preempts(&self, came: Contender<'_>, running: Contender<'_>, queue: Queue<'_>) -> bool {
        let behind = running.entity.vruntime.get().since(came.entity.vruntime.get());
        behind > 0 && behind as u64 > came.virtual_ns(queue.tunables.wakeup_granularity)
    }

    /// If `next` is no further ahead than it gets in a latency. So a new task, which is placed one slice ahead, gets its turn at the
    /// first yield; and among those that yield all the time nobody leads by more.
    #[inline]
    fn yields_to(&self, yielding: Contender<'_>, next: Contender<'_>, queue: Queue<'_>) -> bool {
        let ahead = next.entity.vruntime.get().since(yielding.entity.vruntime.get());
        ahead <= 0 || ahead as u64 <= next.virtual_ns(queue.tunables.latency)
    }
}
