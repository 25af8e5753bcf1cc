//! A counting semaphore, first come first served.
//!
//! The permits are the owner's half of the queue's word. While nobody waits they are taken and given back by one compare-and-swap
//! on the word, which fails as soon as somebody is counted. While somebody waits they change only under the queue's lock: who gives some
//! back adds them and then serves the queue from the front, as far as they go. A wake-up means that the permits are the waiter's;
//! one that unwinds gives them back. A waiter that gives up may have been the one that held up those behind it, so it
//! serves the queue too.
//!
//! Nobody overtakes: who wants one permit waits behind who wants many, which therefore does not starve.

use super::wait_queue::{Batch, WAITER, Wait, WaitQueue, Wake};
use crate::atomic::Ordering;
use crate::park::{checkpoint, deadline_after};
use std::fmt;
use std::time::{Duration, Instant};

const PERMITS: u64 = WAITER - 1;

/// A number of permits that tasks and threads take, wait for and give back, first come first served.
///
/// ```
/// use fairground_runtime::sync::Semaphore;
///
/// let connections = Semaphore::new(2);
/// let one = connections.acquire();
/// let other = connections.acquire();
/// assert!(connections.try_acquire().is_none());
/// drop(one);
/// assert!(connections.try_acquire().is_some());
/// # drop(other);
/// ```
pub struct Semaphore {
    queue: WaitQueue,
}

/// Some permits of a [`Semaphore`]. They are given back when it is dropped.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
}

/// A semaphore counts at most `u32::MAX` permits: so many were free, and so many were to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPermits {
    /// Free before.
    pub available: u32,
    /// Refused.
    pub added: u32,
}

impl fmt::Display for TooManyPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooManyPermits { available, added } = self;
        write!(f, "{added} permits added to {available}: a semaphore counts at most {}", u32::MAX)
    }
}

impl std::error::Error for TooManyPermits {}

impl Semaphore {
    const_fn! {
        /// A semaphore with so many permits.
        pub fn new(permits: u32) -> Semaphore {
            Semaphore { queue: WaitQueue::new(permits, ()) }
        }
    }

    /// Waits for one permit.
    #[inline]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Waits until `permits` of them are free at once. Who wants more than there will ever be waits for ever, and all behind it.
    #[inline]
    pub fn acquire_many(&self, permits: u32) -> SemaphorePermit<'_> {
        if !self.try_take(permits) {
            self.take_slow(permits, None);
        }
        SemaphorePermit { semaphore: self, permits }
    }

    /// Takes one permit if one is free and nobody waits.
    #[inline]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` of them if so many are free and nobody waits.
    #[inline]
    pub fn try_acquire_many(&self, permits: u32) -> Option<SemaphorePermit<'_>> {
        self.try_take(permits).then(|| SemaphorePermit { semaphore: self, permits })
    }

    /// Waits for one permit for some time. `None`: in vain.
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Waits for one permit until some time. `None`: in vain.
    pub fn acquire_until(&self, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_until(1, deadline)
    }

    /// Waits for `permits` of them for some time. `None`: in vain.
    pub fn acquire_many_timeout(&self, permits: u32, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        let taken = self.try_take(permits) || self.take_slow(permits, deadline_after(timeout));
        taken.then(|| SemaphorePermit { semaphore: self, permits })
    }

    /// Waits for `permits` of them until some time. `None`: in vain.
    pub fn acquire_many_until(&self, permits: u32, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        let taken = self.try_take(permits) || self.take_slow(permits, Some(deadline));
        taken.then(|| SemaphorePermit { semaphore: self, permits })
    }

    /// How many are free now.
    pub fn available_permits(&self) -> u32 {
        (self.queue.word().load(Ordering::Relaxed) & PERMITS) as u32
    }

    /// Adds permits, which need not have been taken before.
    ///
    /// # Errors
    /// There would be more free ones than `u32::MAX`; none is added.
    #[inline]
    pub fn add_permits(&self, permits: u32) -> Result<(), TooManyPermits> {
        let word = self.queue.word();
        let mut now = word.load(Ordering::Relaxed);
        while now < WAITER {
            let sum = now + u64::from(permits);
            if sum > PERMITS {
                return Err(TooManyPermits { available: now as u32, added: permits });
            }
            match word.compare_exchange_weak(now, sum, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => now = other,
            }
        }
        self.add_slow(permits)
    }

    #[inline]
    fn try_take(&self, permits: u32) -> bool {
        let word = self.queue.word();
        let mut now = word.load(Ordering::Relaxed);
        while now < WAITER && now >= u64::from(permits) {
            match word.compare_exchange_weak(now, now - u64::from(permits), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        permits == 0
    }

    /// `false`: not before the deadline.
    #[cold]
    #[inline(never)]
    fn take_slow(&self, permits: u32, deadline: Option<Instant>) -> bool {
        checkpoint();
        let must_wait = |word: u64, (): &mut ()| {
            let free = word / WAITER == 1 && word & PERMITS >= u64::from(permits);
            if free {
                // Nobody else changes them, as somebody waits (this one) and the lock is held.
                self.queue.word().fetch_sub(u64::from(permits), Ordering::Acquire);
            }
            !free
        };
        let withdrawn = |message: Option<usize>| match message {
            None => self.serve(),
            // They cannot be too many: they were counted when they were given.
            Some(_) => _ = self.add_permits(permits),
        };
        match self.queue.wait(Wait { deadline, tag: permits, at_front: false }, must_wait, withdrawn) {
            Wake::Woken(_) | Wake::Needless => true,
            Wake::TimedOut => {
                self.serve();
                false
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn add_slow(&self, permits: u32) -> Result<(), TooManyPermits> {
        let queue = self.queue.lock();
        let word = self.queue.word();
        // Those who waited may have gone and the fast paths be in use: not simply an addition.
        let add = |now: u64| {
            (now & PERMITS)
                .checked_add(u64::from(permits))
                .filter(|&sum| sum <= PERMITS)
                .map(|_| now + u64::from(permits))
        };
        let added = word.fetch_update(Ordering::Release, Ordering::Relaxed, add);
        drop(queue);
        self.serve();
        match added {
            Ok(_) => Ok(()),
            Err(now) => Err(TooManyPermits { available: (now & PERMITS) as u32, added: permits }),
        }
    }

    /// Gives free permits to those who wait, from the front.
    fn serve(&self) {
        let word = self.queue.word();
        loop {
            let mut batch = Batch::new();
            let mut queue = self.queue.lock();
            while let Some(wanted) = queue.front()
                && !batch.is_full()
                && word.load(Ordering::Relaxed) & PERMITS >= u64::from(wanted)
            {
                // Acquire: the waiter gets with its permits what those before it did under theirs.
                word.fetch_sub(u64::from(wanted), Ordering::Acquire);
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

impl SemaphorePermit<'_> {
    /// Keeps the permits out of the semaphore for good.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// How many they are.
    pub fn num_permits(&self) -> u32 {
        self.permits
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Too many only if somebody added to those that were taken: then these are the ones too many.
        _ = self.semaphore.add_permits(self.permits);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.available_permits()).finish()
    }
}
