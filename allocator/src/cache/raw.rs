//! [`RawCache`]: objects of a size and an alignment, as pointers.

use super::CacheStats;
use crate::block::out_of_memory;
use crate::heap_sheaves;
use crate::kmem::cache::{Constructor, Contents, Destructor, KmemCache, Recipe};
use crate::kmem::error::{CacheError, CacheName};
use crate::kmem::geometry::Geometry;
use crate::kmem::table;
use crate::trim::reclaim;
use crate::zone::buddy::MigrateType;
use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ops::BitOr;
use core::ptr::NonNull;

/// What a cache is to do otherwise than usual. Combined with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFlags(u32);

impl CacheFlags {
    /// Nothing.
    pub const NONE: CacheFlags = CacheFlags(0);
    /// Every slab's first object at the slab's start. Usually it moves by 64 bytes from slab to slab, through the space that is
    /// left, so that the first objects do not compete for the same sets of the processor's caches.
    pub const NO_COLOUR: CacheFlags = CacheFlags(1);
    /// No object up to 64 bytes lies in two cache lines, and larger ones begin with one: for objects that different
    /// threads write to.
    pub const CACHE_LINE: CacheFlags = CacheFlags(2);
    /// Free objects keep their contents though the cache has no constructor. Usually the pages that lie in free objects of such a cache
    /// may be given back to the system, and read as zeroes then.
    pub const KEEP_CONTENTS: CacheFlags = CacheFlags(4);

    const ALL: u32 = 7;

    /// The flags a number stands for; None if it has bits that stand for nothing.
    pub const fn from_bits(bits: u32) -> Option<CacheFlags> {
        if bits & !CacheFlags::ALL == 0 { Some(CacheFlags(bits)) } else { None }
    }

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: CacheFlags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for CacheFlags {
    type Output = CacheFlags;

    fn bitor(self, other: CacheFlags) -> CacheFlags {
        CacheFlags(self.0 | other.0)
    }
}

/// A cache of objects of one size and alignment.
///
/// May be shared between threads. Dropping it destroys it as [`RawCache::destroy`] does; if objects are live then, they and the
/// cache stay for good, and show in the statistics.
///
/// # Examples
/// ```
/// use fairground_allocator::cache::{CacheFlags, RawCache};
///
/// let tasks = RawCache::new("task", 320, 64, CacheFlags::CACHE_LINE)?;
/// let task = tasks.alloc().expect("memory");
/// assert!(task.addr().get() % 64 == 0);
/// // SAFETY: from this cache, and not used again.
/// unsafe { tasks.free(task) };
/// assert_eq!(tasks.stats().live, 0);
/// assert!(tasks.destroy().is_ok());
/// # Ok::<(), fairground_allocator::cache::CacheError>(())
/// ```
#[derive(Debug)]
pub struct RawCache {
    cache: NonNull<KmemCache>,
}

// SAFETY: the descriptor is made for use by all threads; that constructors may run on any is asked of who gives them.
unsafe impl Send for RawCache {}
// SAFETY: as above.
unsafe impl Sync for RawCache {}

impl RawCache {
    /// A cache of objects without a constructor: fresh ones have unspecified contents.
    pub fn new(name: &str, size: usize, align: usize, flags: CacheFlags) -> Result<RawCache, CacheError> {
        RawCache::make(name.as_bytes(), size, align, flags, None, None)
    }

    /// A cache whose objects are made by a constructor, once each, when memory for a slab of them is obtained: in some thread's
    /// `alloc`, several at a time. It must not unwind, nor use this cache; other caches, and allocating, are allowed.
    ///
    /// # Safety
    /// The constructor may be called from any thread with its context and with raw memory for an object, as long as the
    /// cache exists.
    pub unsafe fn with_constructor(
        name: &str,
        size: usize,
        align: usize,
        flags: CacheFlags,
        constructor: Constructor,
    ) -> Result<RawCache, CacheError> {
        RawCache::make(name.as_bytes(), size, align, flags, Some(constructor), None)
    }

