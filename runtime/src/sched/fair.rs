//! The fair class on one cpu: the kernel's `cfs_rq`, and CFS's rules.
//!
//! Each entity has a *virtual run time* that runs faster the less it weighs; the one whose vruntime is smallest runs next, so all
//! are kept close together, and each gets time by its weight. `min_vruntime` is the queue's moment: it follows the smallest
//! vruntime and never goes back. Who comes is placed beside it:
//! * new: one slice later than it. So a task gains nothing by spawning others.
//! * woken: where it stood, but no earlier than half a latency before it. So a sleeper gets the core soon, cannot save time up,
//!   and cannot wash off what it ran too much by sleeping for a moment: its vruntime never goes back.
//! * from another cpu: as far from this queue's moment as it was from that one's.
//!
//! A queue holds tasks and groups alike (`group.rs`); this file knows one queue. What runs is `curr`: it counts for weight and
//! number, but is not in the tree.

use super::Tunables;
use super::entity::{Base, EntityRef, On};
use super::rq::Enqueue;
use super::timeline::{Timeline, VRuntime};
use super::weight::Weight;
use std::cell::Cell;

/// A task that slept longer is placed as if it had never run: numbers that old may have wrapped around. The kernel's value.
const LONG_SLEEP: u64 = 60_000_000_000;

/// See the module's text.
pub(super) struct FairQueue {
    pub(super) timeline: Timeline,
    /// The entity of this queue that runs, or whose group has the task that runs.
    pub(super) curr: Option<EntityRef>,
    /// It yielded: the next pick is another one, if weights allow.
    skip: Option<EntityRef>,
    min_vruntime: VRuntime,
    /// Of all entities here, in the inner unit of [`Weight`].
    pub(super) load: u64,
    /// Entities here, the running one included.
    pub(super) nr_running: u32,
    /// Tasks here and in groups below that are not throttled, the running one included.
    pub(super) h_nr_running: u32,
    /// What `slice` computed last, since load and number changed, and for which weight.
    slice: Cell<u64>,
    slice_weight: Cell<Option<Weight>>,
}

impl FairQueue {
    pub(super) const fn new() -> FairQueue {
        FairQueue {
            timeline: Timeline::new(),
            curr: None,
            skip: None,
            min_vruntime: VRuntime::START,
            load: 0,
            nr_running: 0,
            h_nr_running: 0,
            slice: Cell::new(0),
            slice_weight: Cell::new(None),
        }
    }

    #[cfg(test)]
    pub(super) fn min_vruntime(&self) -> VRuntime {
        self.min_vruntime
    }

    /// Charges the running entity for its time since the last look. Returns that time.
    #[inline]
    pub(super) fn update_curr(&mut self, now: u64) -> u64 {
        let Some(curr) = self.curr else { return 0 };
        // Clocks of different cores may differ a little.
        let ran = now.saturating_sub(curr.exec_start.get());
        if ran == 0 {
            return 0;
        }
        curr.exec_start.set(now);
        curr.sum_exec_runtime.set(curr.sum_exec_runtime.get().wrapping_add(ran));
        curr.vruntime.set(curr.rate.get().advance(curr.vruntime.get(), ran));
        self.update_min_vruntime();
        ran
    }

    #[inline]
    fn update_min_vruntime(&mut self) {
        let moment = match (self.curr, self.timeline.leftmost()) {
            (Some(curr), Some(left)) => curr.vruntime.get().min(left.vruntime.get()),
            (Some(one), None) | (None, Some(one)) => one.vruntime.get(),
            (None, None) => return,
        };
        self.min_vruntime = self.min_vruntime.max(moment);
    }

    /// Adds an entity that is on no queue. `update_curr` was done.
    pub(super) fn enqueue(&mut self, entity: EntityRef, why: Enqueue, cpu: u32, now: u64, tunables: &Tunables) {
        debug_assert!(matches!(entity.on.get(), On::Nothing | On::Throttled), "{entity:?}");
        self.load += entity.weight.get().raw();
        self.nr_running += 1;
        self.slice_weight.set(None);
        self.place(entity, why, cpu, now, tunables);
        entity.base.set(Base::Queue);
        entity.cpu.set(cpu);
        entity.on.set(On::Queue);
        self.timeline.insert(entity);
    }

    /// The kernel's `place_entity`: see the module's text.
    fn place(&self, entity: EntityRef, why: Enqueue, cpu: u32, now: u64, tunables: &Tunables) {
        let own = match entity.base.get() {
            Base::None => {
                let debit = entity.rate.get().virtual_ns(self.slice(entity, tunables));
                entity.vruntime.set(self.min_vruntime.plus(debit));
                return;
            }
            Base::Relative => self.min_vruntime.offset(entity.vruntime.get().since(VRuntime::default())),
            Base::Queue if entity.cpu.get() == cpu => entity.vruntime.get(),
            Base::Queue => self.min_vruntime.offset(entity.vruntime.get().since(entity.left_at.get())),
        };
        let placed = match why {
            Enqueue::Migrated => own,
            Enqueue::New | Enqueue::Wakeup => {
                let earliest = self.min_vruntime.minus(tunables.latency / 2);
                let slept = now.saturating_sub(entity.exec_start.get());
                if slept > LONG_SLEEP { earliest } else { own.max(earliest) }
            }
        };
        entity.vruntime.set(placed);
    }

    /// Takes away an entity that waits here, to go to another queue or to none.
    pub(super) fn dequeue(&mut self, entity: EntityRef) {
        debug_assert_eq!(entity.on.get(), On::Queue);
        self.timeline.remove(entity);
        self.forget(entity);
        let distance = entity.vruntime.get().since(self.min_vruntime);
        entity.vruntime.set(VRuntime::default().offset(distance));
        entity.base.set(Base::Relative);
    }

