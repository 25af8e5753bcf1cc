//! The fair class on one cpu: the kernel's `cfs_rq`.
//!
//! Each entity has a *virtual run time* that runs faster the less it weighs; so if all have run for their share, all have the same.
//! The queue has a *moment*, to which vruntimes are compared: who comes from another cpu is placed as far from this queue's moment as it
//! was from that one's. Where somebody waits and how long it runs is the policy's business (`policy/`):
//! * under CFS the moment is `min_vruntime`: it follows the smallest vruntime and never goes back;
//! * under all others it is the average by weight, so that the distance from it is the entity's lag.
//!
//! A queue holds tasks and groups alike (`group.rs`); this file knows one queue. What runs is `curr`: it counts for weight and
//! number, but is not in the tree.

use super::Tunables;
use super::entity::{Base, EntityRef, On};
use super::policy::average::Average;
use super::policy::{Arrival, Cfs, Contender, Policy, PolicyRef, Queue};
use super::rq::Enqueue;
use super::timeline::{Timeline, VRuntime};
use super::weight::Weight;
use std::cell::Cell;

/// See the module's text.
pub(super) struct FairQueue {
    policy: PolicyRef,
    pub(super) timeline: Timeline,
    /// The entity of this queue that runs, or whose group has the task that runs.
    pub(super) curr: Option<EntityRef>,
    /// It yielded: the next pick is another one, if the policy allows.
    skip: Option<EntityRef>,
    moment: VRuntime,
    /// Of all entities here, in the inner unit of [`Weight`].
    pub(super) load: u64,
    /// Entities here, the running one included.
    pub(super) nr_running: u32,
    /// Tasks here and in groups below that are not throttled, the running one included.
    pub(super) h_nr_running: u32,
    /// What CFS computed last for a slice, since load and number changed, and for which weight.
    slice: Cell<u64>,
    slice_weight: Cell<Option<Weight>>,
    /// Of those that wait, for policies other than CFS.
    average: Average,
}

/// Calls the policy: CFS directly, others by their pointer.
macro_rules! by_policy {
    ($queue:expr, $policy:ident => $call:expr) => {
        match $queue.policy.other() {
            None => {
                let $policy = &Cfs;
                $call
            }
            Some($policy) => $call,
        }
    };
}

impl FairQueue {
    pub(super) fn new(policy: PolicyRef) -> FairQueue {
        FairQueue {
            policy,
            timeline: Timeline::new(),
            curr: None,
            skip: None,
            moment: VRuntime::START,
            load: 0,
            nr_running: 0,
            h_nr_running: 0,
            slice: Cell::new(0),
            slice_weight: Cell::new(None),
            average: Average::new(),
        }
    }

    /// To which vruntimes are compared.
    #[inline]
    pub(super) fn moment(&self) -> VRuntime {
        self.moment
    }

    #[inline]
    pub(super) fn is_cfs(&self) -> bool {
        self.policy.other().is_none()
    }

    #[inline]
    fn view<'a>(&'a self, now: u64, tunables: &'a Tunables) -> Queue<'a> {
        Queue { fair: self, tunables, now }
    }

    /// Charges the running entity for its time since the last look. Returns that time.
    #[inline]
    pub(super) fn update_curr(&mut self, now: u64) -> u64 {
        let Some(curr) = self.curr else { return 0 };
        let ran = uncharged(curr, now);
        if ran == 0 {
            return 0;
        }
        charge(curr, now, ran);
        self.update_moment();
        ran
    }

    #[inline]
    fn update_moment(&mut self) {
        if self.is_cfs() { self.update_min_vruntime() } else { self.update_average() }
    }

    #[inline]
    fn update_min_vruntime(&mut self) {
        let least = match (self.curr, self.timeline.leftmost()) {
            (Some(curr), Some(left)) => curr.vruntime.get().min(left.vruntime.get()),
            (Some(one), None) | (None, Some(one)) => one.vruntime.get(),
            (None, None) => return,
        };
        self.moment = self.moment.max(least);
    }

