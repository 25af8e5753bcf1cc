//! Values that are written once: by whoever is first, or by a function that is known from the start. Both stand on [`Once`].

use super::Once;
use crate::atomic::UnsafeCell;
use crate::park::deadline_after;
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// A value that is written once, in the shape of [`std::sync::OnceLock`].
///
/// ```
/// use fairground_runtime::sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "first".to_string()), "first");
/// assert_eq!(NAME.set("second".to_string()), Err("second".to_string()));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Initialised once `once` is completed, and only read from then on.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value goes with the lock.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: one thread writes the value and others read it, or drop it as the last owner.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_fn! {
        /// Without a value.
        pub fn new() -> OnceLock<T> {
            OnceLock { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// The value, if it was written.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: completed.
        self.once.is_completed().then(|| unsafe { self.value() })
    }

    /// The value, as nobody shares it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: completed, and `&mut self` excludes every other access.
        self.once.is_completed().then(|| self.value.with_mut(|value| unsafe { (*value).assume_init_mut() }))
    }

    /// Writes the value. If somebody else is at it, waits for the end.
    ///
    /// # Errors
    /// There is one; this one is in the error.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init_with(&mut || value.take());
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none, the function's. If somebody else is at it, waits for the end. If the function panics, the next
    /// one tries.
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        if !self.once.is_completed() {
            let mut f = Some(f);
            self.get_or_init_with(&mut || f.take().map(|f| f()));
        }
        // SAFETY: completed, by us or by somebody else.
        unsafe { self.value() }
    }

    /// `f` has a value when it is first called.
    #[cold]
    fn get_or_init_with(&self, f: &mut dyn FnMut() -> Option<T>) {
        self.once.call_slow(true, &mut |_| {
            if let Some(value) = f() {
                // SAFETY: only who runs the `Once` is here, and nobody reads before it is completed.
                self.value.with_mut(|cell| unsafe { _ = (*cell).write(value) });
            }
        });
    }

    /// Waits until somebody has written the value.
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        // SAFETY: completed.
        unsafe { self.value() }
    }

    /// Waits for the value for some time.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.once.wait_deadline(true, deadline_after(timeout));
        self.get()
    }

    /// Waits for the value until some time.
    pub fn wait_until(&self, deadline: Instant) -> Option<&T> {
        self.once.wait_deadline(true, Some(deadline));
        self.get()
    }

    /// Takes the value out, as nobody shares it.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once.reset();
        // SAFETY: it was completed, and is no longer: nobody will read it again.
        Some(self.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
    }

    /// The value, once nobody shares it.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// # Safety
    /// The `Once` is completed.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: written before it was completed, and since then nobody writes while it is shared.
        self.value.with(|value| unsafe { (*value).assume_init_ref() })
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let lock = OnceLock::new();
        _ = lock.set(value);
        lock
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

/// A value that is made when it is first needed, in the shape of [`std::sync::LazyLock`].
///
/// ```
/// use fairground_runtime::sync::LazyLock;
///
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).map(|n| n * n).collect());
/// assert_eq!(SQUARES[3], 9);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// Taken by who runs `once`, which is poisoned if the function panics.
    once: Once,
    make: Cell<Option<F>>,
}

// SAFETY: `make` is touched by who runs `once`, one thread; it may be another than the one that made it, so `F: Send`.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_fn! {
        /// A value that the function will make.
        pub fn new(f: F) -> LazyLock<T, F> {
            LazyLock { value: OnceLock::new(), once: Once::new(), make: Cell::new(Some(f)) }
        }
    }

    /// The value; makes it if nobody has.
    ///
    /// # Panics
    /// The function panics or did so before, as with the standard library's.
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        if let Some(value) = this.value.get() {
            return value;
        }
        this.once.call_once(|| {
            if let Some(make) = this.make.take() {
                _ = this.value.set(make());
            }
        });
        this.value.wait()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyLock").field(&self.value.get()).finish()
    }
}
