//! The loop of a cpu's kernel thread: pick a task, switch to its stack, and see why it left.
//!
//! What a task leaves for (`Leave`) is done here, on the thread's own stack: only now is its context saved, and another cpu may
//! run it as soon as it is queued or PARKED. All moves of the run queue for one switch are made under one hold of its lock.

use super::queue::{Queue, task_of};
use super::{Cpu, count, current_task, get_cpu};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::kthread::{Kthread, kthreadd, this_kthread};
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef, Leaving};
use crate::task::overflow::{AltStack, Message};
use crate::task::stack::{StackError, StackExtent};
use crate::task::task::{Context, Joiner, Leave, Resumer, TaskRef, TaskStruct};
use corosensei::{Coroutine, CoroutineResult};
use std::fmt::Write;
use std::ptr::NonNull;

/// A kernel thread's life: runs tasks while it has a cpu, and is a spare in between. Of `spare_of` if it begins as one.
pub(crate) fn main(kthread: &Kthread, shared: &Shared, spare_of: Option<&Cpu>) {
    // Without one a stack overflow ends the process all the same, but says nothing.
    let _alternate = AltStack::install().ok();
    // From here on preemption is off, until a task runs.
    kthread.enter();
    kthreadd::prepare(kthread, shared);
    if let Some(cpu) = spare_of {
        cpu.add_spare(kthread);
    }
    while let Some(cpu) = kthread.wait_for_cpu(shared) {
        if !kthread.drive(shared, cpu) {
            break;
        }
    }
    kthreadd::finish(kthread);
    kthread.leave();
}

impl Kthread {
    /// Runs tasks as long as the thread has a cpu. False: the runtime is over.
    fn drive(&self, shared: &Shared, cpu: &Cpu) -> bool {
        let mut cpu = cpu;
        // Who gave it to this thread has picked; the tick is this thread's own.
        cpu.set_tick(self, &cpu.queue.lock_quick(), sched_clock());
        loop {
            let Some(picked) = cpu.own.next.take().or_else(|| cpu.find(shared, self)) else { return false };
            cpu.switch_to(shared, self, picked);
            // Perhaps it has another one now: the task may have been preempted meanwhile.
            cpu = match self.cpu() {
                Some(cpu) => cpu,
                None => return true,
            };
            if cpu.own.now.get() >= cpu.own.look.get() {
                cpu.look(shared);
            }
        }
    }
}

/// For the report of a stack overflow: who runs here. Called in a signal handler.
pub(crate) fn name_running_task(_: StackExtent, to: &mut Message) {
    if let Some(task) = current_task() {
        // A message that does not fit is cut.
        let _ = write!(to, "'{}' (id {})", task.name.as_deref().unwrap_or("without a name"), task.slot.id());
    }
}