    #[cold]
    #[inline(never)]
    fn update_average(&mut self) {
        if let Some(average) = self.average.with(self.curr) {
            self.moment = average;
        }
    }

    /// Adds an entity that is on no queue. `update_curr` was done.
    pub(super) fn enqueue(&mut self, entity: EntityRef, why: Enqueue, cpu: u32, now: u64, tunables: &Tunables) {
        debug_assert!(matches!(entity.on.get(), On::Nothing | On::Throttled), "{entity:?}");
        self.load += entity.weight.get().raw();
        self.nr_running += 1;
        self.slice_weight.set(None);
        let came = if why == Enqueue::Migrated { Arrival::Moved } else { Arrival::Woken };
        // Makes its vruntime one of this queue.
        let (own, arrival) = match entity.base.get() {
            // Under CFS one that waited is where it was, and the others went on. A lag is kept for as long as it waits.
            Base::Queue if entity.cpu.get() == cpu && self.is_cfs() => (entity.vruntime.get(), came),
            Base::Queue => (self.moment.offset(entity.vruntime.get().since(entity.left_at.get())), came),
            Base::Relative => (self.moment.offset(entity.vruntime.get().since(VRuntime::default())), came),
            Base::None => (self.moment, Arrival::New),
        };
        entity.vruntime.set(own);
        entity.base.set(Base::Queue);
        entity.cpu.set(cpu);
        entity.on.set(On::Queue);
        if self.is_cfs() {
            Cfs.place(Contender::new(entity), self.view(now, tunables), arrival);
            self.timeline.insert(entity);
        } else {
            self.enqueue_slow(entity, arrival, now, tunables);
        }
    }

    #[cold]
    #[inline(never)]
    fn enqueue_slow(&mut self, entity: EntityRef, arrival: Arrival, now: u64, tunables: &Tunables) {
        by_policy!(self, policy => policy.place(Contender::new(entity), self.view(now, tunables), arrival));
        if arrival != Arrival::Moved {
            entity.burst_start.set(entity.sum_exec_runtime.get());
        }
        self.timeline.insert(entity);
        self.waits_slow(entity);
    }

    /// It waits from now on.
    #[cold]
    #[inline(never)]
    fn waits_slow(&mut self, entity: EntityRef) {
        self.average.add(entity);
        self.update_average();
    }

    /// It does not wait here from now on.
    #[inline]
    fn remove(&mut self, entity: EntityRef) {
        if !self.is_cfs() {
            self.waits_no_more_slow(entity);
        }
        self.timeline.remove(entity);
    }

    #[cold]
    #[inline(never)]
    fn waits_no_more_slow(&mut self, entity: EntityRef) {
        self.average.remove(entity);
    }

    /// Takes away an entity that waits here, to go to another queue or to none.
    pub(super) fn dequeue(&mut self, entity: EntityRef) {
        debug_assert_eq!(entity.on.get(), On::Queue);
        self.remove(entity);
        self.forget(entity);
        let distance = entity.vruntime.get().since(entity.left_at.get());
        entity.vruntime.set(VRuntime::default().offset(distance));
        entity.base.set(Base::Relative);
    }

    /// A group that waits here has nothing to run: it comes back to this queue.
    pub(super) fn dequeue_sleeping(&mut self, entity: EntityRef) {
        self.remove(entity);
        self.forget(entity);
    }

