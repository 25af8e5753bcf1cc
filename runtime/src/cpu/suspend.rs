//! Leaving the stack: what a task itself does to yield and to wait.
//!
//! After `suspend` the task may be on another cpu (in the migrating mode), so nothing of this cpu is kept over it.

use super::{Cpu, current_task, this_cpu};
use crate::atomic::Ordering;
use crate::clock::{monotonic, sched_clock};
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

/// False in plain threads, where nothing happens.
#[inline]
pub(crate) fn yield_now() -> bool {
    // Not on the cpu's own stack either, where no task is current.
    let (Some(cpu), Some(task)) = (this_cpu(), current_task()) else { return false };
    let Some(resumer) = cpu.own.resumer.get() else { return false };
    // SAFETY: set while a task is on its stack, to that stack's.
    unsafe { suspend(task, resumer, Leave::Yield) };
    end_if_cancelled();
    true
}

/// Calls of [`checkpoint`] between looks at the clock: a call takes some 50 ns, so a slice ends a few microseconds late.
const CALLS: u32 = 64;

/// Lets others run if the running task's time is over. Part of every operation that could go on for ever without waiting.
#[inline]
pub(crate) fn checkpoint() {
    let Some(cpu) = this_cpu() else { return };
    let calls = cpu.own.calls.get().wrapping_sub(1);
    cpu.own.calls.set(calls);
    if calls == 0 || cpu.need_resched.load(Ordering::Relaxed) {
        look_at_the_clock(cpu);
    }
}

#[cold]
#[inline(never)]
fn look_at_the_clock(cpu: &Cpu) {
    cpu.own.calls.set(CALLS);
    let over = cpu.need_resched.load(Ordering::Relaxed) || {
        let now = sched_clock();
        // Timers and sockets have a right to be looked at too.
        now >= cpu.own.look.get() || (cpu.queued.load(Ordering::Relaxed) != 0 && cpu.queue.lock().tick(now))
    };
    if over && !crate::preempt::is_disabled() {
        yield_now();
    }
}

/// Waits for a wake-up or the deadline. Called on a task's stack.
pub(crate) fn park(deadline: Option<Instant>) {
    let (Some(cpu), Some(task)) = (this_cpu(), current_task()) else { return };
    task.end_if_cancelled();
    if task.state.take_token() {
        return;
    }
    let Some(resumer) = cpu.own.resumer.get() else { return };
    let Some(deadline) = deadline else {
        // SAFETY: as above.
        unsafe { suspend(task, resumer, Leave::Park) };
        return end_if_cancelled();
    };
    let now = Instant::now();
    let Some(left) = deadline.checked_duration_since(now) else { return };
    // Times beyond 584 years are as good as that.
    let deadline = monotonic().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    cpu.arm(task, deadline);
    // SAFETY: as above.
    unsafe { suspend(task, resumer, Leave::Park) };
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
    fn arm(&self, task: &TaskStruct, deadline: u64) {
        let mut timers = self.timers.lock();
        // SAFETY: the running task's, so not linked; `park` takes it out before it goes on.
        unsafe { timers.insert(task, deadline) };
        if deadline < self.timer_due.load(Ordering::Relaxed) {
            self.timer_due.store(deadline, Ordering::Relaxed);
            let look = sched_clock().saturating_add(deadline.saturating_sub(monotonic()));
            self.own.look.set(self.own.look.get().min(look));
        }
    }

    fn disarm(&self, task: &TaskStruct) {
        // SAFETY: if it is linked, then into this tree: `arm` did it.
        unsafe { self.timers.lock().remove(&task.timer) };
    }
}
