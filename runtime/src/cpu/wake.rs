//! Queueing a task on a cpu, and waking the cpu if it sleeps. See the module above for the protocol.

use super::queue::Queue;
use super::sleep::Roused;
use super::{Cpu, count, this_cpu};
use crate::atomic::{Ordering, fence};
use crate::clock::sched_clock;
use crate::runtime::Shared;
use crate::sched::Enqueue;
use crate::task::task::TaskStruct;

impl TaskStruct {
    /// Ends the task's park, or the next one.
    #[inline]
    pub(crate) fn unpark(&self) {
        if self.state.wake() {
            // SAFETY: PARKED became READY here, so this is the one that queues it.
            unsafe { enqueue(self, Enqueue::Wakeup) };
        }
    }

    /// Ends a stop.
    pub(crate) fn resume(&self) {
        if self.state.resume() {
            // SAFETY: STOPPED became READY here.
            unsafe { enqueue(self, Enqueue::Wakeup) };
        }
    }
}

/// Queues a READY or NEW task on the cpu it belongs to.
///
/// # Safety
/// The task is on no queue, and the caller alone may queue it. It may have run and died when this returns.
pub(crate) unsafe fn enqueue(task: &TaskStruct, why: Enqueue) {
    // SAFETY: the runtime lives as long as a task of it, and as the cpus that run here.
    let shared = unsafe { task.shared.as_ref() };
    let here = this_cpu().filter(|cpu| shared.owns(cpu));
    let target = &shared.cpus[task.cpu.load(Ordering::Relaxed) as usize];
    let now = sched_clock();
    task.stats.ready_since.store(now, Ordering::Relaxed);
    let preempt;
    let movable;
    {
        let mut queue = target.queue.lock();
        // SAFETY: by this function's contract.
        preempt = unsafe { queue.enqueue(shared, task, why, now) };
        target.note(&queue);
        movable = queue.nr_movable();
    }
    if let Some(here) = here {
        count(if why == Enqueue::New { &here.stats.spawned } else { &here.stats.wakeups }, 1);
    }
    if preempt {
        target.need_resched.store(true, Ordering::Relaxed);
    }
    if here.is_some_and(|here| here.index == target.index) {
        // The running task goes on for a while: what waits behind it may be run by a cpu that has nothing to do.
        if movable != 0 && shared.cpus.len() > 1 {
            shared.wake_an_idle_cpu(target.index);
        }
    } else {
        target.wake();
    }
}

impl Cpu {
    /// Writes down what waits in the queue. The lock is held.
    #[inline]
    pub(crate) fn note(&self, queue: &Queue) {
        self.queued.store(queue.nr_queued(), Ordering::Relaxed);
        self.movable.store(queue.nr_movable(), Ordering::Relaxed);
        // What is due already stays due until `unthrottle` has seen to it.
        let (was, next) = (self.refill_due.load(Ordering::Relaxed), queue.next_refill());
        if was == u64::MAX || next == u64::MAX {
            self.refill_due.store(next, Ordering::Relaxed);
        }
    }

    /// After something was queued or told: the cpu looks at it.
    pub(crate) fn wake(&self) {
        if self.sleep.rouse() == Roused::Asleep {
            self.reactor.notify();
        }
    }
}

impl Shared {
    /// Wakes one cpu that sleeps, so that it takes some of what waits. One that looks around already will see it.
    fn wake_an_idle_cpu(&self, from: u32) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let n = self.cpus.len();
        for step in 1..n {
            let cpu = &self.cpus[(from as usize + step) % n];
            if cpu.sleep.is_spinning() {
                return;
            }
            if cpu.sleep.is_asleep() && cpu.sleep.rouse_fenced() == Roused::Asleep {
                return cpu.reactor.notify();
            }
        }
    }
}