    /// The running entity stops and does not come back by itself.
    #[inline]
    pub(super) fn leave_curr(&mut self, now: u64, tunables: &Tunables) {
        if let Some(curr) = self.curr.take() {
            if let Some(policy) = self.policy.other() {
                policy.leaves(Contender::new(curr), self.view(now, tunables));
            }
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
        // The least vruntime is that of those who stay; a lag is a distance from the average that the entity is part of.
        if self.is_cfs() {
            self.update_min_vruntime();
            entity.left_at.set(self.moment);
        } else {
            entity.left_at.set(self.moment);
            self.update_average();
        }
    }

    /// The running entity waits again.
    #[inline]
    pub(super) fn put_curr(&mut self, now: u64, tunables: &Tunables) {
        if let Some(curr) = self.curr.take() {
            curr.on.set(On::Queue);
            if self.is_cfs() {
                Cfs.place(Contender::new(curr), self.view(now, tunables), Arrival::Back);
                self.timeline.insert(curr);
            } else {
                self.put_curr_slow(curr, now, tunables);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn put_curr_slow(&mut self, curr: EntityRef, now: u64, tunables: &Tunables) {
        let why = if self.skip == Some(curr) { Arrival::Yielded } else { Arrival::Back };
        by_policy!(self, policy => policy.place(Contender::new(curr), self.view(now, tunables), why));
        if why == Arrival::Yielded {
            curr.burst_start.set(curr.sum_exec_runtime.get());
        }
        self.timeline.insert(curr);
        self.waits_slow(curr);
    }

    /// Takes the next to run from the tree. Nothing runs.
    #[inline]
    pub(super) fn pick(&mut self, now: u64, tunables: &Tunables) -> Option<EntityRef> {
        debug_assert!(self.curr.is_none());
        if !self.is_cfs() {
            return self.pick_slow(now, tunables);
        }
        let mut next = self.timeline.leftmost()?;
        if self.skip.take() == Some(next) {
            next = self.first(&Cfs, Some(next), self.view(now, tunables))?;
        }
        self.timeline.remove(next);
        self.start(next, now);
        Some(next)
    }

    #[cold]
    #[inline(never)]
    fn pick_slow(&mut self, now: u64, tunables: &Tunables) -> Option<EntityRef> {
        let skip = self.skip.take();
        let next = by_policy!(self, policy => self.first(policy, skip, self.view(now, tunables)))?;
        self.set_curr(next, now);
        Some(next)
    }

    /// The first that may run; if that is `skip`, the one after it, if the policy allows.
    #[inline]
    fn first<P: Policy + ?Sized>(&self, policy: &P, skip: Option<EntityRef>, queue: Queue) -> Option<EntityRef> {
        let left = self.timeline.leftmost()?;
        let next = self.allowed(policy, Some(left), queue).unwrap_or(left);
        if skip == Some(next)
            && let Some(second) = self.allowed(policy, self.timeline.next(next), queue)
            && policy.yields_to(Contender::new(next), Contender::new(second), queue)
        {
            return Some(second);
        }
        Some(next)
    }

    /// The first from there on that may run.
    #[inline]
    fn allowed<P: Policy + ?Sized>(&self, policy: &P, from: Option<EntityRef>, queue: Queue) -> Option<EntityRef> {
        let mut at = from;
        while let Some(entity) = at {
            if policy.may_run(Contender::new(entity), queue) {
                return at;
            }
            at = self.timeline.next(entity);
        }
        None
    }

    /// An entity that waits here runs.
    pub(super) fn set_curr(&mut self, entity: EntityRef, now: u64) {
        self.remove(entity);
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

    /// Under CFS: the running entity is charged, and lets the first one of the tree run, if that is not too far ahead of it. Else
    /// false, and it goes on.
    #[inline]
    pub(super) fn yield_cfs(&mut self, curr: EntityRef, next: EntityRef, now: u64, tunables: &Tunables) -> bool {
        debug_assert!(self.is_cfs() && self.curr == Some(curr) && self.timeline.leftmost() == Some(next));
        let ran = uncharged(curr, now);
        if ran != 0 {
            charge(curr, now, ran);
            self.moment = self.moment.max(curr.vruntime.get().min(next.vruntime.get()));
        }
        if !Cfs.yields_to(Contender::new(curr), Contender::new(next), self.view(now, tunables)) {
            return false;
        }
        curr.on.set(On::Queue);
        Cfs.place(Contender::new(curr), self.view(now, tunables), Arrival::Yielded);
        self.timeline.exchange_leftmost(next, curr);
        self.start(next, now);
        true
    }

    /// How long an entity of this queue may run at a time.
    #[inline]
    pub(super) fn slice(&self, entity: EntityRef, tunables: &Tunables, now: u64) -> u64 {
        if let Some(policy) = self.policy.other() {
            return policy.slice(Contender::new(entity), self.view(now, tunables));
        }
        let weight = entity.weight.get();
        if self.slice_weight.get() != Some(weight) {
            self.slice_weight.set(Some(weight));
            self.slice.set(Cfs.slice(Contender::new(entity), self.view(now, tunables)));
        }
        self.slice.get()
    }

    /// The running entity's slice is over, and another one waits. If none waits that it should give way to, the next slice begins.
    pub(super) fn tick(&self, now: u64, tunables: &Tunables) -> bool {
        let Some(curr) = self.curr else { return false };
        let (running, queue) = (Contender::new(curr), self.view(now, tunables));
        if let Some(left) = self.timeline.leftmost() {
            let first = Contender::new(left);
            match self.policy.other() {
                // A slice that is over is always a reason.
                None => return Cfs.over(running, first, queue),
                Some(policy) if policy.over(running, first, queue) => return true,
                Some(_) => (),
            }
        }
        if running.ran_at_once() >= self.slice(curr, tunables, now) {
            by_policy!(self, policy => policy.place(running, queue, Arrival::Back));
            curr.prev_sum_exec_runtime.set(curr.sum_exec_runtime.get());
        }
        false
    }

    /// One that waits here since just now should interrupt the running one of this queue.
    #[inline]
    pub(super) fn preempts(&self, came: EntityRef, curr: EntityRef, now: u64, tunables: &Tunables) -> bool {
        let (came, running) = (Contender::new(came), Contender::new(curr));
        match self.policy.other() {
            None => Cfs.preempts(came, running, self.view(now, tunables)),
            Some(policy) => preempts_slow(policy, came, running, self.view(now, tunables)),
        }
    }

    /// Changes the weight of an entity of this queue, waiting or running (`update_curr` was done).
    pub(super) fn reweight(&mut self, entity: EntityRef, weight: Weight, now: u64, tunables: &Tunables) {
        let before = entity.weight.get();
        let waits = entity.on.get() == On::Queue;
        if !self.is_cfs() {
            if waits {
                self.remove(entity);
            }
            // What it is owed or owes is time: another distance at another weight.
            let distance = i128::from(entity.vruntime.get().since(self.moment));
            let distance = distance * i128::from(before.raw()) / i128::from(weight.raw());
            entity.vruntime.set(self.moment.offset(distance as i64));
        }
        self.load = self.load - before.raw() + weight.raw();
        self.slice_weight.set(None);
        entity.set_weight(weight);
        if let Some(policy) = self.policy.other() {
            let before = (before.raw() >> Weight::SHIFT) as u32;
            policy.reweighted(Contender::new(entity), before, self.view(now, tunables));
            if waits {
                self.timeline.insert(entity);
                self.waits_slow(entity);
            } else {
                self.update_average();
            }
        }
    }
}

#[cold]
#[inline(never)]
fn preempts_slow(policy: &dyn Policy, came: Contender<'_>, running: Contender<'_>, queue: Queue<'_>) -> bool {
    policy.preempts(came, running, queue)
}

/// What it ran since the last look.
#[inline]
fn uncharged(curr: EntityRef, now: u64) -> u64 {
    // Clocks of different cores may differ a little.
    now.saturating_sub(curr.exec_start.get())
}

#[inline]
fn charge(curr: EntityRef, now: u64, ran: u64) {
    curr.exec_start.set(now);
    curr.sum_exec_runtime.set(curr.sum_exec_runtime.get().wrapping_add(ran));
    curr.vruntime.set(curr.rate.get().advance(curr.vruntime.get(), ran));
}
