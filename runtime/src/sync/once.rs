//! Doing something once.
//!
//! | state | left by |
//! |---|---|
//! | [`INCOMPLETE`] | who begins: `RUNNING` |
//! | [`RUNNING`] | who began: `COMPLETE`; unwinding, `POISONED` |
//! | [`POISONED`] | who begins all the same (`call_once_force`): `RUNNING` |
//! | [`COMPLETE`] | - |
//!
//! The state is the owner's half of the queue's word. Others wait while it is `RUNNING`; who leaves that state wakes all. What was done
//! before `COMPLETE` was written, with release, is seen by who reads it, with acquire.

use super::wait_queue::{WAITER, Wait, WaitQueue, Wake};
use crate::atomic::Ordering;
use crate::park::{checkpoint, deadline_after};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

const INCOMPLETE: u64 = 0;
const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const POISONED: u64 = 3;

const STATE: u64 = WAITER - 1;

/// Does something once, in the shape of [`std::sync::Once`].
///
/// ```
/// use fairground_runtime::sync::Once;
///
/// static START: Once = Once::new();
/// let mut times = 0;
/// START.call_once(|| times += 1);
/// START.call_once(|| times += 1);
/// assert_eq!(times, 1);
/// ```
pub struct Once {
    queue: WaitQueue,
}

/// What [`Once::call_once_force`] tells, in the shape of [`std::sync::OnceState`].
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Did somebody unwind who tried before?
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// Who runs. Left unwinding, unless it is told that all is done.
struct Running<'a> {
    once: &'a Once,
    then: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.once.queue.word().fetch_add(self.then - RUNNING, Ordering::AcqRel);
        self.once.queue.wake_all();
    }
}

impl Once {
    const_fn! {
        /// Nothing was done yet.
        pub fn new() -> Once {
            Once { queue: WaitQueue::new(INCOMPLETE as u32, ()) }
        }
    }

    /// Does it, unless it was done. If somebody else is at it, waits for the end.
    ///
    /// # Panics
    /// Somebody panicked who tried before, as with the standard library's.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call_slow(false, &mut |_| {
                if let Some(f) = f.take() {
                    f();
                }
            });
        }
    }

    /// As [`Once::call_once`], also if somebody panicked who tried before.
    #[inline]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call_slow(true, &mut |state| {
                if let Some(f) = f.take() {
                    f(state);
                }
            });
        }
    }

    /// Was it done?
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.state() == COMPLETE
    }

    /// Waits until somebody has done it.
    ///
    /// # Panics
    /// Somebody panicked who tried.
    #[track_caller]
    pub fn wait(&self) {
        self.wait_deadline(false, None);
    }

    /// Waits until somebody has done it, whoever panicked before.
    pub fn wait_force(&self) {
        self.wait_deadline(true, None);
    }

    /// Waits for some time until somebody has done it. `false`: in vain.
    ///
    /// # Panics
    /// Somebody panicked who tried.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_completed() || self.wait_deadline(false, deadline_after(timeout))
    }

    /// Waits until some time until somebody has done it. `false`: in vain.
    ///
    /// # Panics
    /// Somebody panicked who tried.
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.wait_deadline(false, Some(deadline))
    }

    #[inline]
    fn state(&self) -> u64 {
        self.queue.word().load(Ordering::Acquire) & STATE
    }

    #[cold]
    #[track_caller]
    pub(super) fn call_slow(&self, force: bool, f: &mut dyn FnMut(&OnceState)) {
        checkpoint();
        loop {
            let word = self.queue.word().load(Ordering::Acquire);
            match word & STATE {
                COMPLETE => return,
                RUNNING => _ = self.queue.wait(Wait::until(None), |word, ()| word & STATE == RUNNING, |_| ()),
                POISONED if !force => poisoned(),
                state => {
                    let begun = word - state + RUNNING;
                    if self.queue.word().compare_exchange(word, begun, Ordering::Acquire, Ordering::Relaxed).is_err() {
                        continue;
                    }
                    let mut running = Running { once: self, then: POISONED };
                    f(&OnceState { poisoned: state == POISONED });
                    running.then = COMPLETE;
                    return;
                }
            }
        }
    }

    /// Others may begin, fail, and begin again meanwhile.
    #[track_caller]
    pub(super) fn wait_deadline(&self, force: bool, deadline: Option<Instant>) -> bool {
        checkpoint();
        let waits_in = |state: u64| state != COMPLETE && (force || state != POISONED);
        loop {
            match self.state() {
                COMPLETE => return true,
                POISONED if !force => poisoned(),
                _ => {}
            }
            let wake = self.queue.wait(Wait::until(deadline), |word, ()| waits_in(word & STATE), |_| ());
            if wake == Wake::TimedOut {
                return self.is_completed();
            }
        }
    }

    /// As nobody shares it.
    pub(super) fn reset(&mut self) {
        *self = Once::new();
    }
}

#[cold]
#[track_caller]
fn poisoned() -> ! {
    panic!("a Once was poisoned: whoever called it before panicked");
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
