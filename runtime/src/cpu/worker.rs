//! The loop of a cpu's kernel thread: pick a task, switch to its stack, and see why it left.
//!
//! What a task leaves for (`Leave`) is done here, on the thread's own stack: only now is its context saved, and another cpu may
//! run it as soon as it is queued or PARKED. All moves of the run queue for one switch are made under one hold of its lock.

use super::queue::{Queue, task_of};
use super::{Cpu, count, current_task, set_this_cpu, this_cpu};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::pin::pin_current;
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef, Leaving};
use crate::task::overflow::{AltStack, Message};
use crate::task::stack::{StackError, StackExtent};
use crate::task::task::{Context, Joiner, Leave, Resumer, TaskRef, TaskStruct};
use corosensei::{Coroutine, CoroutineResult};
use std::fmt::Write;
use std::ptr::NonNull;

/// Runs tasks until the runtime ends.
pub(crate) fn main(cpu: &Cpu, shared: &Shared) {
    if let Some(processor) = cpu.processor {
        pin_current(processor);
    }
    // Without one a stack overflow ends the process all the same, but says nothing.
    let _alternate = AltStack::install().ok();
    set_this_cpu(Some(cpu));
    let mut next = None;
    loop {
        let picked = match next.take() {
            Some(picked) => picked,
            None => match cpu.find(shared) {
                Some(picked) => picked,
                None => break,
            },
        };
        next = cpu.switch_to(shared, picked);
        if cpu.own.now.get() >= cpu.own.look.get() {
            cpu.look(shared);
        }
    }
    set_this_cpu(None);
}

/// For the report of a stack overflow: who runs here. Called in a signal handler.
pub(crate) fn name_running_task(_: StackExtent, to: &mut Message) {
    if let Some(task) = current_task() {
        // A message that does not fit is cut.
        let _ = write!(to, "'{}' (id {})", task.name.as_deref().unwrap_or("without a name"), task.slot.id());
    }
}

impl Cpu {
    /// Runs the task that the queue picked until it leaves its stack. Returns what the queue picked next.
    fn switch_to(&self, shared: &Shared, picked: EntityRef) -> Option<EntityRef> {
        // SAFETY: what the run queue picks is a task's entity, alive until this cpu has seen its end.
        let task: &TaskStruct = unsafe { task_of(picked) };
        if task.state.is_stopping() {
            return self.leave_stopped(shared, task);
        }
        task.state.pick();
        // SAFETY: this cpu picked the task, so its context is this cpu's.
        let context = task.context.with_mut(|context| unsafe { &mut *context });
        let context = match context {
            Some(context) => {
                // SAFETY: likewise.
                self.own.resumer.set(task.resumer.with(|resumer| unsafe { *resumer }));
                context
            }
            None => match self.first_run(task) {
                Some(made) => context.insert(made),
                None => return self.end(shared, task),
            },
        };
        self.own.current.set(Some(NonNull::from(task)));
        self.need_resched.store(false, Ordering::Relaxed);
        count(&self.stats.switches, 1);
        count(&task.stats.switches, 1);
        let left = context.resume(());
        self.own.current.set(None);
        match left {
            CoroutineResult::Yield(Leave::Yield) => self.leave_to_yield(shared, task),
            CoroutineResult::Yield(Leave::Park) => self.leave_to_park(shared, task),
            CoroutineResult::Return(()) => self.end(shared, task),
        }
    }

    /// Gives a task that has not run yet its stack.
    #[inline]
    fn first_run(&self, task: &TaskStruct) -> Option<Context> {
        let stack = match self.own.stacks.borrow_mut().take(task.stack_size) {
            Ok(stack) => stack,
            Err(error) => {
                no_stack(task, &error);
                return None;
            }
        };
        let this = NonNull::from(task);
        Some(Coroutine::with_stack(stack, move |resumer: &Resumer, ()| {
            // SAFETY: the task lives until its end, which comes after this.
            let task = unsafe { this.as_ref() };
            let resumer = NonNull::from(resumer);
            // SAFETY: the running task's own.
            task.resumer.with_mut(|place| unsafe { *place = Some(resumer) });
            if let Some(cpu) = this_cpu() {
                cpu.own.resumer.set(Some(resumer));
            }
            // SAFETY: the cpu picked it, and it runs once.
            unsafe { task.run() };
        }))
    }

