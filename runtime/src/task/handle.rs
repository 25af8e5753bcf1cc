//! A task from outside: to name it, to look at it, to steer it.

use super::id::TaskId;
use super::state::Phase;
use super::task::{TaskRef, TaskStruct};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::cpu::Cpu;
use crate::cpu::queue::Queue;
use crate::runtime;
use crate::sched::{Class, Nice};
use std::fmt;
use std::time::Duration;

/// A handle to a task, as [`std::thread::Thread`] is one to a thread. Clones are the same task.
#[derive(Clone)]
pub struct Task(TaskRef);

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// It has not run yet.
    New,
    /// It waits for its turn.
    Ready,
    /// It runs.
    Running,
    /// It waits for somebody: interruptible, in the kernel's words.
    Parked,
    /// Somebody stopped it: it does not run before [`Task::resume`].
    Stopped,
    /// Its kernel thread is blocked in the kernel, and others use its cpu meanwhile: uninterruptible, in the kernel's words.
    Blocked,
    /// It has ended.
    Dead,
}

impl Task {
    pub(crate) fn new(task: TaskRef) -> Task {
        Task(task)
    }

    pub(crate) fn task(&self) -> &TaskStruct {
        &self.0
    }

    /// The task that runs here; None in plain threads.
    pub fn current() -> Option<Task> {
        crate::cpu::current().map(Task)
    }

    /// Its id, which no other task ever has.
    pub fn id(&self) -> TaskId {
        self.0.slot.id()
    }

    /// Its name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Who spawned it; None if a plain thread did.
    pub fn parent(&self) -> Option<TaskId> {
        self.0.parent
    }

    /// The tasks it spawned that have not ended, by id. Looks at all tasks of the runtime: parents do not keep lists, which every spawn would
    /// pay for.
    pub fn children(&self) -> Vec<Task> {
        let Some(shared) = runtime::find(self.0.shared) else { return Vec::new() };
        shared.tasks().filter(|task| task.parent == Some(self.id())).map(Task).collect()
    }

    /// What it is doing. It may do something else by the time one looks at the answer.
    pub fn state(&self) -> TaskState {
        match self.0.state.phase() {
            Phase::New => TaskState::New,
            Phase::Ready => TaskState::Ready,
            Phase::Running => TaskState::Running,
            Phase::Parked => TaskState::Parked,
            Phase::Stopped => TaskState::Stopped,
            Phase::Dead => TaskState::Dead,
            Phase::Blocked => TaskState::Blocked,
        }
    }

    /// Ends its [`park`], or the next one.
    pub fn unpark(&self) {
        self.0.unpark();
    }

    /// Ends the task at its next suspension point (yield, lock, receive, sleep, sockets ...), where its stack unwinds and all that is on it is
    /// dropped. A task that has not started ends without running. A task that never comes to a suspension point does not end.
    ///
    /// In programs built with `panic = "abort"` nothing can unwind: cancelling a task that has started ends the process.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// The task does not run again before [`resume`](Task::resume); if it runs now, from its next suspension point on.
    pub fn stop(&self) {
        self.0.state.stop();
    }

    /// Ends a [`stop`](Task::stop).
    pub fn resume(&self) {
        self.0.resume();
    }

    /// How it is scheduled.
    pub fn class(&self) -> Class {
        self.with_its_queue(|task, _| task.entity.class())
    }

    /// Changes how it is scheduled, from now on. What has ended stays as it is.
    pub fn set_class(&self, class: Class) {
        self.with_its_queue(|task, queue| {
            let Some((cpu, queue)) = queue else { return };
            // SAFETY: the queue the task is on, or was on last.
            if unsafe { queue.set_class(task, class, sched_clock()) } {
                cpu.need_resched.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Changes its share against other fair tasks. A task of another class becomes a fair one.
    pub fn set_nice(&self, nice: Nice) {
        self.set_class(Class::Fair(nice));
    }

    /// How long it ran, up to now.
    pub fn run_time(&self) -> Duration {
        let ran = self.with_its_queue(|task, queue| {
            if let Some((_, queue)) = queue {
                queue.update(sched_clock());
            }
            task.entity.sum_exec_runtime()
        });
        Duration::from_nanos(ran)
    }

    /// Calls `f` with the task's entity locked, and the queue if the task's runtime still is.
    fn with_its_queue<R>(&self, f: impl FnOnce(&TaskStruct, Option<(&Cpu, &mut Queue)>) -> R) -> R {
        let task = &*self.0;
        // Without a runtime there are no cpus left that could change anything.
        let Some(shared) = runtime::find(task.shared) else { return f(task, None) };
        loop {
            let index = task.cpu.load(Ordering::Relaxed);
            // A task that ended before another runtime came to the same address may have had more cpus.
            let Some(cpu) = shared.cpus.get(index as usize) else { return f(task, None) };
            let mut queue = cpu.queue.lock();
            // It moves under the lock of the queue that it leaves.
            if task.cpu.load(Ordering::Relaxed) == index {
                let queue = (!task.state.is_dead()).then_some((cpu, &mut *queue));
                return f(task, queue);
            }
        }
    }

    /// How often it was given a cpu.
    pub fn switches(&self) -> u64 {
        self.0.stats.switches.load(Ordering::Relaxed)
    }

    /// How often it moved to another cpu.
    pub fn migrations(&self) -> u64 {
        self.0.stats.migrations.load(Ordering::Relaxed)
    }

    /// How often it was preempted: it did not give way by itself.
    pub fn preemptions(&self) -> u64 {
        self.0.stats.preemptions.load(Ordering::Relaxed)
    }

    /// How long it was ready to run and did not.
    pub fn wait_time(&self) -> Duration {
        Duration::from_nanos(self.0.stats.wait.load(Ordering::Relaxed))
    }
}

/// Waits for [`Task::unpark`], as [`std::thread::park`] does: one that came before is kept, and it may return for no reason. In a plain thread
/// that is what it is.
///
/// # Examples
/// ```
/// use fairground_runtime::{spawn, task};
///
/// let waits = spawn(|| task::park());
/// waits.task().unpark();
/// waits.join().unwrap();
/// ```
pub fn park() {
    crate::park::park(None);
}

/// As [`park`], for a time at most.
pub fn park_timeout(timeout: Duration) {
    crate::park::park(crate::park::deadline_after(timeout));
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Task");
        all.field("id", &self.id().get()).field("name", &self.name()).field("state", &self.state()).finish()
    }
}
