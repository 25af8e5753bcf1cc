//! Queueing a task on a cpu, and waking the cpu if it sleeps. See the module above for the protocol.

use super::queue::Queue;
use super::sleep::Roused;
use super::{Cpu, CpuGuard, count, get_cpu};
use crate::atomic::{Ordering, fence};
use crate::clock::sched_clock;
use crate::runtime::Shared;
use crate::sched::{Class, Enqueue};
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
    let guard = get_cpu();
    let here = guard.as_ref().map(|guard| guard.cpu).filter(|cpu| shared.owns(cpu));
    let home = &shared.cpus[task.cpu.load(Ordering::Relaxed) as usize];
    // A new task goes where nobody else is, at no higher price than waking that cpu so that it takes some; a woken one that may move, if it would
    // have to wait behind others.
    let idle = match here {
        Some(_) if why == Enqueue::New && shared.may_move(task) => shared.rouse_an_idle_cpu(home),
        Some(here) if shared.migrating && shared.may_move(task) && home.queued.load(Ordering::Relaxed) > 0 => {
            here.place(shared, home).filter(|cpu| cpu.sleep.rouse() == Roused::Asleep)
        }
        _ => None,
    };
    let target = idle.unwrap_or(home);
    if idle.is_some() {
        // Under the lock of the queue it was on last, as the task's handles expect.
        let _leaves = home.queue.lock();
        task.cpu.store(target.index, Ordering::Relaxed);
    }
    let now = sched_clock();
    task.stats.ready_since.store(now, Ordering::Relaxed);
    // Not the running task wakes it, but a timer or a socket.
    let by_others = guard.as_ref().is_none_or(CpuGuard::was_forbidden);
    let (preempt, at_once);
    {
        let mut queue = target.queue.lock();
        at_once = by_others || matches!(task.entity.class(), Class::Fifo(_) | Class::RoundRobin(_));
        // SAFETY: by this function's contract.
        preempt = unsafe { queue.enqueue(shared, task, why, now) };
        target.note(&queue);
        target.kick(&queue, preempt, at_once, now);
    }
    if let Some(here) = here {
        count(if why == Enqueue::New { &here.stats.spawned } else { &here.stats.wakeups }, 1);
    }
    if preempt {
        match here.filter(|here| here.index == target.index && !at_once) {
            // Who wakes somebody goes on for a while: else each message of a channel would be a switch.
            Some(here) => here.own.look.set(here.own.look.get().min(now + here.patience)),
            None => target.need_resched.store(true, Ordering::Relaxed),
        }
    }
    if idle.is_some() {
        target.reactor.notify();
    } else if here.is_none_or(|here| here.index != target.index) {
        target.wake();
    }
}

impl Cpu {
    /// Writes down what waits in the queue. The lock is held.
    #[inline]
    pub(crate) fn note(&self, queue: &Queue) {
        self.queued.store(queue.nr_queued(), Ordering::Relaxed);
        self.movable.store(queue.nr_movable(), Ordering::Relaxed);
        self.load.store(queue.load(), Ordering::Relaxed);
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
    /// A cpu that slept, and is owed a notification. None if no cpu sleeps, or one looks around already, and will see what there is.
    pub(super) fn rouse_an_idle_cpu(&self, from: &Cpu) -> Option<&Cpu> {
        let n = self.cpus.len();
        if n == 1 {
            return None;
        }
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let others = (1..n).map(|step| &self.cpus[(from.index as usize + step) % n]);
        for cpu in others {
            if cpu.sleep.is_spinning() {
                return None;
            }
            if cpu.sleep.is_asleep() && cpu.sleep.rouse_fenced() == Roused::Asleep {
                return Some(cpu);
            }
        }
        None
    }
}
