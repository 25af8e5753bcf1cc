//! All caches by number, and those that the allocator itself uses.
//!
//! A number finds the descriptor of a slab's cache (for reports, and for whoever empties a sheaf), and the place of the cache's
//! sheaf in each heap. The lowest free one is given out, so that programs with few caches have no two that share a place.
//! Descriptors are objects of a cache themselves, as in the kernel. Its own, and those of two more, are statics: the heaps of
//! threads are made before anything else can be.
//!
//! The lock guards the making and removing of entries, and keeps a descriptor alive for whoever looks at all.

use super::cache::{Contents, KmemCache, Recipe};
use super::error::{CacheError, CacheName};
use super::geometry::{Geometry, OBJECT_MAX};
use super::sheaf::Sheaves;
use crate::direct::Strictness;
use crate::kmem::cache::Destruct;
use crate::lock::Lock;
use crate::zone::buddy::MigrateType;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Caches a program may have at a time. The kernel has some two hundred; this is a bound for programs that lose track.
pub(crate) const MAX_CACHES: usize = 1024;

/// Numbers of the allocator's own caches, above all others.
const FIRST_OWN: u32 = MAX_CACHES as u32 + 1;
const NR_OWN: u32 = 3;

/// Bytes of an object for a thread's heap: two in a slab, the most that are worth a slab. `thread_heap.rs` checks that one fits.
pub(crate) const HEAP_BYTES: usize = OBJECT_MAX;

/// Descriptors of caches.
static DESCRIPTORS: KmemCache =
    own(FIRST_OWN, b"kmem_cache", size_of::<KmemCache>(), Contents::Lose, MigrateType::Slab);

/// Heaps of threads: never unmapped, so apart from what comes and goes; only the pages used are touched.
pub(crate) static HEAPS: KmemCache = own(FIRST_OWN + 1, b"heap", HEAP_BYTES, Contents::Zeroed, MigrateType::Stack);

/// Tables of sheaves, which stay with their heap.
pub(crate) static SHEAVES: KmemCache =
    own(FIRST_OWN + 2, b"heap_sheaves", size_of::<Sheaves>(), Contents::Zeroed, MigrateType::Stack);

const fn own(id: u32, name: &[u8], size: usize, contents: Contents, migrate: MigrateType) -> KmemCache {
    let align = if size < 4096 { 64 } else { 4096 };
    let (Ok(name), Ok(geometry)) = (CacheName::new(name), Geometry::new(size, align, true, false)) else {
        panic!("not a cache");
    };
    KmemCache::new(id, Recipe { name, geometry, contents, constructor: None, destructor: None, migrate })
}

struct Table {
    lock: Lock,
    /// Numbers given out so far end below this one: nobody need look at the rest.
    end: AtomicUsize,
    /// By number, less one.
    caches: [AtomicPtr<KmemCache>; MAX_CACHES],
}

static TABLE: Table =
    Table { lock: Lock::new(), end: AtomicUsize::new(0), caches: [const { AtomicPtr::new(null_mut()) }; MAX_CACHES] };

/// The lock, for `fork.rs`.
pub(crate) fn lock() -> &'static Lock {
    &TABLE.lock
}

/// The cache of a number. The caller knows why it cannot go meanwhile, or is about to abort.
pub(crate) fn by_id(id: u32) -> Option<&'static KmemCache> {
    match id {
        FIRST_OWN => Some(&DESCRIPTORS),
        id if id == FIRST_OWN + 1 => Some(&HEAPS),
        id if id == FIRST_OWN + 2 => Some(&SHEAVES),
        id => {
            let cache = TABLE.caches.get(id.wrapping_sub(1) as usize)?.load(Acquire);
            // SAFETY: descriptors in the table exist, and by the caller go on existing.
            unsafe { cache.as_ref() }
        }
    }
}

/// Calls `each` for every cache by its number, the allocator's own last. Under the table's lock, or in the middle of a fork.
pub(crate) fn for_each_locked(mut each: impl FnMut(&'static KmemCache)) {
    let end = TABLE.end.load(Relaxed) as u32;
    (1..=end).chain(FIRST_OWN..FIRST_OWN + NR_OWN).filter_map(by_id).for_each(&mut each);
}

/// Asks `look` about every cache and hands what it says to `each`, which runs without the lock and may take its time.
pub(crate) fn for_each<T>(look: impl Fn(&'static KmemCache) -> T, mut each: impl FnMut(T)) {
    let end = TABLE.end.load(Relaxed) as u32;
    for id in (1..=end).chain(FIRST_OWN..FIRST_OWN + NR_OWN) {
        let seen = {
            let _guard = TABLE.lock.lock();
            by_id(id).map(&look)
        };
        if let Some(seen) = seen {
            each(seen);
        }
    }
}

/// Makes a cache.
pub(crate) fn create(recipe: Recipe) -> Result<&'static KmemCache, CacheError> {
    let _guard = TABLE.lock.lock();
    let Some(free) = TABLE.caches.iter().position(|cache| cache.load(Relaxed).is_null()) else {
        return Err(CacheError::TooMany);
    };
    let place = DESCRIPTORS.alloc_direct().cast::<KmemCache>();
    if place.is_null() {
        return Err(CacheError::OutOfMemory);
    }
    // SAFETY: a new object of the right size and alignment, which nobody knows.
    let cache = unsafe {
        place.write(KmemCache::new(free as u32 + 1, recipe));
        &*place
    };
    TABLE.end.fetch_max(free + 1, Relaxed);
    TABLE.caches[free].store(place, Release);
    Ok(cache)
}

/// Removes a cache that has no slabs; afterwards it does not exist.
///
/// # Safety
/// Made by [`create`], and nobody uses it again.
pub(crate) unsafe fn remove(cache: &'static KmemCache) {
    {
        let _guard = TABLE.lock.lock();
        TABLE.caches[cache.id as usize - 1].store(null_mut(), Relaxed);
    }
    let place = core::ptr::from_ref(cache).cast_mut().cast();
    DESCRIPTORS.give_back(&[place], Strictness::Report, Destruct::Now);
}

/// Releases the empty slabs of all caches, but for those whose objects have a destructor.
pub(crate) fn shrink_all() {
    let _guard = TABLE.lock.lock();
    for_each_locked(|cache| {
        cache.shrink(Destruct::Later);
    });
}
