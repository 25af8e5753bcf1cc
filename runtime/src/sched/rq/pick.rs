//! Who runs: the next one is picked, and the running one leaves or yields.

use super::{Leaving, RunQueue, queue_below};
use crate::sched::entity::{Class, EntityRef, On};
use crate::sched::group::GroupCpu;

impl RunQueue {
    /// The entity that runs next: it leaves the queue and is the running one. Nothing runs before.
    #[inline]
    pub(crate) fn pick_next(&mut self, now: u64) -> Option<EntityRef> {
        debug_assert!(self.curr.is_none(), "put_prev comes first");
        self.clock = now;
        if self.rt.nr_queued != 0
            && let Some(first) = self.rt.first()
        {
            self.rt.dequeue(first);
            return self.start(first, now);
        }
        if self.fair.nr_running != 0
            && let Some(first) = self.pick_fair(now)
        {
            self.curr = Some(first);
            return self.curr;
        }
        let first = self.idle.first()?;
        self.idle.dequeue(first);
        self.start(first, now)
    }

    fn pick_fair(&mut self, now: u64) -> Option<EntityRef> {
        let mut at = None;
        loop {
            let entity = queue_below(&mut self.fair, at).pick(now, &self.tunables)?;
            if !entity.is_group {
                return Some(entity);
            }
            let group = GroupCpu::of(entity);
            // SAFETY: queued, so alive.
            if unsafe { group.as_ref() }.has_budget(now, self.tunables.bandwidth_slice) {
                self.refresh_weight(group);
                at = Some(group);
            } else {
                self.put_chain(entity);
                self.throttle(group);
                at = None;
            }
        }
    }

    /// The running entity leaves the cpu.
    pub(crate) fn put_prev(&mut self, why: Leaving, now: u64) {
        self.update_curr(now);
        let Some(curr) = self.curr.take() else { return };
        let stays = why == Leaving::Preempted;
        match curr.class.get() {
            Class::Fifo(_) if stays => self.rt.enqueue(curr, true),
            Class::RoundRobin(_) if stays => {
                let over = self.turn_is_over(curr);
                if over {
                    curr.prev_sum_exec_runtime.set(curr.sum_exec_runtime.get());
                }
                self.rt.enqueue(curr, !over);
            }
            Class::Idle if stays => self.idle.enqueue(curr),
            Class::Fair(_) => self.put_prev_fair(curr, stays, now),
            _ => curr.on.set(On::Nothing),
        }
    }

    fn put_prev_fair(&mut self, curr: EntityRef, stays: bool, now: u64) {
        let parent = curr.parent.get();
        if !stays {
            queue_below(&mut self.fair, parent).leave_curr(now, &self.tunables);
            self.detached(parent, 1);
        }
        self.put_chain(curr);
        let mut at = parent;
        while let Some(group) = at {
            // SAFETY: alive by this function's caller: the task still is, and so are its groups.
            let part = unsafe { group.as_ref() };
            if part.entity.on.get() == On::Queue {
                self.refresh_weight(group);
                if !part.has_budget(now, self.tunables.bandwidth_slice) {
                    self.throttle(group);
                }
            }
            at = part.entity.parent.get();
        }
    }

    /// From a running entity's queue to the top: what runs there waits again.
    fn put_chain(&mut self, from: EntityRef) {
        let mut at = from.parent.get();
        loop {
            queue_below(&mut self.fair, at).put_curr(self.clock, &self.tunables);
            let Some(group) = at else { return };
            // SAFETY: as in `put_prev_fair`.
            at = unsafe { group.as_ref() }.entity.parent.get();
        }
    }

    /// The running entity lets others run. It runs on if nobody else may run, or if the next fair one is too far ahead of it:
    /// so tasks that yield all the time still share by weight.
    #[inline]
    pub(crate) fn yield_current(&mut self, now: u64) -> Option<EntityRef> {
        let curr = self.curr?;
        if !matches!(curr.class.get(), Class::Fair(_))
            || curr.parent.get().is_some()
            || self.rt.nr_queued != 0
            || !self.fair.is_cfs()
        {
            return self.yield_slow(now);
        }
        let Some(next) = self.fair.timeline.leftmost() else {
            self.update_curr(now);
            return self.go_on(curr);
        };
        if next.is_group {
            return self.yield_slow(now);
        }
        self.clock = now;
        if self.fair.yield_cfs(curr, next, now, &self.tunables) {
            self.curr = Some(next);
            self.curr
        } else {
            self.go_on(curr)
        }
    }

    /// It is picked again, so a slice begins.
    pub(super) fn go_on(&self, curr: EntityRef) -> Option<EntityRef> {
        curr.prev_sum_exec_runtime.set(curr.sum_exec_runtime.get());
        Some(curr)
    }

    #[cold]
    #[inline(never)]
    fn yield_slow(&mut self, now: u64) -> Option<EntityRef> {
        self.update_curr(now);
        let curr = self.curr?;
        match curr.class.get() {
            Class::Fifo(_) | Class::RoundRobin(_) => {
                self.curr = None;
                curr.prev_sum_exec_runtime.set(curr.sum_exec_runtime.get());
                self.rt.enqueue(curr, false);
            }
            Class::Idle => self.put_prev(Leaving::Preempted, now),
            Class::Fair(_) => {
                // Where it is alone in its group, the group yields.
                let mut at = curr.parent.get();
                loop {
                    let queue = self.queue(at);
                    queue.skip_curr();
                    let alone = queue.nr_running == 1;
                    let Some(group) = at.filter(|_| alone) else { break };
                    // SAFETY: the running task's group.
                    at = unsafe { group.as_ref() }.entity.parent.get();
                }
                self.put_prev(Leaving::Preempted, now);
            }
        }
        self.pick_next(now)
    }
}