    pub(super) fn make(
        name: &[u8],
        size: usize,
        align: usize,
        flags: CacheFlags,
        constructor: Option<Constructor>,
        destructor: Option<Destructor>,
    ) -> Result<RawCache, CacheError> {
        let keep = constructor.is_some() || flags.contains(CacheFlags::KEEP_CONTENTS);
        let (colouring, line) = (!flags.contains(CacheFlags::NO_COLOUR), flags.contains(CacheFlags::CACHE_LINE));
        let recipe = || -> Result<Recipe, CacheError> {
            Ok(Recipe {
                name: CacheName::new(name)?,
                geometry: Geometry::new(size, align, colouring, line)?,
                contents: if keep { Contents::Keep } else { Contents::Lose },
                constructor,
                destructor,
                migrate: MigrateType::Slab,
            })
        };
        let cache = match table::create(recipe()?) {
            Err(CacheError::OutOfMemory) if reclaim() => table::create(recipe()?)?,
            result => result?,
        };
        Ok(RawCache { cache: NonNull::from(cache) })
    }

    #[inline]
    fn cache(&self) -> &'static KmemCache {
        // SAFETY: exists until `destroy`, which takes `self`; nothing of ours keeps the reference beyond a call.
        unsafe { self.cache.as_ref() }
    }

    /// An object; None if there is no memory, and then `errno` is `ENOMEM`.
    #[inline]
    pub fn alloc(&self) -> Option<NonNull<u8>> {
        let object = heap_sheaves::alloc(self.cache());
        NonNull::new(object).or_else(|| self.alloc_again())
    }

    #[cold]
    #[inline(never)]
    fn alloc_again(&self) -> Option<NonNull<u8>> {
        let object = if reclaim() { heap_sheaves::alloc(self.cache()) } else { core::ptr::null_mut() };
        NonNull::new(object).or_else(|| NonNull::new(out_of_memory()))
    }

    /// Gives an object back. It keeps what is in it for the next user.
    ///
    /// # Safety
    /// The object is from this cache's `alloc`, and nobody uses it any more. If the cache has a constructor, it is in a state
    /// that the next user expects.
    #[inline]
    pub unsafe fn free(&self, object: NonNull<u8>) {
        heap_sheaves::free(self.cache(), object.as_ptr());
    }

    /// Releases the slabs that have no object in use, and what this thread keeps to itself. Returns the number of slabs.
    pub fn shrink(&self) -> usize {
        heap_sheaves::shrink(self.cache())
    }

    /// The cache's counts.
    pub fn stats(&self) -> CacheStats {
        CacheStats::of(self.cache())
    }

    /// Destroys the cache and releases its memory. Refused with [`CacheError::Busy`] if objects have not been given back; the
    /// cache comes back with the error and goes on working.
    ///
    /// In a child of fork, objects that other threads of the parent had in hand count as live.
    ///
    /// # Errors
    /// `Busy` says how many objects are live.
    pub fn destroy(self) -> Result<(), (RawCache, CacheError)> {
        let this = ManuallyDrop::new(self);
        this.destroy_in_place().map_err(|error| (ManuallyDrop::into_inner(this), error))
    }

    /// After success the cache must not be used, nor dropped.
    fn destroy_in_place(&self) -> Result<(), CacheError> {
        let cache = self.cache();
        heap_sheaves::drain(cache);
        heap_sheaves::shrink(cache);
        let counts = cache.counts();
        if counts.taken != 0 {
            return Err(CacheError::Busy { name: cache.recipe.name, live: counts.taken });
        }
        // In a child of fork a slab may be left that another thread of the parent was about to fill its sheaf from. Nobody can
        // tell what it had taken; the slab stays, and with it the cache's number.
        if counts.slabs == 0 {
            // SAFETY: whoever has `self` promises that nobody else uses the cache, and it does not do so after success.
            unsafe { table::remove(cache) };
        }
        Ok(())
    }

    /// The cache as a pointer, for foreign code. [`RawCache::from_raw`] makes it a cache again.
    pub fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).cache.cast()
    }

    /// A cache from its pointer.
    ///
    /// # Safety
    /// From [`RawCache::into_raw`]; of all caches made from the same pointer at most one is dropped or destroyed, after the last
    /// use of the others, which are forgotten.
    #[inline]
    pub const unsafe fn from_raw(cache: NonNull<c_void>) -> RawCache {
        RawCache { cache: cache.cast() }
    }
}

impl Drop for RawCache {
    fn drop(&mut self) {
        // With live objects it stays: nobody can reach it, but the objects can be reached.
        let _ = self.destroy_in_place();
    }
}
