//! Another nice value, class or group, for an entity that waits, runs, or is on no queue.

use super::{Enqueue, Leaving, RunQueue, entity_of};
use crate::sched::entity::{Base, Class, EntityRef, On, class_weight};
#[cfg(test)]
use crate::sched::group::Group;
use crate::sched::group::GroupCpu;
use crate::sched::timeline::VRuntime;
#[cfg(test)]
use std::sync::Arc;

impl RunQueue {
    /// Changes how an entity is scheduled that waits in this queue, runs here, or is on no queue and was here last. True if the
    /// running one should give way.
    pub(crate) fn set_class(&mut self, entity: EntityRef, class: Class, now: u64) -> bool {
        self.change(entity, now, |entity| {
            entity.class.set(class);
            let (before, weight) = (entity.weight.get(), class_weight(class));
            // What it is ahead or behind is time that it owes or is owed; another weight makes another distance of it. (Else a task that
            // began at nice 19 would pay its first slice of 1 ms with 68 ms at nice 0.)
            if entity.base.get() == Base::Relative && weight != before {
                let distance = entity.vruntime.get().since(VRuntime::default());
                let distance = i128::from(distance) * i128::from(before.raw()) / i128::from(weight.raw());
                entity.vruntime.set(VRuntime::default().offset(distance as i64));
            }
            entity.set_weight(weight);
            entity.prev_sum_exec_runtime.set(entity.sum_exec_runtime.get());
        })
    }

    /// Moves an entity to another group, as [`RunQueue::set_class`]. (In the runtime a task stays in the group it was spawned in.)
    #[cfg(test)]
    pub(crate) fn set_group(&mut self, entity: EntityRef, group: Option<Arc<Group>>, now: u64) -> bool {
        let mut before = None;
        let give_way = self.change(entity, now, |entity| before = entity.group.replace(group));
        // Maybe the last one of the group, which was still needed until here.
        drop(before);
        give_way
    }

    fn change(&mut self, entity: EntityRef, now: u64, how: impl FnOnce(EntityRef)) -> bool {
        match entity.on.get() {
            On::Queue => {
                self.dequeue(entity, now);
                make_relative(entity);
                how(entity);
                self.enqueue(entity, Enqueue::Migrated, now)
            }
            On::Cpu => {
                self.put_prev(Leaving::Blocked, now);
                make_relative(entity);
                how(entity);
                self.enqueue(entity, Enqueue::Migrated, now);
                self.set_curr(entity, now);
                self.tick(now) || self.nr_queued() != 0 && self.better_waits(entity)
            }
            On::Nothing => {
                make_relative(entity);
                how(entity);
                false
            }
            On::Throttled => unreachable!("only groups are throttled, and they do not change class"),
        }
    }

    /// A class before the running one's has somebody who waits.
    fn better_waits(&self, curr: EntityRef) -> bool {
        match curr.class.get() {
            Class::Fifo(own) | Class::RoundRobin(own) => self.rt.highest() > own.get(),
            Class::Fair(_) => self.rt.nr_queued != 0,
            Class::Idle => self.nr_queued() > self.idle.nr_queued,
        }
    }

    /// Makes one that waits the running one, whoever is first.
    fn set_curr(&mut self, entity: EntityRef, now: u64) {
        match entity.class.get() {
            Class::Fifo(_) | Class::RoundRobin(_) => {
                self.rt.dequeue(entity);
                self.start(entity, now);
            }
            Class::Idle => {
                self.idle.dequeue(entity);
                self.start(entity, now);
            }
            Class::Fair(_) => {
                let mut child = entity;
                loop {
                    let at = child.parent.get();
                    // In a throttled group it runs on until it leaves the cpu; then the group is throttled again.
                    if child.on.get() == On::Throttled {
                        self.throttled.remove(child);
                        child.on.set(On::Nothing);
                        let tasks = self.queue(Some(GroupCpu::of(child))).h_nr_running;
                        self.attach(child, Enqueue::Wakeup, tasks, now);
                    }
                    self.queue(at).set_curr(child, now);
                    let Some(group) = at else { break };
                    child = entity_of(group);
                }
                self.curr = Some(entity);
            }
        }
    }
}

/// So that it can come to another queue.
fn make_relative(entity: EntityRef) {
    if entity.base.get() == Base::Queue {
        let distance = entity.vruntime.get().since(entity.left_at.get());
        entity.vruntime.set(VRuntime::default().offset(distance));
        entity.base.set(Base::Relative);
    }
}
