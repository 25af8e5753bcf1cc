//! A cpu's run queue: the classes in their order, and the walk through nested groups. The kernel's `rq`.
//!
//! # States
//!
//! An entity is on nothing, waits in a queue, runs (on the cpu), or is throttled (groups only). With the running task, each group
//! it is in runs: they are the *chain*, and each is its queue's `curr`. `nr_queued` counts what could be picked: not the running
//! task, and not what waits in throttled groups.
//!
//! A group is in its parent's queue exactly if its own queue has an entity and it is not throttled. It is throttled or
//! unthrottled when the task in it leaves the cpu, when it would be picked, and by `unthrottle`.

//!
//! | file | what it is |
//! |---|---|
//! | `pick` | who runs |
//! | `tick` | for how long |
//! | `groups` | what follows for the groups above |
//! | `change` | another nice value, class or group |
//! | `steal` | who goes to another cpu |

mod change;
mod groups;
mod pick;
mod steal;
mod tick;

use super::Tunables;
use super::entity::{Class, EntityRef, On};
use super::fair::FairQueue;
use super::group::GroupCpu;
use super::idle::IdleQueue;
use super::policy::PolicyRef;
use super::rt::{List, RtQueue};
use super::weight::Weight;
use std::ptr::NonNull;

/// Why an entity comes to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueue {
    /// For the first time.
    New,
    /// It waited for something.
    Wakeup,
    /// It was taken from another cpu's queue.
    Migrated,
}

/// Why the running entity leaves the cpu. (To yield is `yield_current`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Others come first; it stays queued.
    Preempted,
    /// Until it is woken.
    Blocked,
    /// For ever.
    Dead,
}

/// See the module's text.
pub(crate) struct RunQueue {
    cpu: u32,
    tunables: Tunables,
    curr: Option<EntityRef>,
    fair: FairQueue,
    rt: RtQueue,
    idle: IdleQueue,
    throttled: List,
    /// When the classes last looked.
    clock: u64,
}

// SAFETY: the entities are used only through the queue, by whoever has it, by the contract of `EntityRef`.
unsafe impl Send for RunQueue {}

impl RunQueue {
    /// The queue of the cpu of that number.
    pub(crate) fn new(cpu: u32, tunables: Tunables, policy: PolicyRef) -> RunQueue {
        RunQueue {
            cpu,
            tunables,
            curr: None,
            fair: FairQueue::new(policy),
            rt: RtQueue::new(),
            idle: IdleQueue::new(),
            throttled: List::new(),
            clock: 0,
        }
    }

    /// Its constants.
    #[inline]
    pub(crate) fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// Adds an entity that is on no queue. True if the running one should give way to it.
    pub(crate) fn enqueue(&mut self, entity: EntityRef, why: Enqueue, now: u64) -> bool {
        debug_assert_eq!(entity.on.get(), On::Nothing);
        self.update_curr(now);
        match entity.class.get() {
            Class::Fifo(_) | Class::RoundRobin(_) => self.rt.enqueue(entity, false),
            Class::Idle => self.idle.enqueue(entity),
            Class::Fair(_) => {
                let parent = entity.group.borrow().as_ref().map(|group| group.cpu(self.cpu));
                entity.parent.set(parent);
                if !self.attach(entity, why, 1, now) {
                    return false;
                }
            }
        }
        entity.cpu.set(self.cpu);
        self.preempts(entity)
    }

    /// Takes away an entity that waits in this queue.
    pub(crate) fn dequeue(&mut self, entity: EntityRef, now: u64) {
        debug_assert_eq!(entity.on.get(), On::Queue);
        self.update_curr(now);
        match entity.class.get() {
            Class::Fifo(_) | Class::RoundRobin(_) => self.rt.dequeue(entity),
            Class::Idle => self.idle.dequeue(entity),
            Class::Fair(_) => {
                let parent = entity.parent.get();
                self.queue(parent).dequeue(entity);
                self.detached(parent, 1);
            }
        }
    }

    fn start(&mut self, entity: EntityRef, now: u64) -> Option<EntityRef> {
        entity.on.set(On::Cpu);
        entity.exec_start.set(now);
        self.curr = Some(entity);
        self.curr
    }

    /// Entities that could be picked, without the running one.
    #[inline]
    pub(crate) fn nr_queued(&self) -> u32 {
        let fair_runs = self.fair.curr.is_some();
        self.rt.nr_queued + self.fair.h_nr_running - u32::from(fair_runs) + self.idle.nr_queued
    }

    /// All entities that could run, with the running one.
    #[cfg(test)]
    pub(crate) fn nr_running(&self) -> u32 {
        self.nr_queued() + u32::from(self.curr.is_some())
    }

    /// What this queue's entities weigh together, in the units of nice values. One of real-time counts as a task of nice 0, one
    /// of the idle class 3, as in the kernel.
    pub(crate) fn load(&self) -> u64 {
        let (mut rt, mut idle) = (u64::from(self.rt.nr_queued), u64::from(self.idle.nr_queued));
        match self.curr.map(|curr| curr.class.get()) {
            Some(Class::Fifo(_) | Class::RoundRobin(_)) => rt += 1,
            Some(Class::Idle) => idle += 1,
            Some(Class::Fair(_)) | None => (),
        }
        (self.fair.load >> Weight::SHIFT) + rt * (Weight::NICE_0.raw() >> Weight::SHIFT) + idle * 3
    }

    /// The fair class' moment of virtual time.
    #[cfg(test)]
    pub(crate) fn moment(&self) -> super::timeline::VRuntime {
        self.fair.moment()
    }

    /// Charges the running entity, and its groups, up to now.
    #[inline]
    pub(crate) fn update_curr(&mut self, now: u64) {
        self.clock = now;
        let Some(curr) = self.curr else { return };
        if !matches!(curr.class.get(), Class::Fair(_)) {
            let ran = now.saturating_sub(curr.exec_start.get());
            curr.exec_start.set(curr.exec_start.get().max(now));
            curr.sum_exec_runtime.set(curr.sum_exec_runtime.get().wrapping_add(ran));
            return;
        }
        let mut at = curr.parent.get();
        loop {
            let ran = self.queue(at).update_curr(now);
            let Some(group) = at else { return };
            // SAFETY: the running task's group.
            let part = unsafe { group.as_ref() };
            part.charge(ran);
            at = part.entity.parent.get();
        }
    }

    /// The queue of a group's part of this cpu, or the one at the top.
    #[inline]
    fn queue(&mut self, of: Option<NonNull<GroupCpu>>) -> &mut FairQueue {
        queue_below(&mut self.fair, of)
    }
}

/// As [`RunQueue::queue`], with the rest of the run queue left to use.
#[inline]
fn queue_below(fair: &mut FairQueue, of: Option<NonNull<GroupCpu>>) -> &mut FairQueue {
    match of {
        None => fair,
        // SAFETY: the queues below are reached through the run queue only, whose own one is borrowed as long as the result is.
        Some(group) => unsafe { GroupCpu::queue(group) },
    }
}

fn entity_of(group: NonNull<GroupCpu>) -> EntityRef {
    // SAFETY: a part of a group keeps the contract of `EntityRef` if the tasks in it do: they keep the group alive.
    unsafe { EntityRef::new(&group.as_ref().entity) }
}
