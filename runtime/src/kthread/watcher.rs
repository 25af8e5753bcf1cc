//! Finds owners that are blocked in the kernel: a thread for each cpu, pinned to the same processor, of the kernel's SCHED_IDLE class. It is always
//! ready to run while others wait for the cpu, so the kernel runs it in the very moment in which the owner sleeps, and for some microseconds a
//! second otherwise. If the owner's CPU clock stands still for [`PATIENCE_NS`], it wakes a rescuer.
//!
//! A monitor that looks every millisecond would find it a millisecond late, and would itself wait behind the tasks that compute.
//!
//! The watcher takes no lock: what runs only when nothing else does must not hold one.

use super::Kthread;
use super::word::Word;
use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::clock::monotonic;
use crate::cpu::Cpu;
use crate::pin::pin_current;
use crate::runtime::Shared;

/// Nanoseconds for which an owner is left alone: a call that blocks for less costs nothing but them.
const PATIENCE_NS: u64 = 30_000;

/// Nanoseconds between attempts where no rescuer can be found.
const PAUSE_NS: u64 = 500_000;

/// What watcher, owner and rescuer tell each other.
#[derive(Debug)]
pub(crate) struct Watch {
    watches: AtomicBool,
    word: Word,
    /// The owner is blocked, with this CPU time.
    reported: AtomicBool,
    seen: AtomicU64,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch {
            watches: AtomicBool::new(true),
            word: Word::new(),
            reported: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        }
    }

    /// Somebody waits for the cpu. By the owner, with the tick.
    #[inline]
    pub(super) fn starts(&self) {
        if !self.watches.load(Ordering::Relaxed) {
            self.watches.store(true, Ordering::Relaxed);
            self.word.wake();
        }
    }

    pub(super) fn is_reported(&self) -> bool {
        self.reported.load(Ordering::Acquire)
    }

    /// Under the queue's lock.
    pub(super) fn take_report(&self) -> bool {
        self.reported.swap(false, Ordering::AcqRel)
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// At the runtime's end.
    pub(crate) fn ends(&self) {
        self.word.wake();
    }
}

/// The watcher's life.
pub(crate) fn main(shared: &Shared, cpu: &Cpu) {
    if !cpu.processor.is_some_and(pin_current) {
        return;
    }
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: of the calling thread, and every thread may make itself less important.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } != 0 {
        return;
    }
    while !shared.is_over() {
        if cpu.watch.watches.load(Ordering::Relaxed) {
            cpu.look_at_owner(shared);
        } else {
            cpu.watch.word.sleep();
        }
    }
}

impl Cpu {
    /// The watcher runs, so the owner does not: it is blocked, or the kernel lets everybody run in turn.
    fn look_at_owner(&self, shared: &Shared) {
        let owner = self.owner.get();
        // SAFETY: records live as long as the runtime.
        let Some(owner) = owner.map(|owner| unsafe { owner.as_ref() }) else { return yield_to_others() };
        if self.sleep.is_asleep() || !self.somebody_waits() {
            self.watch.watches.store(false, Ordering::Relaxed);
            return;
        }
        if owner.is_forbidden() || owner.current().is_none() {
            return yield_to_others();
        }
        let Some(seen) = owner.cpu_time() else { return };
        let since = monotonic();
        loop {
            yield_to_others();
            let same = self.owner.get().is_some_and(|now| std::ptr::eq(now.as_ptr(), owner));
            if !same || owner.cpu_time() != Some(seen) || owner.is_forbidden() {
                return;
            }
            if monotonic() - since >= PATIENCE_NS {
                break;
            }
        }
        self.watch.seen.store(seen, Ordering::Relaxed);
        self.watch.reported.store(true, Ordering::Release);
        match self.spares.first() {
            Some(spare) => spare.poke(),
            // The threads whose tasks are ready: who has its task in this queue goes on (`blocked.rs`).
            None => {
                shared.kthreads.all.iter().filter(|kthread| kthread.waits_with_task()).for_each(Kthread::poke);
                pause();
            }
        }
        yield_to_others();
    }

    fn somebody_waits(&self) -> bool {
        self.queued.load(Ordering::Relaxed) != 0
            || self.timer_due.load(Ordering::Relaxed) != u64::MAX
            || self.refill_due.load(Ordering::Relaxed) != u64::MAX
            || self.reactor.had_sources()
    }
}

fn yield_to_others() {
    // SAFETY: no arguments.
    unsafe { libc::sched_yield() };
}

fn pause() {
    std::thread::sleep(std::time::Duration::from_nanos(PAUSE_NS));
}
