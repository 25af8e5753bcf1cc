//! Waiting until all of a group are done.
//!
//! The owner's half of the queue's word counts the handles. Each drop takes one away; the last wakes all who wait, none of
//! which has a handle any more. What was done before a handle was dropped is seen by who waited.

use super::wait_queue::{WAITER, Wait, WaitQueue, Wake};
use crate::atomic::{Arc, Ordering};
use crate::park::{checkpoint, deadline_after};
use std::fmt;
use std::time::{Duration, Instant};

const HANDLES: u64 = WAITER - 1;

/// A handle to a group. Each clone is one more that is waited for; dropping it says that its part is done.
///
/// The shape is `crossbeam-utils`'. At most `u32::MAX` handles can be counted.
///
/// ```
/// use fairground_runtime::sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// for n in 0..3 {
///     let part = group.clone();
///     std::thread::spawn(move || {
///         println!("part {n}");
///         drop(part);
///     });
/// }
/// group.wait();
/// ```
pub struct WaitGroup {
    queue: Arc<WaitQueue>,
}

impl WaitGroup {
    /// A group of one: this handle.
    pub fn new() -> WaitGroup {
        WaitGroup { queue: Arc::new(WaitQueue::new(1, ())) }
    }

    /// Drops this handle and waits until all others are dropped.
    pub fn wait(self) {
        self.wait_deadline(None);
    }

    /// Drops this handle and waits for some time until all others are dropped. `false`: in vain.
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        self.wait_deadline(deadline_after(timeout))
    }

    /// Drops this handle and waits until some time until all others are dropped. `false`: in vain.
    pub fn wait_until(self, deadline: Instant) -> bool {
        self.wait_deadline(Some(deadline))
    }

    fn wait_deadline(self, deadline: Option<Instant>) -> bool {
        checkpoint();
        let queue = self.queue.clone();
        drop(self);
        while queue.word().load(Ordering::Acquire) & HANDLES != 0 {
            let wake = queue.wait(Wait::until(deadline), |word, ()| word & HANDLES != 0, |_| ());
            if wake == Wake::TimedOut {
                return queue.word().load(Ordering::Acquire) & HANDLES == 0;
            }
        }
        true
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> WaitGroup {
        self.queue.word().fetch_add(1, Ordering::Relaxed);
        WaitGroup { queue: self.queue.clone() }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        if self.queue.word().fetch_sub(1, Ordering::AcqRel) & HANDLES == 1 {
            self.queue.wake_all();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handles = self.queue.word().load(Ordering::Relaxed) & HANDLES;
        f.debug_struct("WaitGroup").field("handles", &handles).finish()
    }
}