    /// A group that waits here has nothing to run: it comes back to this queue.
    pub(super) fn dequeue_sleeping(&mut self, entity: EntityRef) {
        self.timeline.remove(entity);
        self.forget(entity);
    }

    /// The running entity stops and does not come back by itself.
    #[inline]
    pub(super) fn leave_curr(&mut self) {
        if let Some(curr) = self.curr.take() {
            self.forget(curr);
        }
    }

    fn forget(&mut self, entity: EntityRef) {
        entity.on.set(On::Nothing);
        self.load -= entity.weight.get().raw();
        self.nr_running -= 1;
        self.slice_weight.set(None);
        if self.skip == Some(entity) {
            self.skip = None;
        }
        self.update_min_vruntime();
        entity.left_at.set(self.min_vruntime);
    }

    /// The running entity waits again.
    #[inline]
    pub(super) fn put_curr(&mut self) {
        if let Some(curr) = self.curr.take() {
            curr.on.set(On::Queue);
            self.timeline.insert(curr);
        }
    }

    /// Takes the next to run from the tree. Nothing runs.
    #[inline]
    pub(super) fn pick(&mut self, now: u64, tunables: &Tunables) -> Option<EntityRef> {
        debug_assert!(self.curr.is_none());
        let mut next = self.timeline.leftmost()?;
        if self.skip.take() == Some(next)
            && let Some(second) = self.timeline.next(next)
            && within(second, next, tunables)
        {
            next = second;
        }
        self.set_curr(next, now);
        Some(next)
    }

    /// An entity that waits here runs.
    #[inline]
    pub(super) fn set_curr(&mut self, entity: EntityRef, now: u64) {
        self.timeline.remove(entity);
        self.start(entity, now);
    }

    #[inline]
    fn start(&mut self, entity: EntityRef, now: u64) {
        entity.on.set(On::Cpu);
        entity.exec_start.set(now);
        entity.prev_sum_exec_runtime.set(entity.sum_exec_runtime.get());
        self.curr = Some(entity);
    }

    pub(super) fn skip_curr(&mut self) {
        self.skip = self.curr;
    }

    /// The running entity lets the first one of the tree run, if that is not too far ahead of it: then `None`, and it goes on.
    /// `update_curr` was done.
    #[inline]
    pub(super) fn yield_to(&mut self, next: EntityRef, now: u64, tunables: &Tunables) -> Option<EntityRef> {
        let curr = self.curr?;
        if !within(next, curr, tunables) {
            return None;
        }
        curr.on.set(On::Queue);
        self.timeline.exchange_leftmost(next, curr);
        self.start(next, now);
        Some(next)
    }

    /// How long an entity of this queue may run at a time: its share, by weight, of the time in which each runs once.
    #[inline]
    pub(super) fn slice(&self, entity: EntityRef, tunables: &Tunables) -> u64 {
        let weight = entity.weight.get();
        if self.slice_weight.get() != Some(weight) {
            self.slice_weight.set(Some(weight));
            self.slice.set(self.compute_slice(weight, tunables));
        }
        self.slice.get()
    }

    #[cold]
    fn compute_slice(&self, weight: Weight, tunables: &Tunables) -> u64 {
        let period = tunables.latency.max(u64::from(self.nr_running) * tunables.min_granularity);
        let slice = u128::from(period) * u128::from(weight.raw()) / u128::from(self.load.max(weight.raw()));
        (slice as u64).max(tunables.min_granularity)
    }

    /// The running entity's slice is over, and another one waits. If none waits, the next slice begins.
    pub(super) fn tick(&self, tunables: &Tunables) -> bool {
        let Some(curr) = self.curr else { return false };
        let ran = curr.sum_exec_runtime.get().wrapping_sub(curr.prev_sum_exec_runtime.get());
        let slice = self.slice(curr, tunables);
        let Some(left) = self.timeline.leftmost() else {
            if ran >= slice {
                curr.prev_sum_exec_runtime.set(curr.sum_exec_runtime.get());
            }
            return false;
        };
        // The second: it came with a lead, by waking up, and has used it up long ago.
        ran >= slice
            || ran >= tunables.min_granularity
                && curr.vruntime.get().since(left.vruntime.get()) > slice.min(i64::MAX as u64) as i64
    }

    /// Changes the weight of an entity of this queue, waiting or running (`update_curr` was done).
    pub(super) fn reweight(&mut self, entity: EntityRef, weight: Weight) {
        self.load = self.load - entity.weight.get().raw() + weight.raw();
        self.slice_weight.set(None);
        entity.set_weight(weight);
    }
}

/// One that yields lets `other` run if that is no further ahead than it gets in a latency. So a new task, which is placed one
/// slice ahead, gets its turn at the first yield; and among those that yield all the time nobody leads by more.
#[inline]
fn within(other: EntityRef, entity: EntityRef, tunables: &Tunables) -> bool {
    let ahead = other.vruntime.get().since(entity.vruntime.get());
    ahead <= 0 || ahead as u64 <= other.rate.get().virtual_ns(tunables.latency)
}

/// A woken entity is so far behind the running one of its queue that it runs at once.
pub(super) fn wakeup_preempts(woken: EntityRef, curr: EntityRef, tunables: &Tunables) -> bool {
    let behind = curr.vruntime.get().since(woken.vruntime.get());
    behind > 0 && behind as u64 > woken.rate.get().virtual_ns(tunables.wakeup_granularity)
}
