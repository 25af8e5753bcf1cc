//! A task that yields or waits without leaving its kernel thread: because it unwinds, and that a panic is on its way is known to the thread, or because it has
//! a thread of its own for life. The cpu goes on to another thread, as when the task is preempted.

use super::Kthread;
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::cpu::queue::Queue;
use crate::cpu::{Cpu, CpuGuard, count};
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef, Leaving};
use crate::spin::SpinGuard;
use crate::task::task::{Leave, TaskStruct};
use std::mem::forget;
use std::ptr::NonNull;

/// Nanoseconds that a thread waits for others to become free, if there is none to give its cpu to.
const PAUSE_NS: libc::c_long = 200_000;

/// Returns when it is the task's turn again.
pub(crate) fn stay(guard: CpuGuard<'_>, task: &TaskStruct, why: Leave) {
    let (cpu, kthread) = (guard.cpu, guard.kthread);
    // Preemption stays off.
    forget(guard);
    // SAFETY: a runtime lives as long as its tasks.
    cpu.goes_on_without(unsafe { task.shared().as_ref() }, kthread, task, why);
    kthread.allow();
}

impl Cpu {
    fn goes_on_without(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct, why: Leave) {
        let now = sched_clock();
        task.stats.ready_since.store(now, Ordering::Relaxed);
        let mut queue = self.queue.lock_quick();
        task.bound.store(NonNull::from(kthread).as_ptr(), Ordering::Release);
        let next = match why {
            Leave::Yield => {
                task.state.preempted();
                queue.preempt(shared, &self.spares, task, now)
            }
            Leave::Park => {
                count(&self.stats.parks, 1);
                queue.put_prev(Leaving::Blocked, now);
                if !task.state.parked() {
                    // SAFETY: alive, on no queue, and READY without having been PARKED: nobody else queues it.
                    unsafe { queue.enqueue(shared, task, Enqueue::Wakeup, now) };
                }
                queue.pick_beside(&self.spares, now)
            }
        };
        self.give_way(queue, shared, kthread, task, next);
    }

    /// The task has been queued or parked, bound to its kernel thread, and `next` is what `Queue::pick_beside` said. Returns when it is the task's turn again:
    /// false if that was at once.
    pub(super) fn give_way<'a>(
        &'a self,
        queue: SpinGuard<'a, Queue>,
        shared: &Shared,
        kthread: &Kthread,
        task: &TaskStruct,
        next: (Option<EntityRef>, Option<&Kthread>),
    ) -> bool {
        let (queue, next, to) = match next {
            (next, Some(to)) => {
                self.picked(&queue, next, sched_clock());
                (queue, next, to)
            }
            (_, None) => self.wait_for_thread(queue, shared),
        };
        if std::ptr::eq(to, kthread) {
            drop(queue);
            kthread.runs_again(self, task);
            return false;
        }
        self.give_away(queue, kthread, to, next);
        shared.kthreads.spare_used(self);
        self.watch.starts();
        if let Some(cpu) = kthread.wait_for_cpu(shared) {
            kthread.runs_again(cpu, task);
        }
        true
    }
}

impl Cpu {
    /// What runs next, and on which thread, for an owner whose thread has a task that is not this cpu's to run now.
    pub(super) fn choose<'a, 'k>(
        &'a self,
        mut queue: SpinGuard<'a, Queue>,
        shared: &Shared,
    ) -> (SpinGuard<'a, Queue>, Option<EntityRef>, &'k Kthread) {
        match queue.pick_beside(&self.spares, sched_clock()) {
            (next, Some(to)) => {
                self.picked(&queue, next, sched_clock());
                (queue, next, to)
            }
            (_, None) => self.wait_for_thread(queue, shared),
        }
    }

    /// At the limit of threads the cpu waits: for a task that has a thread, or for a thread that becomes free.
    #[cold]
    fn wait_for_thread<'a, 'k>(
        &'a self,
        mut queue: SpinGuard<'a, Queue>,
        shared: &Shared,
    ) -> (SpinGuard<'a, Queue>, Option<EntityRef>, &'k Kthread) {
        loop {
            self.picked(&queue, None, sched_clock());
            drop(queue);
            pause();
            self.look(shared);
            queue = self.queue.lock_quick();
            if let (next, Some(to)) = queue.pick_beside(&self.spares, sched_clock()) {
                self.picked(&queue, next, sched_clock());
                return (queue, next, to);
            }
        }
    }
}

fn pause() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: PAUSE_NS };
    // SAFETY: a time that is read. An interruption makes it shorter.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}
