//! Leaving the stack: what a task itself does to yield and to wait.
//!
//! After `suspend` the task may be on another cpu (in the migrating mode), so nothing of this cpu is kept over it.

use super::{Cpu, CpuGuard, current_task, get_cpu};
use crate::atomic::Ordering;
use crate::clock::{monotonic, sched_clock};
use crate::kthread::hand_over::put_cpu;
use crate::kthread::stay::stay;
use crate::kthread::{Kthread, this_kthread};
use crate::task::task::{Leave, Resumer, TaskStruct};
use std::ptr::NonNull;
use std::time::Instant;

/// Switches to the cpu's own stack.
///
/// # Safety
/// On a task's stack, of which this is the resumer.
#[inline]
unsafe fn suspend(task: &TaskStruct, resumer: NonNull<Resumer>, why: Leave) {
    task.unwinds.set(std::thread::panicking());
    // SAFETY: by this function's contract it lies on this very stack.
    unsafe { resumer.as_ref() }.suspend(why);
}

/// Leaves the cpu to others. Afterwards the task may be on another kernel thread, where preemption is on.
#[inline]
fn leave(guard: CpuGuard<'_>, task: &TaskStruct, why: Leave) {
    if guard.preempts && (task.own_thread || std::thread::panicking()) {
        return stay(guard, task, why);
    }
    let Some(resumer) = guard.kthread.resumer() else { return };
    // Preemption stays off until the task is back.
    std::mem::forget(guard);
    // SAFETY: set while a task is on its stack, to that stack's.
    unsafe { suspend(task, resumer, why) };
    put_cpu();
}

/// False in plain threads, where nothing happens.
#[inline]
pub(crate) fn yield_now() -> bool {
    // Not on the cpu's own stack either, where no task is current.
    let (Some(task), Some(cpu)) = (current_task(), get_cpu()) else { return false };
    leave(cpu, task, Leave::Yield);
    end_if_cancelled();
    true
}

/// Calls of [`checkpoint`] between looks at the clock: a call takes some 50 ns, so a slice ends a few microseconds late.
const CALLS: u32 = 64;

/// Lets others run if the running task's time is over. Part of every operation that could go on for ever without waiting.
#[inline]
pub(crate) fn checkpoint() {
    let Some(kthread) = this_kthread() else { return };
    // A hint: the cpu may be another's.
    if kthread.counts_down(CALLS) || kthread.cpu().is_some_and(|cpu| cpu.need_resched.load(Ordering::Relaxed)) {
        look_at_the_clock();
    }
}

#[cold]
#[inline(never)]
fn look_at_the_clock() {
    // Not on the cpu's own stack.
    if current_task().is_none() || crate::preempt::is_disabled() {
        return;
    }
    let Some(cpu) = get_cpu() else { return };
    let over = cpu.need_resched.load(Ordering::Relaxed) || {
        let now = sched_clock();
        // Timers and sockets have a right to be looked at too.
        now >= cpu.own.look.get() || (cpu.queued.load(Ordering::Relaxed) != 0 && cpu.queue.lock_quick().tick(now))
    };
    drop(cpu);
    if over {
        yield_now();
    }
}

/// Times that a task lets others of its cpu run before it waits: one of them is who ends the wait, perhaps.
const TURNS: u32 = 4;

/// Nanoseconds for which a task looks whether its wait is over while other cpus run: what waking it from there would cost.
const LINGER_NS: u64 = 5_000;

/// See `park::linger`.
pub(crate) fn linger(over: impl Fn() -> bool) -> bool {
    let Some(task) = current_task() else { return look(over, || ()) };
    // SAFETY: a runtime lives as long as its tasks.
    let shared = unsafe { task.shared().as_ref() };
    // Hints, both: the cpu may be another's.
    let others = || this_kthread().and_then(Kthread::cpu).is_some_and(|cpu| cpu.queued.load(Ordering::Relaxed) != 0);
    for _ in 0..TURNS {
        if !others() {
            break;
        }
        yield_now();
        if over() {
            return true;
        }
    }
    let somebody_runs = shared.sleepers.load(Ordering::Relaxed) + 1 < shared.cpus.len();
    let meanwhile = || {
        if others() {
            yield_now();
        }
    };
    somebody_runs && look(over, meanwhile)
}

fn look(over: impl Fn() -> bool, meanwhile: impl Fn()) -> bool {
    let until = sched_clock() + LINGER_NS;
    while sched_clock() < until {
        meanwhile();
        for _ in 0..8 {
            std::hint::spin_loop();
        }
        if over() {
            return true;
        }
    }
    false
}

/// Waits for a wake-up or the deadline. Called on a task's stack.
pub(crate) fn park(deadline: Option<Instant>) {
    let Some(task) = current_task() else { return };
    task.end_if_cancelled();
    if task.state.take_token() {
        return;
    }
    let Some(deadline) = deadline else {
        if let Some(cpu) = get_cpu() {
            leave(cpu, task, Leave::Park);
        }
        return end_if_cancelled();
    };
    let now = Instant::now();
    let Some(left) = deadline.checked_duration_since(now) else { return };
    // Times beyond 584 years are as good as that.
    let deadline = monotonic().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    let Some(guard) = get_cpu() else { return };
    let cpu = guard.cpu;
    cpu.arm(task, deadline);
    leave(guard, task, Leave::Park);
    // `task` is this task still, wherever it is now; the timer is in the tree of the cpu that armed it.
    cpu.disarm(task);
    task.end_if_cancelled();
}

#[inline]
fn end_if_cancelled() {
    if let Some(task) = current_task() {
        task.end_if_cancelled();
    }
}

impl Cpu {
    /// By the owner.
    fn arm(&self, task: &TaskStruct, deadline: u64) {
        let mut timers = self.timers.lock_quick();
        // SAFETY: the running task's, so not linked; `park` takes it out before it goes on.
        unsafe { timers.insert(task, deadline) };
        if deadline < self.timer_due.load(Ordering::Relaxed) {
            self.timer_due.store(deadline, Ordering::Relaxed);
            let wake_at = sched_clock().saturating_add(deadline.saturating_sub(monotonic()));
            self.wake_at.store(wake_at, Ordering::Relaxed);
            self.own.look.set(self.own.look.get().min(wake_at));
        }
    }

    fn disarm(&self, task: &TaskStruct) {
        // SAFETY: if it is linked, then into this tree: `arm` did it.
        unsafe { self.timers.lock().remove(&task.timer) };
    }
}
