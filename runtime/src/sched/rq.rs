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

use super::Tunables;
use super::entity::{Base, Class, EntityRef, On, class_weight};
use super::fair::{FairQueue, wakeup_preempts};
use super::group::{Group, GroupCpu};
use super::idle::IdleQueue;
use super::rt::{List, RtQueue, priority};
use super::timeline::VRuntime;
use super::weight::{Nice, Weight};
use std::ptr::NonNull;
use std::sync::Arc;

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

/// How many waiting entities `steal` looks at: the kernel's `sched_nr_migrate`. The lock is held meanwhile.
const STEAL_LOOKS: usize = 32;

impl RunQueue {
    /// The queue of the cpu of that number.
    pub(crate) fn new(cpu: u32, tunables: Tunables) -> RunQueue {
        RunQueue {
            cpu,
            tunables,
            curr: None,
            fair: FairQueue::new(),
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

    fn start(&mut self, entity: EntityRef, now: u64) -> Option<EntityRef> {
        entity.on.set(On::Cpu);
        entity.exec_start.set(now);
        self.curr = Some(entity);
        self.curr
    }

    fn pick_fair(&mut self, now: u64) -> Option<EntityRef> {
        let tunables = self.tunables;
        let mut at = None;
        loop {
            let entity = self.queue(at).pick(now, &tunables)?;
            if !entity.is_group {
                return Some(entity);
            }
            let group = GroupCpu::of(entity);
            // SAFETY: queued, so alive.
            if unsafe { group.as_ref() }.has_budget(now, tunables.bandwidth_slice) {
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
            self.queue(parent).leave_curr();
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
            self.queue(at).put_curr();
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
        if !matches!(curr.class.get(), Class::Fair(_)) || curr.parent.get().is_some() || self.rt.nr_queued != 0 {
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
        self.fair.update_curr(now);
        match self.fair.yield_to(next, now, &self.tunables) {
            Some(next) => {
                self.curr = Some(next);
                self.curr
            }
            None => self.go_on(curr),
        }
    }

    /// It is picked again, so a slice begins.
    fn go_on(&self, curr: EntityRef) -> Option<EntityRef> {
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

    /// Entities that could be picked, without the running one.
    #[inline]
    pub(crate) fn nr_queued(&self) -> u32 {
        let fair_runs = self.fair.curr.is_some();
        self.rt.nr_queued + self.fair.h_nr_running - u32::from(fair_runs) + self.idle.nr_queued
    }

    /// All entities that could run, with the running one.
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
    pub(crate) fn min_vruntime(&self) -> VRuntime {
        self.fair.min_vruntime()
    }

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

    #[inline]
    fn fair_left(&self, queue: &FairQueue) -> u64 {
        queue.curr.map_or(u64::MAX, |curr| queue.slice(curr, &self.tunables).saturating_sub(used(curr)))
    }

    fn turn_is_over(&self, curr: EntityRef) -> bool {
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
                let tunables = self.tunables;
                let mut give_way = false;
                let mut at = curr.parent.get();
                loop {
                    give_way |= self.queue(at).tick(&tunables);
                    let Some(group) = at else { break };
                    // SAFETY: the running task's group.
                    let part = unsafe { group.as_ref() };
                    give_way |= !part.has_budget(now, tunables.bandwidth_slice);
                    self.refresh_weight(group);
                    at = part.entity.parent.get();
                }
                give_way
            }
        }
    }

    /// Takes one that waits and is allowed, to go to another cpu: real-time first, since it must not wait; else what would run
    /// last here. Looks at a bounded number.
    pub(crate) fn steal(&mut self, mut allowed: impl FnMut(EntityRef) -> bool, now: u64) -> Option<EntityRef> {
        let mut looks = STEAL_LOOKS;
        let found = self
            .rt
            .find_first(looks, &mut allowed)
            .or_else(|| self.find_last_fair(None, &mut looks, &mut allowed))
            .or_else(|| self.idle.find_last(looks, &mut allowed))?;
        self.dequeue(found, now);
        Some(found)
    }

    fn find_last_fair(
        &mut self,
        within: Option<NonNull<GroupCpu>>,
        looks: &mut usize,
        allowed: &mut dyn FnMut(EntityRef) -> bool,
    ) -> Option<EntityRef> {
        let mut at = self.queue(within).timeline.rightmost();
        // A group that runs has tasks that wait, too; they are looked at last.
        let running = self.queue(within).curr.filter(|curr| curr.is_group);
        while let Some(entity) = at {
            *looks = looks.checked_sub(1)?;
            if !entity.is_group {
                if allowed(entity) {
                    return Some(entity);
                }
            } else if let Some(found) = self.find_last_fair(Some(GroupCpu::of(entity)), looks, allowed) {
                return Some(found);
            }
            at = self.queue(within).timeline.prev(entity);
        }
        self.find_last_fair(Some(GroupCpu::of(running?)), looks, allowed)
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

    /// Changes the nice value of a task of the fair class, or makes it one. As [`RunQueue::set_class`].
    pub(crate) fn set_nice(&mut self, entity: EntityRef, nice: Nice, now: u64) -> bool {
        self.set_class(entity, Class::Fair(nice), now)
    }

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

    /// Moves an entity to another group, as [`RunQueue::set_class`].
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

    /// Charges the running entity, and its groups, up to now.
    #[inline]
    fn update_curr(&mut self, now: u64) {
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
        match of {
            None => &mut self.fair,
            // SAFETY: the queues below are reached through this run queue only, which is borrowed as long as the result is.
            Some(group) => unsafe { GroupCpu::queue(group) },
        }
    }

    /// Puts a fair entity into its queue, and its groups into theirs. `tasks` more can be picked. False if they cannot: a group
    /// above is throttled.
    fn attach(&mut self, entity: EntityRef, why: Enqueue, tasks: u32, now: u64) -> bool {
        let (cpu, tunables) = (self.cpu, self.tunables);
        let (mut child, mut why) = (entity, why);
        loop {
            let at = child.parent.get();
            let queue = self.queue(at);
            if child.on.get() == On::Nothing {
                queue.enqueue(child, why, cpu, now, &tunables);
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
    fn detached(&mut self, from: Option<NonNull<GroupCpu>>, tasks: u32) {
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
                On::Cpu if empty => self.queue(at).leave_curr(),
                _ => self.refresh_weight(group),
            }
        }
    }

    fn throttle(&mut self, group: NonNull<GroupCpu>) {
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
    fn refresh_weight(&mut self, group: NonNull<GroupCpu>) {
        // SAFETY: as for all callers, the group of an entity that is queued or runs.
        let part = unsafe { group.as_ref() };
        if let Some(weight) = part.new_weight() {
            let entity = entity_of(group);
            if entity.on.get() == On::Nothing {
                entity.set_weight(weight);
            } else {
                self.queue(entity.parent.get()).reweight(entity, weight);
                if let Some(above) = entity.parent.get() {
                    let load = self.queue(Some(above)).load;
                    // SAFETY: as above.
                    unsafe { above.as_ref() }.load_is(load);
                }
            }
        }
    }

    /// An entity that came should run before the running one.
    fn preempts(&self, entity: EntityRef) -> bool {
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
        let (mut entity, mut curr) = (entity, curr);
        let (mut depth, mut curr_depth) = (depth(entity), depth(curr));
        while entity.parent.get() != curr.parent.get() {
            if depth >= curr_depth
                && let Some(group) = entity.parent.get()
            {
                (entity, depth) = (entity_of(group), depth - 1);
            }
            if curr_depth > depth
                && let Some(group) = curr.parent.get()
            {
                (curr, curr_depth) = (entity_of(group), curr_depth - 1);
            }
        }
        entity != curr && wakeup_preempts(entity, curr, &self.tunables)
    }
}

fn entity_of(group: NonNull<GroupCpu>) -> EntityRef {
    // SAFETY: a part of a group keeps the contract of `EntityRef` if the tasks in it do: they keep the group alive.
    unsafe { EntityRef::new(&group.as_ref().entity) }
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

/// So that it can come to another queue.
fn make_relative(entity: EntityRef) {
    if entity.base.get() == Base::Queue {
        let distance = entity.vruntime.get().since(entity.left_at.get());
        entity.vruntime.set(VRuntime::default().offset(distance));
        entity.base.set(Base::Relative);
    }
}
