//! Typed caches on a thread's heap: how a thread gets objects from its sheaves and gives them back.
//!
//! The counterpart of `malloc.rs` and `thread_heap.rs` for the caches of `kmem`; who may touch a sheaf when is said in
//! `kmem/sheaf.rs`. Where the program's code may run (a constructor or destructor), it may come back to this thread's sheaves,
//! even to the very place that is being filled; so places are looked up anew after each such step, and none is left half
//! changed across one.

use crate::arch::heap_pointer;
use crate::direct::Strictness;
use crate::kmem::cache::{Destruct, KmemCache};
use crate::kmem::sheaf::{Batch, Home, SHEAF_SLOTS, Sheaf, Sheaves};
use crate::kmem::table::{SHEAVES, by_id};
use crate::registry::REGISTRY;
use crate::slab::slab::Slab;
use crate::thread;
use crate::thread_heap::ThreadHeap;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const NOTHING: Batch = [null_mut(); SHEAF_SLOTS];

/// The place of a cache's sheaf on this thread; it may be another's or nobody's.
#[inline(always)]
fn place(cache: &KmemCache) -> Option<&'static Sheaf> {
    // SAFETY: this thread's heap or a sentinel, which has no table; a table stays with its heap for good.
    Some(unsafe { (*heap_pointer()).sheaves.load(Relaxed).as_ref()? }.place(cache.id))
}

/// An object of the cache; null if there is no memory.
#[inline]
pub(crate) fn alloc(cache: &'static KmemCache) -> *mut u8 {
    if let Some(sheaf) = place(cache) {
        let object = sheaf.pop(cache.id);
        if !object.is_null() {
            return object;
        }
    }
    alloc_slow(cache)
}

#[cold]
#[inline(never)]
fn alloc_slow(cache: &'static KmemCache) -> *mut u8 {
    let Some(heap) = thread::current() else { return cache.alloc_direct() };
    loop {
        let Some(sheaf) = heap.claim(cache) else { return cache.alloc_direct() };
        let object = sheaf.pop(cache.id);
        if !object.is_null() {
            return object; // a destructor freed some
        }
        let slab = sheaf.current().get();
        if slab.is_null() {
            let slab = cache.hold_slab(); // a constructor may have run
            if slab.is_null() {
                return null_mut();
            }
            match place(cache) {
                Some(sheaf) if sheaf.id() == cache.id && sheaf.current().get().is_null() => sheaf.current().set(slab),
                _ => {
                    // SAFETY: just held.
                    let object = unsafe { cache.take_one(slab) };
                    if !object.is_null() {
                        return object;
                    }
                }
            }
            continue;
        }
        let mut batch = NOTHING;
        // SAFETY: held by this heap.
        let got = unsafe { cache.take(slab, &mut batch, cache.geometry().batch()) };
        if got != 0 {
            sheaf.fill(&batch[..got - 1]);
            return batch[got - 1];
        }
        sheaf.current().set(null_mut());
        // SAFETY: as above.
        if unsafe { cache.exhausted(slab) } {
            // Nothing of the program's ran: the slab is held still.
            sheaf.current().set(slab);
        }
    }
}

/// Gives an object back to its cache. A wrong pointer is noticed when its sheaf is flushed.
#[inline]
pub(crate) fn free(cache: &'static KmemCache, object: *mut u8) {
    if let Some(sheaf) = place(cache)
        && sheaf.push(cache.id, object)
    {
        return;
    }
    free_slow(cache, object);
}

#[cold]
#[inline(never)]
fn free_slow(cache: &'static KmemCache, object: *mut u8) {
    let Some(sheaf) = thread::current().and_then(|heap| heap.claim(cache)) else {
        return cache.give_back(&[object], Strictness::Report, Destruct::Now);
    };
    if sheaf.push(cache.id, object) {
        return;
    }
    let (mut batch, count) = (NOTHING, cache.geometry().batch());
    sheaf.take_oldest(count, &mut batch);
    sheaf.push(cache.id, object);
    cache.give_back(&batch[..count], Strictness::Report, Destruct::Now);
}

