//! Waiting until so many have come, again and again.
//!
//! Under the queue's lock are the number of those who came and the generation: how often the barrier opened. The last to come begins a new
//! generation and wakes the waiters of the old one, which their tags tell from those who came since. Who gives up or unwinds while its
//! generation lasts is counted no longer; afterwards it has passed, whether it was woken yet or not.

use super::wait_queue::{Batch, Claim, WaitQueue, Waiter};
use crate::park::deadline_after;
use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

/// Lets tasks and threads wait until so many have come, in the shape of [`std::sync::Barrier`].
///
/// ```
/// use fairground_runtime::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders = std::thread::scope(|scope| {
///     let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| barrier.wait().is_leader())).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).filter(|&leader| leader).count()
/// });
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    needed: usize,
    queue: WaitQueue<Arrivals>,
}

struct Arrivals {
    waiting: usize,
    generation: u32,
}

/// What [`Barrier::wait`] tells, in the shape of [`std::sync::BarrierWaitResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// True for one of those who came together.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

/// One who came.
struct Arrival<'a> {
    barrier: &'a Barrier,
    waiter: &'a Waiter<'a>,
    generation: u32,
}

impl Arrival<'_> {
    /// Goes. Did the barrier open?
    fn leave(&self) -> bool {
        let mut queue = self.barrier.queue.lock();
        let left = queue.withdraw(self.waiter) && queue.state().generation == self.generation;
        if left {
            queue.state().waiting -= 1;
        }
        !left
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Barrier {
    const_fn! {
        /// A barrier that opens for so many; 0 is as 1.
        pub fn new(n: usize) -> Barrier {
            Barrier { needed: n, queue: WaitQueue::new(0, Arrivals { waiting: 0, generation: 0 }) }
        }
    }

    /// Waits for the others. The last to come does not wait and is the leader.
    pub fn wait(&self) -> BarrierWaitResult {
        self.wait_deadline(None).unwrap_or(BarrierWaitResult(false))
    }

    /// Waits for the others for some time. `None`: in vain; it did not count.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_deadline(deadline_after(timeout))
    }

    /// Waits for the others until some time. `None`: in vain; it did not count.
    pub fn wait_until(&self, deadline: Instant) -> Option<BarrierWaitResult> {
        self.wait_deadline(Some(deadline))
    }

    fn wait_deadline(&self, deadline: Option<Instant>) -> Option<BarrierWaitResult> {
        let mut queue = self.queue.lock();
        let generation = queue.state().generation;
        if queue.state().waiting + 1 >= self.needed {
            queue.state().waiting = 0;
            queue.state().generation = generation.wrapping_add(1);
            drop(queue);
            self.release(generation);
            return Some(BarrierWaitResult(true));
        }
        let claim = Claim::new();
        let waiter = Waiter::new(&claim, 0, generation, ptr::null_mut());
        queue.state().waiting += 1;
        // SAFETY: it is withdrawn when `arrival` goes, before it does, or its claim was seen.
        unsafe { queue.link(&waiter, false) };
        drop(queue);
        let arrival = Arrival { barrier: self, waiter: &waiter, generation };
        let opened = claim.wait(deadline).is_some() || arrival.leave();
        std::mem::forget(arrival);
        opened.then_some(BarrierWaitResult(false))
    }

    /// Wakes those of a generation that is over; they are in front of those of later ones.
    fn release(&self, generation: u32) {
        loop {
            let mut batch = Batch::new();
            let mut queue = self.queue.lock();
            while queue.front() == Some(generation) && !batch.is_full() {
                if let Some(unparker) = queue.wake_front(None) {
                    batch.push(unparker);
                }
            }
            drop(queue);
            let more = batch.is_full();
            batch.unpark();
            if !more {
                return;
            }
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
