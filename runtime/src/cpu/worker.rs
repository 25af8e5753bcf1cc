//! The loop of a cpu's kernel thread: pick a task, switch to its stack, and see why it left.
//!
//! What a task leaves for (`Leave`) is done here, on the thread's own stack: only now is its context saved, and another cpu may
//! run it as soon as it is queued or PARKED. All moves of the run queue for one switch are made under one hold of its lock.

use super::{Cpu, count, set_this_cpu};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef, Leaving};
use crate::task::task::{Context, Joiner, Leave, TaskRef, TaskStruct};
use corosensei::CoroutineResult;
use polling::Events;
use std::ptr::NonNull;

/// Runs tasks until the runtime ends.
pub(crate) fn main(cpu: &Cpu, shared: &Shared) {
    set_this_cpu(Some(cpu));
    let mut events = Events::new();
    let mut next = None;
    loop {
        let picked = match next.take() {
            Some(picked) => picked,
            None => match cpu.find(shared, &mut events) {
                Some(picked) => picked,
                None => break,
            },
        };
        next = cpu.switch_to(picked);
        if sched_clock() >= cpu.own.look.get() {
            cpu.look(shared, &mut events);
        }
    }
    set_this_cpu(None);
}

/// The task an entity is part of.
///
/// # Safety
/// The entity is a task's, and the task is alive.
pub(crate) unsafe fn task_of<'a>(entity: EntityRef) -> &'a TaskStruct {
    // SAFETY: the entity is a task's first field.
    unsafe { entity.as_ptr().cast::<TaskStruct>().as_ref() }
}

impl Cpu {
    /// Runs the task that the queue picked until it leaves its stack. Returns what the queue picked next.
    fn switch_to(&self, picked: EntityRef) -> Option<EntityRef> {
        // SAFETY: what the run queue picks is a task's entity, alive until this cpu has seen its end.
        let task: &TaskStruct = unsafe { task_of(picked) };
        if !task.state.pick() {
            return self.leave_stopped();
        }
        // SAFETY: this cpu picked the task, so its context is this cpu's.
        let context = task.context.with_mut(|context| unsafe { &mut *context });
        let context = match context {
            Some(context) => {
                self.own.resumer.set(task.resumer.with(|resumer| unsafe { *resumer }));
                context
            }
            None => match self.first_run(task) {
                Some(made) => context.insert(made),
                None => return self.end(task),
            },
        };
        self.own.current.set(Some(NonNull::from(task)));
        self.need_resched.store(false, Ordering::Relaxed);
        count(&self.stats.switches, 1);
        count(&task.stats.switches, 1);
        let left = context.resume(());
        self.own.current.set(None);
        match left {
            CoroutineResult::Yield(Leave::Yield) => self.leave_to_yield(task),
            CoroutineResult::Yield(Leave::Park) => self.leave_to_park(task),
            CoroutineResult::Return(()) => self.end(task),
        }
    }

    #[inline]
    fn leave_to_yield(&self, task: &TaskStruct) -> Option<EntityRef> {
        task.state.yielded();
        let now = sched_clock();
        task.stats.ready_since.store(now, Ordering::Relaxed);
        let mut rq = self.rq.lock();
        let next = rq.yield_current(now);
        self.picked(&rq, next, now)
    }

    #[inline]
    fn leave_to_park(&self, task: &TaskStruct) -> Option<EntityRef> {
        count(&self.stats.parks, 1);
        let now = sched_clock();
        let mut rq = self.rq.lock();
        rq.put_prev(Leaving::Blocked, now);
        if !task.state.parked() {
            // Woken before it slept. Else the task is its waker's from here on.
            task.stats.ready_since.store(now, Ordering::Relaxed);
            // SAFETY: alive, and on no queue since `put_prev`; READY without having been PARKED, so nobody else queues it.
            rq.enqueue(unsafe { EntityRef::new(&task.entity) }, Enqueue::Wakeup, now);
        }
        let next = rq.pick_next(now);
        self.picked(&rq, next, now)
    }

    /// The task is over: its stack goes back, whoever waits for it is woken, and the queues' handle goes.
    fn end(&self, task: &TaskStruct) -> Option<EntityRef> {
        // SAFETY: this cpu's still; the task is not on its stack any more.
        let context = task.context.with_mut(|context| unsafe { (*context).take() });
        if let Some(context) = context {
            self.own.stacks.borrow_mut().put(context.into_stack());
        }
        let now = sched_clock();
        let next = {
            let mut rq = self.rq.lock();
            rq.put_prev(Leaving::Dead, now);
            let next = rq.pick_next(now);
            self.picked(&rq, next, now)
        };
        // SAFETY: the runtime lives as long as one of its cpus runs.
        let shared = unsafe { task.shared.as_ref() };
        shared.registry.remove(task.id);
        // SAFETY: at the task's end, once.
        let task = unsafe { TaskRef::of_the_queues(NonNull::from(task)) };
        if task.state.died() {
            // SAFETY: `died` said that the cell is the end's.
            match unsafe { task.take_joiner() } {
                Some(Joiner::Parked(unparker)) => unparker.unpark(),
                Some(Joiner::Future(waker)) => waker.wake(),
                None => (),
            }
        }
        drop(task);
        shared.one_less();
        next
    }

    /// Writes down what follows from a pick. The lock is held.
    #[inline]
    fn picked(&self, rq: &RunQueue, next: Option<EntityRef>, now: u64) -> Option<EntityRef> {
        self.note_queued(rq);
        if let Some(next) = next {
            self.own.slice_end.set(rq.slice_end());
            // SAFETY: as in `switch_to`.
            let stats = unsafe { &task_of(next).stats };
            count(&stats.wait, now.saturating_sub(stats.ready_since.load(Ordering::Relaxed)));
        }
        next
    }

    /// Picks from the queue, after nothing ran here.
    pub(super) fn pick(&self) -> Option<EntityRef> {
        let now = sched_clock();
        let mut rq = self.rq.lock();
        let next = rq.pick_next(now);
        self.picked(&rq, next, now)
    }

    /// A task that was stopped before it ran leaves the queue; it is its waker's then.
    fn leave_stopped(&self) -> Option<EntityRef> {
        let now = sched_clock();
        let mut rq = self.rq.lock();
        rq.put_prev(Leaving::Blocked, now);
        let next = rq.pick_next(now);
        self.picked(&rq, next, now)
    }
}