    #[inline]
    fn leave_to_yield(&self, shared: &Shared, task: &TaskStruct) -> Option<EntityRef> {
        task.state.yielded();
        let now = sched_clock();
        task.stats.ready_since.store(now, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        let next = queue.yield_current(shared, task, now);
        self.picked(&queue, next, now)
    }

    #[inline]
    fn leave_to_park(&self, shared: &Shared, task: &TaskStruct) -> Option<EntityRef> {
        count(&self.stats.parks, 1);
        let now = sched_clock();
        let mut queue = self.queue.lock();
        queue.put_prev(Leaving::Blocked, now);
        if !task.state.parked() {
            // Woken before it slept. Else the task is its waker's from here on.
            task.stats.ready_since.store(now, Ordering::Relaxed);
            // SAFETY: alive, and on no queue since `put_prev`; READY without having been PARKED, so nobody else queues it.
            unsafe { queue.enqueue(shared, task, Enqueue::Wakeup, now) };
        }
        let next = queue.pick_next(now);
        self.picked(&queue, next, now)
    }

    /// The task is over: its stack goes back, whoever waits for it is woken, and the queues' handle goes.
    fn end(&self, shared: &Shared, task: &TaskStruct) -> Option<EntityRef> {
        // SAFETY: this cpu's still; the task is not on its stack any more.
        let context = task.context.with_mut(|context| unsafe { (*context).take() });
        if let Some(context) = context {
            self.own.stacks.borrow_mut().put(context.into_stack());
        }
        let now = sched_clock();
        let next = {
            let mut queue = self.queue.lock();
            queue.put_prev(Leaving::Dead, now);
            let next = queue.pick_next(now);
            self.picked(&queue, next, now)
        };
        // SAFETY: the task's slot, from this registry, for the last time; it has no destructor.
        unsafe { shared.registry.remove(std::ptr::read(&raw const task.slot)) };
        // Before the joiner knows: who joined all tasks finds none alive.
        shared.one_less();
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
        next
    }

    /// Writes down what follows from a pick. The lock is held.
    #[inline]
    fn picked(&self, queue: &Queue, next: Option<EntityRef>, now: u64) -> Option<EntityRef> {
        self.own.now.set(now);
        self.note(queue);
        if let Some(next) = next {
            // SAFETY: as in `switch_to`.
            let stats = unsafe { &task_of(next).stats };
            count(&stats.wait, now.saturating_sub(stats.ready_since.load(Ordering::Relaxed)));
        }
        next
    }

    /// Picks from the queue, after nothing ran here.
    pub(super) fn pick(&self) -> Option<EntityRef> {
        let now = sched_clock();
        let mut queue = self.queue.lock();
        let next = queue.pick_next(now);
        self.picked(&queue, next, now)
    }

    /// A task that shall be stopped leaves the queue instead of running. It is STOPPED after that, under the lock: who resumes it queues it.
    #[cold]
    fn leave_stopped(&self, shared: &Shared, task: &TaskStruct) -> Option<EntityRef> {
        let now = sched_clock();
        let mut queue = self.queue.lock();
        queue.put_prev(Leaving::Blocked, now);
        if !task.state.stopped() {
            // SAFETY: alive, on no queue since `put_prev`, and READY still, so nobody else queues it.
            unsafe { queue.enqueue(shared, task, Enqueue::Wakeup, now) };
        }
        let next = queue.pick_next(now);
        self.picked(&queue, next, now)
    }
}

/// A task that gets no stack ends as if it had been cancelled, and says so.
#[cold]
#[inline(never)]
fn no_stack(task: &TaskStruct, error: &StackError) {
    let name = task.name.as_deref().unwrap_or("");
    eprintln!("fairground: task {} '{name}' is cancelled before it runs: {error}", task.slot.id());
    task.state.cancel();
    // SAFETY: picked, and it will not be run otherwise: `discard` is what `run` does with a cancelled task.
    unsafe { task.run() };
}
