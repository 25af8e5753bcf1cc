//! What the tick's signal does: it looks at timers, sockets and the queue, and preempts the task that runs here if it is another's turn.
//!
//! The handler runs on the thread's alternate stack and sleeps there until its task is picked again. It makes raw system calls only, takes no lock that
//! is held with preemption on, allocates nothing from the program's allocator, and leaves errno as it was.

use super::tick::RETRY_NS;
use super::{Kthread, this_kthread};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::cpu::queue::Queue;
use crate::cpu::{Cpu, count};
use crate::error::BuildError;
use crate::runtime::Shared;
use crate::spin::SpinGuard;
use crate::task::task::TaskStruct;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// Installs the handler; again and again does no harm.
///
/// # Errors
/// The program handles this signal itself.
pub(crate) fn install(signal: c_int) -> Result<(), BuildError> {
    let mut before: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();
    // SAFETY: asks only.
    if unsafe { libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr()) } != 0 {
        return Err(BuildError::System(io::Error::last_os_error()));
    }
    // SAFETY: written by the call.
    let before = unsafe { before.assume_init() };
    let ours = on_signal as *const () as usize;
    if before.sa_sigaction == ours {
        return Ok(());
    }
    if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
        return Err(BuildError::SignalInUse { signal });
    }
    // SAFETY: zeroes are a valid sigaction, with an empty mask: other signals of the program are handled while a task is preempted, too.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = ours;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler keeps to what signal handlers may do.
    if unsafe { libc::sigaction(signal, &raw const action, null_mut()) } != 0 {
        return Err(BuildError::System(io::Error::last_os_error()));
    }
    Ok(())
}

/// The calling thread gets the signal, whatever its maker's mask was.
pub(super) fn unblock(signal: c_int) {
    let mut set: MaybeUninit<libc::sigset_t> = MaybeUninit::zeroed();
    // SAFETY: a set of ours.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), null_mut());
    }
}

extern "C" fn on_signal(_: c_int) {
    // SAFETY: the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    if let Some(kthread) = this_kthread() {
        kthread.interrupted();
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

impl Kthread {
    fn interrupted(&self) {
        self.trace.take();
        self.tick.fired();
        let Some(cpu) = self.cpu().filter(|cpu| cpu.preempts) else { return };
        let task = self.current();
        if self.is_forbidden() || task.is_none() {
            // In the runtime; but a cpu that is idle looks at everything before it runs the next task.
            if !cpu.sleep.is_asleep() {
                self.tick.set(RETRY_NS, 0);
            }
            return;
        }
        let Some(task) = task else { return };
        self.forbid();
        // SAFETY: the task that this thread is on, which is alive.
        let task = unsafe { task.as_ref() };
        if cpu.owner.is(self) {
            // SAFETY: a runtime lives as long as its tasks.
            cpu.ticks(unsafe { task.shared().as_ref() }, self, task);
        } else {
            self.comes_back();
        }
        self.allow();
    }
}

impl Cpu {
    /// The tick, on the owner.
    fn ticks(&self, shared: &Shared, kthread: &Kthread, task: &TaskStruct) {
        let mut now = sched_clock();
        if now >= self.own.look.get() {
            self.look(shared);
            now = sched_clock();
        }
        let mut queue = self.queue.lock_quick();
        // In this order: `tick` brings the queue's times up to date.
        let give_way = queue.tick(now) | self.need_resched.load(Ordering::Relaxed);
        if give_way {
            return self.preempt(queue, shared, kthread, task, now);
        }
        self.note(&queue);
        self.set_tick(kthread, &queue, now);
        let alone = queue.nr_queued() == 0;
        drop(queue);
        if !alone {
            self.watch.starts();
        }
    }

    /// The task stays on its thread, queued, and the cpu goes on with the next. Returns when it is the task's turn again.
    fn preempt(
        &self,
        mut queue: SpinGuard<'_, Queue>,
        shared: &Shared,
        kthread: &Kthread,
        task: &TaskStruct,
        now: u64,
    ) {
        count(&self.stats.preemptions, 1);
        self.need_resched.store(false, Ordering::Relaxed);
        task.state.preempted();
        task.stats.ready_since.store(now, Ordering::Relaxed);
        task.bound.store((&raw const *kthread).cast_mut(), Ordering::Release);
        let next = queue.preempt(shared, &self.spares, task, now);
        if self.give_way(queue, shared, kthread, task, next) {
            // By now the cpu may be another's.
            task.stats.preemptions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// While somebody waits for this cpu, or for a time or a socket, its owner is interrupted when that is due. Under the queue's lock.
    #[inline]
    pub(crate) fn set_tick(&self, owner: &Kthread, queue: &Queue, now: u64) {
        if !self.preempts {
            return;
        }
        let mut at = self.wake_at.load(Ordering::Relaxed);
        if queue.nr_queued() != 0 && !owner.tick.fires_by(now + queue.shortest_slice()) {
            at = at.min(queue.slice_end());
        }
        at = at.min(queue.quota_end());
        if self.reactor.had_sources() {
            at = at.min(now + SOCKETS_NS);
        }
        at = at.min(self.refill_due.load(Ordering::Relaxed));
        if at != u64::MAX {
            owner.tick.set(at, now);
        }
    }

    /// Somebody was queued here, who comes before the running task if `preempt` says so, even if that has just woken it if `at_once`. Under the queue's lock.
    pub(crate) fn kick(&self, queue: &Queue, preempt: bool, at_once: bool, now: u64) {
        if !self.preempts || self.sleep.is_asleep() {
            return;
        }
        let Some(owner) = self.owner.get() else { return };
        // SAFETY: records live as long as the runtime.
        let owner = unsafe { owner.as_ref() };
        match (preempt, this_kthread().is_some_and(|this| std::ptr::eq(this, owner))) {
            (false, _) => self.set_tick(owner, queue, now),
            // It comes to a place where it can give way at the price of a switch, perhaps.
            (true, true) => owner.tick.set(now + GRACE_NS + if at_once { 0 } else { self.patience }, now),
            (true, false) => owner.tick.set(now, now),
        }
    }
}

/// Nanoseconds between looks at sockets while tasks run that do not give way.
const SOCKETS_NS: u64 = 500_000;

/// Nanoseconds that a task has to come to a suspension point, after it woke somebody who comes before it.
const GRACE_NS: u64 = 20_000;
