//! A lock that many may share to read, or one holds to write.
//!
//! The owner's half of the queue's word holds the number of readers and [`WRITER`]. While nobody waits it is changed by one
//! compare-and-swap; once somebody is counted in the queue's half, everybody who comes waits behind, and who leaves as the last
//! hands the lock over under the queue's lock: to the writer in front, or to all readers up to the next writer. So neither side
//! starves: a reader waits for the writers that came before it, a writer for what came before it.
//!
//! A reader that waits behind a writer while it holds the lock already waits for ever, as with the standard library's lock.
//!
//! Who was woken holds the lock; if it unwinds it lets go again. Who gives up may have been the writer that
//! held up readers behind it: it hands the lock over too, to whoever may have it now.

use super::poison::{Before, Poison};
use super::wait_queue::{Batch, WAITER, Wait, WaitQueue, Wake};
use crate::atomic::{Ordering, UnsafeCell};
use crate::park::{checkpoint, deadline_after};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

/// Below it is the number of readers. (More than can be counted wait.)
const WRITER: u64 = 1 << 31;
const READERS: u64 = WRITER - 1;

/// Tags.
const READ: u32 = 0;
const WRITE: u32 = 1;

/// A lock that many may hold to read or one to write, in the shape of [`std::sync::RwLock`]. First come, first served.
///
/// ```
/// use fairground_runtime::sync::RwLock;
///
/// let lock = RwLock::new(5);
/// {
///     let (one, other) = (lock.read().unwrap(), lock.read().unwrap());
///     assert_eq!(*one + *other, 10);
/// }
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Poison,
    /// Readers may share it, the writer may change it.
    value: UnsafeCell<T>,
}

struct RawRwLock {
    queue: WaitQueue,
}

impl RawRwLock {
    /// The word afterwards, if somebody of this kind may have the lock now.
    #[inline]
    fn with(word: u64, kind: u32) -> Option<u64> {
        let bits = word & (WAITER - 1);
        if kind == READ { (bits < READERS).then_some(word + 1) } else { (bits == 0).then_some(word | WRITER) }
    }

