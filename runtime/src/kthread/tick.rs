//! The tick: a timer of each kernel thread that interrupts it by a signal while others wait for its cpu.
//!
//! It is a timer of the thread's own (`timer_create` with `SIGEV_THREAD_ID`), so that the kernel needs to run nobody else first: a monitor that
//! is a thread would wait behind the tasks that it should interrupt. It is set when somebody waits, and only to an earlier time: tasks that
//! switch fast leave it alone, and it fires once in a slice. It fires into an idle or changed world at times; the handler looks for itself.
//!
//! A second timer counts the CPU time of a thread whose cpu was taken because it was blocked: it fires when the thread runs again.

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Tick {
    timer: Timer,
    /// Of the thread's CPU time.
    runs_again: Timer,
    /// When it fires, by the scheduler's clock; `u64::MAX`: it is not set.
    at: AtomicU64,
}

/// A tick that comes while preemption is off comes again after so many nanoseconds.
pub(super) const RETRY_NS: u64 = 20_000;

impl Tick {
    pub(super) fn new() -> Tick {
        Tick { timer: Timer::new(), runs_again: Timer::new(), at: AtomicU64::new(u64::MAX) }
    }

    /// Makes the timers, for the calling thread.
    ///
    /// # Errors
    /// The system has no timers left (RLIMIT_SIGPENDING counts them).
    pub(super) fn create(&self, signal: c_int) -> io::Result<()> {
        self.at.store(u64::MAX, Ordering::Relaxed);
        for (clock, timer) in [(libc::CLOCK_MONOTONIC, &self.timer), (libc::CLOCK_THREAD_CPUTIME_ID, &self.runs_again)]
        {
            if let Err(error) = timer.create(clock, signal) {
                self.delete();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the timers. By their thread, or if it never used them.
    pub(super) fn delete(&self) {
        self.timer.delete();
        self.runs_again.delete();
    }

    /// Is it set to fire at this time, or before?
    #[inline]
    pub(super) fn fires_by(&self, at: u64) -> bool {
        self.at.load(Ordering::Relaxed) <= at
    }

    /// It fires at a time, unless it fires before. Under the lock of the queue of the cpu that the thread has.
    #[inline]
    pub(super) fn set(&self, at: u64, now: u64) {
        if !self.fires_by(at) {
            self.at.store(at, Ordering::Relaxed);
            self.timer.set(at.saturating_sub(now).max(1));
        }
    }

    /// It has fired.
    pub(super) fn fired(&self) {
        self.at.store(u64::MAX, Ordering::Relaxed);
    }

    /// It does not fire any more, but for a signal on its way. Under the queue's lock.
    pub(super) fn stop(&self) {
        self.fired();
        self.timer.set(0);
    }

    /// It fires once the thread uses CPU time again, at the kernel's next tick after that.
    pub(super) fn when_it_runs_again(&self) {
        self.runs_again.set(1);
    }

    /// The thread has a cpu again.
    pub(super) fn runs(&self) {
        self.runs_again.set(0);
    }
}

/// A timer of the kernel's that sends a signal to the thread that made it; none until `create`.
#[derive(Debug)]
struct Timer {
    /// Its name (the C library's is a pointer, and null is a timer's name like others), once it exists.
    name: AtomicPtr<libc::c_void>,
    exists: AtomicBool,
}

impl Timer {
    fn new() -> Timer {
        Timer { name: AtomicPtr::new(null_mut()), exists: AtomicBool::new(false) }
    }

    fn create(&self, clock: libc::clockid_t, signal: c_int) -> io::Result<()> {
        // SAFETY: zeroes are a valid sigevent.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: no arguments; cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut name: libc::timer_t = null_mut();
        // SAFETY: a clock that exists, an event that is read, a place for the timer.
        if unsafe { libc::timer_create(clock, &raw mut event, &raw mut name) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.name.store(name.cast(), Ordering::Relaxed);
        self.exists.store(true, Ordering::Release);
        Ok(())
    }

    fn delete(&self) {
        if self.exists.swap(false, Ordering::AcqRel) {
            // SAFETY: it exists, and is deleted once.
            unsafe { libc::timer_delete(self.name.load(Ordering::Relaxed).cast()) };
        }
    }

    /// Nanoseconds from now; 0: never.
    fn set(&self, ns: u64) {
        if !self.exists.load(Ordering::Acquire) {
            return;
        }
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec {
            tv_sec: (ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        let time = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: a time that is read. A timer that was deleted meanwhile, at its thread's end, is an error without effect.
        unsafe { libc::timer_settime(self.name.load(Ordering::Relaxed).cast(), 0, &raw const time, null_mut()) };
    }
}