impl Cpu {
    /// Runs the task that the queue picked until it leaves its stack, or hands the cpu to the kernel thread that the task is bound to.
    #[inline]
    fn switch_to(&self, shared: &Shared, kthread: &Kthread, picked: EntityRef) {
        // SAFETY: what the run queue picks is a task's entity, alive until this cpu has seen its end.
        let task: &TaskStruct = unsafe { task_of(picked) };
        if task.state.is_stopping() {
            return self.leave_stopped(shared, kthread, task);
        }
        // SAFETY: records live as long as the runtime.
        if let Some(bound) = unsafe { task.bound.load(Ordering::Acquire).as_ref() } {
            return self.give_to_bound(kthread, bound, picked);
        }
        task.state.pick();
        // SAFETY: this cpu picked the task, so its context is this cpu's.
        let context = task.context.with_mut(|context| unsafe { &mut *context });
        let context = match context {
            Some(context) => {
                // SAFETY: likewise.
                kthread.set_resumer(task.resumer.with(|resumer| unsafe { *resumer }));
                context
            }
            None => match self.first_run(task) {
                Some(made) => context.insert(made),
                None => {
                    finish(task);
                    return self.end(shared, kthread, task);
                }
            },
        };
        kthread.set_current(Some(NonNull::from(task)));
        self.need_resched.store(false, Ordering::Relaxed);
        count(&self.stats.switches, 1);
        count(&task.stats.switches, 1);
        let left = context.resume(());
        kthread.set_current(None);
        // The task came here from `get_cpu`, so the thread has a cpu.
        let Some(cpu) = kthread.cpu() else { unreachable!("a task left its stack on a thread without a cpu") };
        match left {
            CoroutineResult::Yield(Leave::Yield) => cpu.leave_to_yield(shared, kthread, task),
            CoroutineResult::Yield(Leave::Park) => cpu.leave_to_park(shared, kthread, task),
            CoroutineResult::Return(()) => cpu.end(shared, kthread, task),
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
            if let Some(kthread) = this_kthread() {
                kthread.set_resumer(Some(resumer));
                // It was off in the scheduler.
                kthread.allow();
            }
            // SAFETY: the cpu picked it, and it runs once.
            unsafe { task.run() };
            finish(task);
            // The cpu goes on with preemption off.
            std::mem::forget(get_cpu());
        }))
    }

    #[inline]
    fn leave_to_yield(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct) {
        task.state.yielded();
        let now = sched_clock();
        task.stats.ready_since.store(now, Ordering::Relaxed);
        let mut queue = self.queue.lock_quick();
        let next = queue.yield_current(shared, task, now);
        self.picked(&queue, next, now);
        self.set_tick(kthread, &queue, now);
    }

    #[inline]
    fn leave_to_park(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct) {
        count(&self.stats.parks, 1);
        let now = sched_clock();
        let mut queue = self.queue.lock_quick();
        queue.put_prev(Leaving::Blocked, now);
        if !task.state.parked() {
            // Woken before it slept. Else the task is its waker's from here on.
            task.stats.ready_since.store(now, Ordering::Relaxed);
            // SAFETY: alive, and on no queue since `put_prev`; READY without having been PARKED, so nobody else queues it.
            unsafe { queue.enqueue(shared, task, Enqueue::Wakeup, now) };
        }
        let next = queue.pick_next(now);
        self.picked(&queue, next, now);
        self.set_tick(kthread, &queue, now);
    }

    /// The task is over, and DEAD: its stack goes back, and the queues' handle goes.
    fn end(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct) {
        // SAFETY: this cpu's still; the task is not on its stack any more.
        let context = task.context.with_mut(|context| unsafe { (*context).take() });
        if let Some(context) = context {
            self.own.stacks.borrow_mut().put(context.into_stack());
        }
        let now = sched_clock();
        {
            let mut queue = self.queue.lock_quick();
            queue.put_prev(Leaving::Dead, now);
            let next = queue.pick_next(now);
            self.picked(&queue, next, now);
            self.set_tick(kthread, &queue, now);
        }
        let _ = shared;
        // SAFETY: at the task's end, once.
        drop(unsafe { TaskRef::of_the_queues(NonNull::from(task)) });
    }

    /// Writes down what follows from a pick. The lock is held.
    #[inline]
    pub(crate) fn picked(&self, queue: &Queue, next: Option<EntityRef>, now: u64) {
        self.own.now.set(now);
        self.own.next.set(next);
        self.note(queue);
        if let Some(next) = next {
            // SAFETY: as in `switch_to`.
            let stats = unsafe { &task_of(next).stats };
            count(&stats.wait, now.saturating_sub(stats.ready_since.load(Ordering::Relaxed)));
        }
    }

    /// Picks from the queue, after nothing ran here.
    pub(super) fn pick(&self, kthread: &Kthread) -> Option<EntityRef> {
        let now = sched_clock();
        let mut queue = self.queue.lock_quick();
        let next = queue.pick_next(now);
        self.picked(&queue, next, now);
        if next.is_some() {
            self.set_tick(kthread, &queue, now);
        }
        self.own.next.take()
    }

    /// A task that shall be stopped leaves the queue instead of running. It is STOPPED after that, under the lock: who resumes it queues it.
    #[cold]
    fn leave_stopped(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct) {
        let now = sched_clock();
        let mut queue = self.queue.lock_quick();
        queue.put_prev(Leaving::Blocked, now);
        if !task.state.stopped() {
            // SAFETY: alive, on no queue since `put_prev`, and READY still, so nobody else queues it.
            unsafe { queue.enqueue(shared, task, Enqueue::Wakeup, now) };
        }
        let next = queue.pick_next(now);
        self.picked(&queue, next, now);
        self.set_tick(kthread, &queue, now);
    }
}

/// The last thing a task does on its stack: from here on it is DEAD, and whoever waits for it is woken.
fn finish(task: &TaskStruct) {
    // SAFETY: a runtime lives as long as its tasks; it waits for this one to leave its stack.
    let shared = unsafe { task.shared().as_ref() };
    // SAFETY: the task's slot, from this registry, for the last time; it has no destructor.
    unsafe { shared.registry.remove(std::ptr::read(&raw const task.slot)) };
    // Before the joiner knows: who joined all tasks finds none alive.
    shared.one_less();
    let ends = {
        // With a cpu it is RUNNING: without one it may be back from the kernel, and still BLOCKED.
        let _cpu = get_cpu();
        task.state.died()
    };
    if ends.joiner {
        // SAFETY: `died` said that the cell is the end's.
        match unsafe { task.take_joiner() } {
            Some(Joiner::Parked(unparker)) => unparker.unpark(),
            Some(Joiner::Future(waker)) => waker.wake(),
            None => (),
        }
    }
    if ends.detached {
        // SAFETY: DEAD, and nobody is left who would take the result.
        unsafe { task.drop_result() };
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
