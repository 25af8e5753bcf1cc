//! A cpu whose owner is blocked in the kernel is taken from it, without a signal and without asking: the call is not interrupted. When the thread comes back
//! from the kernel its task goes on as if nothing had happened, until it enters the runtime or uses CPU time at one of the kernel's ticks. There it finds out,
//! queues its task, bound to the thread, and waits for a cpu.
//!
//! Who takes the cpu, the *rescuer*, is a spare thread that the watcher wakes; if there is none, a thread whose task is ready and bound to it: so the holder
//! of a lock for which everybody else waits gets a cpu even at the limit of threads.

use super::Kthread;
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::cpu::queue::Queue;
use crate::cpu::wake::enqueue;
use crate::cpu::{Cpu, count};
use crate::runtime::Shared;
use crate::sched::{Enqueue, Leaving};
use crate::spin::SpinGuard;
use crate::task::task::TaskStruct;
use std::ptr::NonNull;

impl Kthread {
    /// Nanoseconds of CPU time that the thread has used; the same twice: it did not run in between. None: it is no thread any more.
    pub(super) fn cpu_time(&self) -> Option<u64> {
        let tid = self.tid.load(Ordering::Relaxed);
        // How the kernel numbers the clocks of threads (include/linux/posix-timers_types.h): CPUCLOCK_PERTHREAD_MASK and CPUCLOCK_SCHED.
        let clock = (!tid << 3) | 4 | 2;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one timespec.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return None;
        }
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Woken without a cpu: takes one that the watcher found to have a blocked owner, if it is so still. Its queue is locked.
    pub(super) fn rescue<'a>(&self, shared: &'a Shared) -> Option<(&'a Cpu, SpinGuard<'a, Queue>)> {
        // Who has a task helps only the cpu in whose queue that is: so there is something to run, on a thread that there is.
        // SAFETY: the task that this thread is on.
        let own = self.current().map(|task| unsafe { task.as_ref() }.cpu.load(Ordering::Relaxed));
        let reported =
            shared.cpus.iter().filter(|cpu| cpu.watch.is_reported() && own.is_none_or(|own| own == cpu.index));
        reported.filter_map(|cpu| self.takes(cpu).map(|queue| (cpu, queue))).next()
    }

    fn takes<'a>(&self, cpu: &'a Cpu) -> Option<SpinGuard<'a, Queue>> {
        let mut queue = cpu.queue.lock_quick();
        // A spare of this cpu; or nobody's, as its task is bound to it, and in this queue.
        let is_spare = self.current().is_none();
        // SAFETY: the task that this thread is on. Whoever moves it has the lock of the queue that it leaves.
        let is_here = |task: NonNull<TaskStruct>| unsafe { task.as_ref() }.cpu.load(Ordering::Relaxed) == cpu.index;
        let may = if is_spare { cpu.spares.remove(&queue, self) } else { self.current().is_some_and(is_here) };
        if !may {
            return None;
        }
        if !cpu.watch.take_report() {
            if is_spare {
                cpu.spares.push(&queue, self);
            }
            return None;
        }
        // Between that and the lock it may have been given another one.
        let owner = cpu.owner.get().filter(|_| self.given.load(Ordering::Acquire).is_null());
        let taken = owner.and_then(|owner| {
            // SAFETY: records live as long as the runtime.
            let blocked = unsafe { owner.as_ref() };
            let is_blocked = || !blocked.is_forbidden() && blocked.cpu_time() == Some(cpu.watch.seen());
            cpu.owner.take_from(owner, is_blocked).then_some(blocked)
        });
        let Some(blocked) = taken else {
            if is_spare {
                cpu.spares.push(&queue, self);
            }
            return None;
        };
        blocked.tick.stop();
        if let Some(task) = blocked.current() {
            // SAFETY: on its stack, so alive; it is the thread's, which finds its cpu gone before it does anything in the runtime.
            let task: &TaskStruct = unsafe { task.as_ref() };
            task.state.blocked();
        }
        count(&cpu.stats.blocked, 1);
        queue.put_prev(Leaving::Blocked, sched_clock());
        blocked.tick.when_it_runs_again();
        cpu.owner.set(self);
        cpu.own.next.set(None);
        cpu.note(&queue);
        Some(queue)
    }

    /// The thread of a task that was blocked finds that its cpu was taken: the task waits for one. Preemption is off.
    #[cold]
    #[inline(never)]
    pub(super) fn comes_back<'a>(&self) -> Option<&'a Cpu> {
        let (cpu, task) = (self.cpu()?, self.current()?);
        {
            // A rescuer at work decides first.
            let _queue = cpu.queue.lock_quick();
            if cpu.owner.is(self) {
                return Some(cpu);
            }
        }
        // SAFETY: the task that this thread is on.
        let task: &TaskStruct = unsafe { task.as_ref() };
        // SAFETY: a runtime lives as long as its tasks.
        let shared: &Shared = unsafe { task.shared().as_ref() };
        self.own.cpu.set(None);
        self.tick.runs();
        task.bound.store(NonNull::from(self).as_ptr(), Ordering::Release);
        task.state.unblocked();
        // SAFETY: BLOCKED became READY here, and it left the queue when its cpu was taken.
        unsafe { enqueue(task, Enqueue::Wakeup) };
        let cpu = self.wait_for_cpu(shared)?;
        self.runs_again(cpu, task);
        Some(cpu)
    }
}
