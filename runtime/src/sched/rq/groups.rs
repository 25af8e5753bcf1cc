//! The walk from a task up through its groups, when it comes and when it left; and groups whose quota is used up.

use super::{Enqueue, RunQueue, entity_of, queue_below};
use crate::sched::entity::{EntityRef, On};
use crate::sched::group::GroupCpu;
use std::ptr::NonNull;

impl RunQueue {
    /// Puts a fair entity into its queue, and its groups into theirs. `tasks` more can be picked. False if they cannot: a group
    /// above is throttled.
    pub(super) fn attach(&mut self, entity: EntityRef, why: Enqueue, tasks: u32, now: u64) -> bool {
        let (mut child, mut why) = (entity, why);
        loop {
            let at = child.parent.get();
            let queue = queue_below(&mut self.fair, at);
            if child.on.get() == On::Nothing {
                queue.enqueue(child, why, self.cpu, now, &self.tunables);
            }
            queue.h_nr_running += tasks;
            let Some(group) = at else { return true };
            let load = queue.load;
            // SAFETY: the group of an entity that is queued.
            unsafe { group.as_ref() }.load_is(load);
            child = entity_of(group);
            if child.on.get() == On::Throttled {
                return false;
            }
            self.refresh_weight(group);
            why = Enqueue::Wakeup;
        }
    }

    /// `tasks` left the queue of a group: what follows for it and those above.
    pub(super) fn detached(&mut self, from: Option<NonNull<GroupCpu>>, tasks: u32) {
        let mut at = from;
        loop {
            let queue = self.queue(at);
            queue.h_nr_running -= tasks;
            let Some(group) = at else { return };
            let (load, empty) = (queue.load, queue.nr_running == 0);
            // SAFETY: its entity was queued until now, so the owner still has the group.
            let part = unsafe { group.as_ref() };
            part.load_is(load);
            let entity = entity_of(group);
            at = entity.parent.get();
            match entity.on.get() {
                On::Throttled => {
                    if empty {
                        self.throttled.remove(entity);
                        entity.on.set(On::Nothing);
                    }
                    return;
                }
                On::Queue if empty => self.queue(at).dequeue_sleeping(entity),
                On::Cpu if empty => queue_below(&mut self.fair, at).leave_curr(self.clock, &self.tunables),
                _ => self.refresh_weight(group),
            }
        }
    }

    pub(super) fn throttle(&mut self, group: NonNull<GroupCpu>) {
        let entity = entity_of(group);
        debug_assert_eq!(entity.on.get(), On::Queue);
        let tasks = self.queue(Some(group)).h_nr_running;
        let at = entity.parent.get();
        self.queue(at).dequeue_sleeping(entity);
        entity.on.set(On::Throttled);
        self.throttled.push_back(entity);
        self.detached(at, tasks);
    }

    /// The group's entity gets the weight that it should have by now. It is charged for what it ran before.
    pub(super) fn refresh_weight(&mut self, group: NonNull<GroupCpu>) {
        // SAFETY: as for all callers, the group of an entity that is queued or runs.
        let part = unsafe { group.as_ref() };
        if let Some(weight) = part.new_weight() {
            let entity = entity_of(group);
            if entity.on.get() == On::Nothing {
                entity.set_weight(weight);
            } else {
                let queue = queue_below(&mut self.fair, entity.parent.get());
                queue.reweight(entity, weight, self.clock, &self.tunables);
                if let Some(above) = entity.parent.get() {
                    let load = self.queue(Some(above)).load;
                    // SAFETY: as above.
                    unsafe { above.as_ref() }.load_is(load);
                }
            }
        }
    }

    /// When a throttled group may run again; `None` if none is throttled. Then: `unthrottle`.
    pub(crate) fn next_refill(&self) -> Option<u64> {
        // SAFETY: what is throttled has tasks in it.
        self.throttled.iter().map(|entity| unsafe { GroupCpu::of(entity).as_ref() }.next_refill(self.clock)).min()
    }

    /// Lets throttled groups run again that get some quota. True if the running one should give way.
    pub(crate) fn unthrottle(&mut self, now: u64) -> bool {
        self.update_curr(now);
        let mut give_way = false;
        let mut at = self.throttled.first();
        while let Some(entity) = at {
            at = self.throttled.after(entity);
            let group = GroupCpu::of(entity);
            // SAFETY: what is throttled has tasks in it.
            if unsafe { group.as_ref() }.has_budget(now, self.tunables.bandwidth_slice) {
                self.throttled.remove(entity);
                entity.on.set(On::Nothing);
                let tasks = self.queue(Some(group)).h_nr_running;
                give_way |= self.attach(entity, Enqueue::Wakeup, tasks, now) && self.preempts(entity);
            }
        }
        give_way
    }
}