/// Gives what this thread keeps of the cache back, and releases its empty slabs. Returns how many.
pub(crate) fn shrink(cache: &'static KmemCache) -> usize {
    if let Some(heap) = thread::existing() {
        heap.empty_place(cache);
    }
    cache.shrink(Destruct::Now)
}

/// Gives what all threads keep of the cache back. Nobody uses the cache any more.
pub(crate) fn drain(cache: &'static KmemCache) {
    REGISTRY.for_each(|heap| heap.empty_place(cache));
}

/// Objects of the cache in the sheaves of all threads. A snapshot.
pub(crate) fn cached(cache: &'static KmemCache) -> usize {
    let mut sum = 0;
    REGISTRY.for_each(|heap| {
        sum += heap.place(cache).filter(|sheaf| sheaf.id() == cache.id).map_or(0, Sheaf::nr);
    });
    sum
}

/// A cache as the home of what lies in a sheaf that is being emptied.
struct Emptied<'a> {
    cache: &'a KmemCache,
    strictness: Strictness,
}

impl Home for Emptied<'_> {
    fn give_back(&self, objects: &[*mut u8]) {
        self.cache.give_back(objects, self.strictness, Destruct::Later);
    }

    fn let_go(&self, slab: *mut Slab) {
        // SAFETY: the current slab of a sheaf is held by its heap.
        unsafe { self.cache.let_go(slab, Destruct::Later) };
    }
}

impl ThreadHeap {
    /// The place of a cache's sheaf; it may be another's or nobody's.
    #[inline]
    fn place(&self, cache: &KmemCache) -> Option<&Sheaf> {
        // SAFETY: a table stays with its heap for good.
        Some(unsafe { self.sheaves().load(Acquire).as_ref()? }.place(cache.id))
    }

    /// This thread's sheaf of a cache, made the cache's if need be. None if there is no memory, or if the place is another's
    /// for now.
    fn claim(&self, cache: &KmemCache) -> Option<&Sheaf> {
        if self.sheaves().load(Relaxed).is_null() {
            self.sheaves().store(SHEAVES.alloc_direct().cast::<Sheaves>(), Release);
        }
        let sheaf = self.place(cache)?;
        if sheaf.id() == cache.id {
            return Some(sheaf);
        }
        if !sheaf.may_change_hands() {
            return None;
        }
        let _guard = self.sheaf_lock.lock();
        empty(sheaf, Strictness::Report);
        sheaf.claim(cache.id, cache.geometry().capacity as u32);
        Some(sheaf)
    }

    /// Empties the sheaf of a cache, if this heap has one.
    fn empty_place(&self, cache: &KmemCache) {
        let Some(sheaf) = self.place(cache) else { return };
        // Before the look: who is emptying it is waited for.
        let _guard = self.sheaf_lock.lock();
        if sheaf.id() == cache.id {
            sheaf.empty(&Emptied { cache, strictness: Strictness::Report });
        }
    }

    /// Empties all sheaves of typed caches.
    pub(crate) fn give_objects_back(&self, strictness: Strictness) {
        // SAFETY: as in `place`.
        let Some(sheaves) = (unsafe { self.sheaves().load(Acquire).as_ref() }) else { return };
        for sheaf in sheaves.all() {
            let _guard = self.sheaf_lock.lock();
            empty(sheaf, strictness);
        }
    }

    /// Looks at all that lies in the sheaves of typed caches; reports what is wrong. Changes nothing.
    pub(crate) fn check_objects(&self) {
        // SAFETY: as in `place`.
        let Some(sheaves) = (unsafe { self.sheaves().load(Acquire).as_ref() }) else { return };
        for sheaf in sheaves.all() {
            let _guard = self.sheaf_lock.lock();
            if let Some(cache) = by_id(sheaf.id()) {
                let mut batch = NOTHING;
                let nr = sheaf.look(&mut batch);
                cache.check(&batch[..nr]);
            }
        }
    }
}

/// Empties a sheaf, whosever it is. Under its heap's sheaf lock, which keeps the cache in existence.
fn empty(sheaf: &Sheaf, strictness: Strictness) {
    if let Some(cache) = by_id(sheaf.id()) {
        sheaf.empty(&Emptied { cache, strictness });
    }
}