    #[inline]
    fn try_lock(&self, kind: u32) -> bool {
        let word = self.queue.word();
        let mut now = word.load(Ordering::Relaxed);
        while now < WAITER
            && let Some(then) = RawRwLock::with(now, kind)
        {
            match word.compare_exchange_weak(now, then, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        false
    }

    /// `false`: not before the deadline.
    #[cold]
    #[inline(never)]
    fn lock_slow(&self, kind: u32, deadline: Option<Instant>) -> bool {
        checkpoint();
        let must_wait = |word: u64, (): &mut ()| {
            let alone = word / WAITER == 1;
            let granted = alone && RawRwLock::with(word, kind).is_some();
            if granted {
                // Nobody else takes it, as somebody waits (this one) and the queue is locked; readers may leave meanwhile.
                self.grant(kind);
            }
            !granted
        };
        let withdrawn = |message: Option<usize>| match message {
            None => self.serve(),
            Some(_) => self.unlock(kind),
        };
        match self.queue.wait(Wait { deadline, tag: kind, at_front: false }, must_wait, withdrawn) {
            Wake::Woken(_) | Wake::Needless => true,
            Wake::TimedOut => {
                self.serve();
                false
            }
        }
    }

    /// Counts a holder that waited.
    fn grant(&self, kind: u32) {
        self.queue.word().fetch_add(if kind == READ { 1 } else { WRITER }, Ordering::Acquire);
    }

    #[inline]
    fn unlock(&self, kind: u32) {
        let held = if kind == READ { 1 } else { WRITER };
        let now = self.queue.word().fetch_sub(held, Ordering::Release) - held;
        if now >= WAITER && now & (WAITER - 1) == 0 {
            self.unlock_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        self.serve();
        checkpoint();
    }

    /// A writer goes on as a reader.
    fn downgrade(&self) {
        let now = self.queue.word().fetch_sub(WRITER - 1, Ordering::Release);
        if now >= WAITER {
            self.serve();
        }
    }

    /// Hands the lock to those in front who may have it.
    fn serve(&self) {
        loop {
            let mut batch = Batch::new();
            let mut queue = self.queue.lock();
            while let Some(kind) = queue.front()
                && !batch.is_full()
                && RawRwLock::with(self.queue.word().load(Ordering::Relaxed), kind).is_some()
            {
                self.grant(kind);
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

// SAFETY: the value is changed by one thread at a time.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as above; readers share the value, so `T: Sync`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// Shared access to what a [`RwLock`] protects, until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// As the standard library's: not `Send`.
    thread: PhantomData<*const ()>,
}

/// Sole access to what a [`RwLock`] protects, until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    before: Before,
    /// As the standard library's: not `Send`.
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock that nobody holds.
        pub fn new(value: T) -> RwLock<T> {
            let raw = RawRwLock { queue: WaitQueue::new(0, ()) };
            RwLock { raw, poison: Poison::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, once nobody shares the lock.
    ///
    /// # Errors
    /// The lock is poisoned; the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.is_set();
        let value = self.value.into_inner();
        if poisoned { Err(PoisonError::new(value)) } else { Ok(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    #[inline]
    fn reader(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.check(RwLockReadGuard { lock: self, thread: PhantomData })
    }

    #[inline]
    fn writer(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.poison.check(RwLockWriteGuard { lock: self, before: self.poison.before(), thread: PhantomData })
    }

    /// Waits for shared access. Who has sole access waits for ever; who has shared access may.
    ///
    /// # Errors
    /// The lock is poisoned: a writer unwound. The guard is in the error.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        if !self.raw.try_lock(READ) {
            self.raw.lock_slow(READ, None);
        }
        self.reader()
    }

    /// Shared access, if it is to be had and nobody waits.
    ///
    /// # Errors
    /// `WouldBlock`: it is not. `Poisoned`: as [`RwLock::read`].
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.raw.try_lock(READ) { Ok(self.reader()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for shared access for some time.
    ///
    /// # Errors
    /// `WouldBlock`: in vain. `Poisoned`: as [`RwLock::read`].
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let locked = self.raw.try_lock(READ) || self.raw.lock_slow(READ, deadline_after(timeout));
        if locked { Ok(self.reader()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for shared access until some time.
    ///
    /// # Errors
    /// As [`RwLock::read_timeout`].
    pub fn read_until(&self, deadline: Instant) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let locked = self.raw.try_lock(READ) || self.raw.lock_slow(READ, Some(deadline));
        if locked { Ok(self.reader()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for sole access. Who has access already waits for ever.
    ///
    /// # Errors
    /// The lock is poisoned: a writer unwound. The guard is in the error.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        if !self.raw.try_lock(WRITE) {
            self.raw.lock_slow(WRITE, None);
        }
        self.writer()
    }

    /// Sole access, if nobody has access.
    ///
    /// # Errors
    /// `WouldBlock`: somebody has. `Poisoned`: as [`RwLock::write`].
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.raw.try_lock(WRITE) { Ok(self.writer()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for sole access for some time.
    ///
    /// # Errors
    /// `WouldBlock`: in vain. `Poisoned`: as [`RwLock::write`].
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let locked = self.raw.try_lock(WRITE) || self.raw.lock_slow(WRITE, deadline_after(timeout));
        if locked { Ok(self.writer()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for sole access until some time.
    ///
    /// # Errors
    /// As [`RwLock::write_timeout`].
    pub fn write_until(&self, deadline: Instant) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let locked = self.raw.try_lock(WRITE) || self.raw.lock_slow(WRITE, Some(deadline));
        if locked { Ok(self.writer()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Did a writer unwind?
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Declares that the value is in order again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, as nobody shares the lock.
    ///
    /// # Errors
    /// The lock is poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        // SAFETY: `&mut self` excludes every other access.
        let value = self.value.with_mut(|value| unsafe { &mut *value });
        self.poison.check(value)
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on as a reader, with no writer in between.
    pub fn downgrade(guard: RwLockWriteGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        std::mem::forget(guard);
        lock.raw.downgrade();
        RwLockReadGuard { lock, thread: PhantomData }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard shares the lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard alone holds the lock.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock(READ);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.after(self.before);
        self.lock.raw.unlock(WRITE);
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.poison.is_set()).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
