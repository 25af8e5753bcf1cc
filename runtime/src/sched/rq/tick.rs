//! For how long: the running entity's slice, and who that comes may interrupt it.

use super::{RunQueue, entity_of, queue_below};
use crate::sched::entity::{Class, EntityRef};
use crate::sched::fair::FairQueue;
use crate::sched::group::GroupCpu;
use crate::sched::rt::priority;

impl RunQueue {
    /// When the running entity's slice is over if nobody else comes; when somebody comes it may become earlier, but is at most
    /// one slice away even if nobody waits (so that asking again then is enough). `u64::MAX` for the FIFO class.
    #[inline]
    pub(crate) fn slice_end(&self) -> u64 {
        let Some(curr) = self.curr else { return u64::MAX };
        match curr.class.get() {
            Class::Fifo(_) => u64::MAX,
            Class::RoundRobin(_) | Class::Idle => {
                curr.exec_start.get().saturating_add(self.tunables.rr_slice.saturating_sub(used(curr)))
            }
            Class::Fair(_) => {
                let mut left = self.fair_left(&self.fair);
                let mut at = curr.parent.get();
                while let Some(group) = at {
                    // SAFETY: the running task's group; this borrows the run queue, so nobody changes its parts.
                    let (part, queue) = unsafe { (group.as_ref(), &*GroupCpu::queue(group)) };
                    left = left.min(self.fair_left(queue)).min(part.budget_left());
                    at = part.entity.parent.get();
                }
                curr.exec_start.get().saturating_add(left)
            }
        }
    }

    /// When the running entity's groups have used up what they have of their quotas, though nobody else may wait. `u64::MAX`: they have none.
    #[inline]
    pub(crate) fn quota_end(&self) -> u64 {
        let Some(curr) = self.curr else { return u64::MAX };
        let (mut left, mut at) = (u64::MAX, curr.parent.get());
        while let Some(group) = at {
            // SAFETY: the running task's group.
            let part = unsafe { group.as_ref() };
            left = left.min(part.budget_left());
            at = part.entity.parent.get();
        }
        curr.exec_start.get().saturating_add(left)
    }

    #[inline]
    fn fair_left(&self, queue: &FairQueue) -> u64 {
        queue.curr.map_or(u64::MAX, |curr| queue.slice(curr, &self.tunables, self.clock).saturating_sub(used(curr)))
    }

    pub(super) fn turn_is_over(&self, curr: EntityRef) -> bool {
        used(curr) >= self.tunables.rr_slice
    }

    /// The time has come to look: true if the running entity should give way. If not, `slice_end` is in the future again.
    pub(crate) fn tick(&mut self, now: u64) -> bool {
        self.update_curr(now);
        let Some(curr) = self.curr else { return false };
        match curr.class.get() {
            Class::Fifo(own) => self.rt.highest() > own.get(),
            Class::RoundRobin(own) => {
                let over = self.turn_is_over(curr);
                if over && self.rt.highest() < own.get() {
                    self.go_on(curr);
                }
                self.rt.highest() >= own.get() + u32::from(!over)
            }
            Class::Idle => {
                let over = self.turn_is_over(curr);
                if over && self.idle.nr_queued == 0 {
                    self.go_on(curr);
                }
                self.nr_queued() > self.idle.nr_queued || over && self.idle.nr_queued != 0
            }
            Class::Fair(_) => {
                if self.rt.nr_queued != 0 {
                    return true;
                }
                let mut give_way = false;
                let mut at = curr.parent.get();
                loop {
                    give_way |= queue_below(&mut self.fair, at).tick(now, &self.tunables);
                    let Some(group) = at else { break };
                    // SAFETY: the running task's group.
                    let part = unsafe { group.as_ref() };
                    give_way |= !part.has_budget(now, self.tunables.bandwidth_slice);
                    self.refresh_weight(group);
                    at = part.entity.parent.get();
                }
                give_way
            }
        }
    }

    /// An entity that came should run before the running one.
    pub(super) fn preempts(&self, entity: EntityRef) -> bool {
        let Some(curr) = self.curr else { return false };
        match (entity.class.get(), curr.class.get()) {
            (Class::Fair(_), Class::Fair(_)) => self.preempts_fair(entity, curr),
            (Class::Fair(_), Class::Idle) => true,
            (Class::Fair(_) | Class::Idle, _) => false,
            (came, runs) => priority(came) > priority(runs),
        }
    }

    /// Compares them, or the groups they are in, where they meet in one queue.
    fn preempts_fair(&self, entity: EntityRef, curr: EntityRef) -> bool {
        let (entity, curr) = match entity.parent.get() == curr.parent.get() {
            true => (entity, curr),
            false => meet(entity, curr),
        };
        let queue = match entity.parent.get() {
            // SAFETY: as in `slice_end`.
            Some(group) if !self.fair.is_cfs() => unsafe { &*GroupCpu::queue(group) },
            // CFS asks nothing of the queue.
            _ => &self.fair,
        };
        entity != curr && queue.preempts(entity, curr, self.clock, &self.tunables)
    }
}

/// Themselves, or the groups they are in, in one queue.
fn meet(mut a: EntityRef, mut b: EntityRef) -> (EntityRef, EntityRef) {
    let (mut depth_a, mut depth_b) = (depth(a), depth(b));
    while a.parent.get() != b.parent.get() {
        if depth_a >= depth_b
            && let Some(group) = a.parent.get()
        {
            (a, depth_a) = (entity_of(group), depth_a - 1);
        }
        if depth_b > depth_a
            && let Some(group) = b.parent.get()
        {
            (b, depth_b) = (entity_of(group), depth_b - 1);
        }
    }
    (a, b)
}

fn depth(entity: EntityRef) -> u32 {
    let mut depth = 0;
    let mut at = entity.parent.get();
    while let Some(group) = at {
        depth += 1;
        at = entity_of(group).parent.get();
    }
    depth
}

/// Of its slice.
#[inline]
fn used(curr: EntityRef) -> u64 {
    curr.sum_exec_runtime.get().wrapping_sub(curr.prev_sum_exec_runtime.get())
}
