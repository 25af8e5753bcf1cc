//! All caches by number, and those that the allocator itself uses.
//!
//! A number finds the descriptor of a slab's cache (for reports, and for whoever empties a sheaf), and the place of the cache's
//! sheaf in each heap. The lowest free one is given out, so that programs with few caches have no two that share a place.
//! Descriptors are objects of a cache themselves, as in the kernel. Its own, and those of two more, are statics: the heaps of
//! threads are made before anything else can be.
//!
//! The lock guards the making and removing of entries, and keeps a descriptor alive for whoever looks at all.

use super::cache::{Contents, Destruct, KmemCache, Recipe};
use super::error::{CacheError, CacheName};
use super::geometry::{Geometry, OBJECT_MAX};
use super::sheaf::Sheaves;
use crate::direct::Strictness;
use crate::lock::Lock;
use crate::memblock::{MEMBLOCK, NodeId};
use crate::os::map::PAGE_SIZE;
use crate::page::{Kind, Tag};
use crate::slab::slab::Slab;
use crate::zone::buddy::MigrateType;
use crate::zone::node::node;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
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

/// Descriptors by number, less one.
type Entries = [AtomicPtr<KmemCache>; MAX_CACHES];

struct Table {
    lock: Lock,
    /// Numbers given out so far end here: nobody need look at the rest.
    end: AtomicU32,
    /// Made with the first cache: a static of this size would lie between others that every process touches.
    entries: AtomicPtr<Entries>,
}

static TABLE: Table = Table { lock: Lock::new(), end: AtomicU32::new(0), entries: AtomicPtr::new(null_mut()) };

/// The entries, if there are any yet.
fn entries() -> Option<&'static Entries> {
    // SAFETY: made once, for good.
    unsafe { TABLE.entries.load(Acquire).as_ref() }
}

/// The entries, made if need be. Under the lock.
fn entries_or_make() -> Option<&'static Entries> {
    if entries().is_none() {
        let pages = size_of::<Entries>().div_ceil(PAGE_SIZE) as u32;
        let got = node(NodeId(0))?.zone.alloc_exact(pages, 1, MigrateType::Stack)?;
        MEMBLOCK.page_map().page(got.start).set_tag(Tag::new(Kind::Reserved, 0, 0));
        let place = MEMBLOCK.address_of(got.start);
        // SAFETY: our pages.
        unsafe { place.write_bytes(0, size_of::<Entries>()) };
        TABLE.entries.store(place.cast(), Release);
    }
    entries()
}

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
            let cache = entries()?.get(id.wrapping_sub(1) as usize)?.load(Acquire);
            // SAFETY: descriptors in the table exist, and by the caller go on existing.
            unsafe { cache.as_ref() }
        }
    }
}

/// Calls `each` for every cache by its number, the allocator's own last. Under the table's lock, or in the middle of a fork.
pub(crate) fn for_each_locked(mut each: impl FnMut(&'static KmemCache)) {
    let end = TABLE.end.load(Relaxed);
    (1..=end).chain(FIRST_OWN..FIRST_OWN + NR_OWN).filter_map(by_id).for_each(&mut each);
}

/// Asks `look` about every cache and hands what it says to `each`, which runs without the lock and may take its time.
pub(crate) fn for_each<T>(look: impl Fn(&'static KmemCache) -> T, mut each: impl FnMut(T)) {
    let end = TABLE.end.load(Relaxed);
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
    let entries = entries_or_make().ok_or(CacheError::OutOfMemory)?;
    let Some(free) = entries.iter().position(|cache| cache.load(Relaxed).is_null()) else {
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
    TABLE.end.fetch_max(cache.id, Relaxed);
    entries[free].store(place, Release);
    Ok(cache)
}

/// Removes a cache that has no slabs; afterwards it does not exist.
///
/// # Safety
/// Made by [`create`], and nobody uses it again.
pub(crate) unsafe fn remove(cache: &'static KmemCache) {
    {
        let _guard = TABLE.lock.lock();
        if let Some(entries) = entries() {
            entries[cache.id as usize - 1].store(null_mut(), Relaxed);
        }
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

/// Has free pages inside the slabs of all caches given back whose free objects may lose their contents. Under the lock of the
/// table, so that fork, which takes that first, finds no slab held for it.
pub(crate) fn sweep_all(shift: u32, give_back: impl Fn(&Slab)) {
    let _guard = TABLE.lock.lock();
    for_each_locked(|cache| cache.sweep(shift, &give_back));
}
