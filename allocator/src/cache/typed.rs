//! [`Cache`]: objects of a Rust type.

use super::{CacheFlags, CacheStats, RawCache};
use crate::kmem::cache::{Constructor, Destructor};
use crate::kmem::error::CacheError;
use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, needs_drop};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A cache of values that stay constructed between users.
///
/// The constructor is called for each value when memory for a slab of them (64 KiB) is obtained; a value is dropped only when
/// its slab goes back, in [`shrink`](Cache::shrink), in [`destroy`](Cache::destroy), or when a value is given back and
/// three other slabs are empty already. In between, a user finds what the last one left.
///
/// May be shared between threads, as a `static` in a `OnceLock` for example. Dropping it destroys it; if values are live
/// then (leaked handles, raw pointers), they and the cache stay for good.
///
/// # Examples
/// ```
/// use fairground_allocator::Cache;
///
/// struct Request {
///     path: String,
///     served: u32,
/// }
///
/// let requests = Cache::new("request", || Request { path: String::with_capacity(256), served: 0 })?;
/// for path in ["/", "/about"] {
///     let mut request = requests.alloc()?;
///     request.path.clear();
///     request.path.push_str(path);
///     request.served += 1;
/// }
/// assert_eq!(requests.alloc()?.served, 2); // the same object each time
/// assert_eq!(requests.stats().live, 0);
/// # Ok::<(), fairground_allocator::cache::CacheError>(())
/// ```
pub struct Cache<T> {
    raw: RawCache,
    values: PhantomData<fn() -> T>,
}

/// Calls the constructor that `context` is. A panic in it aborts: nothing can unwind out of a C function.
unsafe extern "C" fn construct<T>(object: *mut u8, context: *mut c_void) {
    // SAFETY: `with_flags` made the context of such a function; the object is raw memory for a T.
    unsafe {
        let constructor: fn() -> T = core::mem::transmute(context);
        object.cast::<T>().write(constructor());
    }
}

unsafe extern "C" fn destruct<T>(object: *mut u8) {
    // SAFETY: called for constructed objects that nobody uses, before their memory goes.
    unsafe { object.cast::<T>().drop_in_place() }
}

impl<T: Send + 'static> Cache<T> {
    /// A cache whose values are made by `constructor`. A panic in the constructor aborts the process. It may allocate and use other
    /// caches, but not this one.
    ///
    /// # Errors
    /// The name, the size or the alignment is not allowed, there are too many caches, or there is no memory.
    pub fn new(name: &str, constructor: fn() -> T) -> Result<Cache<T>, CacheError> {
        Cache::with_flags(name, CacheFlags::NONE, constructor)
    }

    /// [`Cache::new`] with flags.
    ///
    /// # Errors
    /// As there.
    pub fn with_flags(name: &str, flags: CacheFlags, constructor: fn() -> T) -> Result<Cache<T>, CacheError> {
        let constructor = Constructor { call: construct::<T>, context: constructor as *const () as *mut c_void };
        let destructor: Option<Destructor> = if needs_drop::<T>() { Some(destruct::<T>) } else { None };
        let (size, align) = (size_of::<T>(), align_of::<T>());
        let raw = RawCache::make(name.as_bytes(), size, align, flags, Some(constructor), destructor)?;
        Ok(Cache { raw, values: PhantomData })
    }

    /// A value, as its last user or the constructor left it. The handle gives it back when dropped.
    ///
    /// # Errors
    /// [`CacheError::OutOfMemory`].
    #[inline]
    pub fn alloc(&self) -> Result<Cached<'_, T>, CacheError> {
        self.alloc_raw().map(|value| Cached { value, cache: self }).ok_or(CacheError::OutOfMemory)
    }

    /// A value as a pointer, for who keeps account of it otherwise; None if there is no memory.
    #[inline]
    pub fn alloc_raw(&self) -> Option<NonNull<T>> {
        self.raw.alloc().map(NonNull::cast)
    }

    /// Gives a value back.
    ///
    /// # Safety
    /// From this cache's `alloc_raw` or [`Cached::into_raw`]; nobody uses it any more, and it is a valid `T`.
    #[inline]
    pub unsafe fn free_raw(&self, value: NonNull<T>) {
        // SAFETY: by the caller.
        unsafe { self.raw.free(value.cast()) }
    }

    /// Releases the slabs that have no value in use, and what this thread keeps to itself; their values are dropped. Returns the number
    /// of slabs.
    pub fn shrink(&self) -> usize {
        self.raw.shrink()
    }

    /// The cache's counts.
    pub fn stats(&self) -> CacheStats {
        self.raw.stats()
    }

    /// Drops all values and releases the cache. Refused if there are values that have not been given back; the cache comes
    /// back with the error and goes on working.
    ///
    /// # Errors
    /// [`CacheError::Busy`] names the cache and says how many values are live.
    ///
    /// # Examples
    /// ```
    /// use fairground_allocator::Cache;
    /// use fairground_allocator::cache::CacheError;
    ///
    /// let numbers = Cache::new("numbers", || 7u64)?;
    /// let kept = numbers.alloc_raw().expect("memory");
    /// let (numbers, error) = numbers.destroy().unwrap_err();
    /// assert_eq!(error.to_string(), "the cache numbers has 1 live object; free it before the cache is destroyed");
    /// // SAFETY: from this cache, and not used again.
    /// unsafe { numbers.free_raw(kept) };
    /// assert!(numbers.destroy().is_ok());
    /// # Ok::<(), CacheError>(())
    /// ```
    pub fn destroy(self) -> Result<(), (Cache<T>, CacheError)> {
        self.raw.destroy().map_err(|(raw, error)| (Cache { raw, values: PhantomData }, error))
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("stats", &self.raw.stats()).finish()
    }
}

/// A value of a [`Cache`], in use. Dropping it gives the value back, as it is then.
pub struct Cached<'a, T: Send + 'static> {
    value: NonNull<T>,
    cache: &'a Cache<T>,
}

// SAFETY: has the value to itself, like a Box; the cache may be shared.
unsafe impl<T: Send> Send for Cached<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Cached<'_, T> {}

impl<T: Send + 'static> Cached<'_, T> {
    /// The value as a pointer, not given back any more by itself. For [`Cache::free_raw`] or [`Cached::from_raw`].
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).value
    }
}

impl<'a, T: Send + 'static> Cached<'a, T> {
    /// A handle for a pointer.
    ///
    /// # Safety
    /// The value is live, from this cache, and nobody else uses it.
    pub unsafe fn from_raw(cache: &'a Cache<T>, value: NonNull<T>) -> Cached<'a, T> {
        Cached { value, cache }
    }
}

impl<T: Send + 'static> Deref for Cached<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: constructed, and this handle's alone.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Send + 'static> DerefMut for Cached<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.value.as_mut() }
    }
}

impl<T: Send + 'static> Drop for Cached<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: from this cache, and this was the only handle.
        unsafe { self.cache.free_raw(self.value) }
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for Cached<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
