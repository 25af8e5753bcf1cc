//! One typed cache: its slabs, its counts, and what it says of wrong pointers. See the essay in `mod.rs`.

use super::error::CacheName;
use super::geometry::Geometry;
use super::sheaf::{Batch, SHEAF_SLOTS};
use super::table;
use crate::direct::Strictness;
use crate::lock::Lock;
use crate::memblock::{MEMBLOCK, NodeId, granule};
use crate::page::{Kind, PageIndex, Tag};
use crate::report::{Misuse, cache_misuse};
use crate::slab::cache::{Backing, Cache as SlabList};
use crate::slab::slab::{OWN_WORDS, SLAB_BYTES, Slab, State};
use crate::zone::buddy::MigrateType;
use crate::zone::node::{SLAB_ORDER, node, node_of, slab_at, slab_page};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Empty slabs kept on the list. The size classes keep one, and only if the list has no other; but constructed objects are
/// worth more than raw memory: in a program that passes objects between threads some slab is always becoming empty.
const KEEP: u32 = 3;

/// Word of a slab's head that holds the cache's number: a link of the page descriptor, which slabs do not use.
const HEAD_ID: usize = 2;

/// What makes an object of raw memory.
#[derive(Clone, Copy, Debug)]
pub struct Constructor {
    /// Called with the object and the context, on whatever thread needs a slab.
    pub call: unsafe extern "C" fn(object: *mut u8, context: *mut c_void),
    /// Passed on.
    pub context: *mut c_void,
}

/// What unmakes an object before its slab goes.
pub(crate) type Destructor = unsafe extern "C" fn(object: *mut u8);

/// Whether the program's destructors may run now; see 'When the program's code runs' in `mod.rs`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destruct {
    Now,
    Later,
}

/// What the allocator may do with the memory of free objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Nothing: they are kept as they are.
    Keep,
    /// It may give whole free pages back, which read as zeroes afterwards.
    Lose,
    /// Objects that never come back; fresh ones are all zeroes. The allocator's own.
    Zeroed,
}

/// What a cache is made of.
pub(crate) struct Recipe {
    pub(crate) name: CacheName,
    pub(crate) geometry: Geometry,
    pub(crate) contents: Contents,
    pub(crate) constructor: Option<Constructor>,
    pub(crate) destructor: Option<Destructor>,
    pub(crate) migrate: MigrateType,
}

/// The descriptor of a cache.
#[repr(C, align(64))]
pub(crate) struct KmemCache {
    slabs: SlabList,
    /// Its number, from 1.
    pub(crate) id: u32,
    pub(crate) recipe: Recipe,
    /// Slabs made so far, for their colours.
    nr_made: AtomicU32,
    /// Slabs in existence.
    nr_slabs: AtomicU32,
    /// Slabs on the list that were empty when they got there, and are marked. Changes with the mark.
    nr_empty: AtomicU32,
    /// Slabs from which some thread fills its sheaf.
    nr_held: AtomicU32,
    /// Objects taken from slabs and not given back: in the program's hands or in sheaves.
    taken: AtomicUsize,
}

// SAFETY: all fields are constant, or atomic, or guard themselves; the constructor's context is the concern of who gave it.
unsafe impl Sync for KmemCache {}
// SAFETY: as above.
unsafe impl Send for KmemCache {}

/// Counts of a cache. A snapshot: taken without stopping anybody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) slabs: usize,
    pub(crate) listed: usize,
    pub(crate) empty: usize,
    pub(crate) held: usize,
    pub(crate) taken: usize,
}

impl KmemCache {
    /// A cache without slabs.
    pub(crate) const fn new(id: u32, recipe: Recipe) -> KmemCache {
        KmemCache {
            slabs: SlabList::new(),
            id,
            recipe,
            nr_made: AtomicU32::new(0),
            nr_slabs: AtomicU32::new(0),
            nr_empty: AtomicU32::new(0),
            nr_held: AtomicU32::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// The lock of its list, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        self.slabs.lock()
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.recipe.geometry
    }

    fn backing(&self, destruct: Destruct) -> ObjectSlabs<'_> {
        let waits = self.recipe.destructor.is_some() && destruct == Destruct::Later;
        ObjectSlabs { cache: self, keep: if waits { u32::MAX } else { KEEP } }
    }

    /// A slab for the caller to take objects from, from the list or new; null if there is no memory. May call the constructor.
    pub(crate) fn hold_slab(&self) -> *mut Slab {
        let slab = self.slabs.hold_slab(&self.backing(Destruct::Now));
        if !slab.is_null() {
            self.nr_held.fetch_add(1, Relaxed);
            self.unmark(slab);
        }
        slab
    }

    /// A slab is not an empty one on the list any more. Under the list's lock, or by its holder.
    fn unmark(&self, slab: *mut Slab) {
        // SAFETY: by the caller it exists, and nobody else touches the mark.
        if unsafe { (*slab).counted.replace(0) } != 0 {
            self.nr_empty.fetch_sub(1, Relaxed);
        }
    }

    /// Takes up to `want` objects to the front of `batch`, the last of them with the lowest address.
    ///
    /// # Safety
    /// The caller holds `slab`; `want` is at most [`SHEAF_SLOTS`].
    pub(crate) unsafe fn take(&self, slab: *mut Slab, batch: &mut Batch, want: usize) -> usize {
        debug_assert!(want <= SHEAF_SLOTS);
        // SAFETY: by the caller.
        let got = unsafe { (*slab).take(batch.as_mut_ptr().add(want), want) };
        batch.copy_within(want - got..want, 0);
        self.taken.fetch_add(got, Relaxed);
        got
    }

    /// The holder found nothing free in its slab. True if it holds it still, for something came back meanwhile. May call the
    /// destructor.
    ///
    /// # Safety
    /// The caller holds `slab`.
    pub(crate) unsafe fn exhausted(&self, slab: *mut Slab) -> bool {
        // SAFETY: by the caller.
        let held = unsafe { self.slabs.exhausted(slab, &self.backing(Destruct::Now)) };
        if !held {
            self.nr_held.fetch_sub(1, Relaxed);
        }
        held
    }

    /// The holder needs its slab no more. Does nothing if nobody holds it: fork may have interrupted a change of slabs.
    ///
    /// # Safety
    /// If `slab` is held, then by the caller.
    pub(crate) unsafe fn let_go(&self, slab: *mut Slab, destruct: Destruct) {
        let backing = self.backing(destruct);
        // SAFETY: the record's memory is always readable.
        if backing.is_ours(slab) && unsafe { (*slab).look() }.state == State::Current {
            self.nr_held.fetch_sub(1, Relaxed);
            // SAFETY: by the caller.
            unsafe { self.slabs.let_go(slab, &backing) };
        }
    }

    /// One object without a sheaf; null if there is no memory. For threads that have no heap any more, and for what the
    /// allocator itself needs.
    pub(crate) fn alloc_direct(&self) -> *mut u8 {
        loop {
            let slab = self.hold_slab();
            if slab.is_null() {
                return null_mut();
            }
            // SAFETY: just held.
            let object = unsafe { self.take_one(slab) };
            if !object.is_null() {
                return object;
            }
        }
    }

    /// Takes one object of a slab and lets go of it; null if it had none.
    ///
    /// # Safety
    /// The caller holds `slab`.
    pub(crate) unsafe fn take_one(&self, slab: *mut Slab) -> *mut u8 {
        let mut batch: Batch = [null_mut(); SHEAF_SLOTS];
        // SAFETY: by the caller throughout.
        unsafe {
            if self.take(slab, &mut batch, 1) != 0 || self.exhausted(slab) {
                self.let_go(slab, Destruct::Now);
            }
        }
        batch[0]
    }

    /// Objects back to their slabs. This is where a wrong pointer shows at the latest.
    pub(crate) fn give_back(&self, objects: &[*mut u8], strictness: Strictness, destruct: Destruct) {
        // Objects of one slab often follow each other: their count is subtracted once.
        let (mut run, mut count) = (null_mut::<Slab>(), 0);
        for &object in objects {
            let (slab, number) = match self.find(object.addr()) {
                Ok(found) => found,
                // Named twice, and its slab went with the last object.
                Err(_) if strictness == Strictness::Tolerate => continue,
                Err(what) => {
                    cache_misuse(&self.recipe.name, object.addr(), what);
                    continue;
                }
            };
            if !core::ptr::eq(slab, run) {
                self.settle(run, count, destruct);
                (run, count) = (slab, 0);
            }
            // SAFETY: the object counts as in use until `settle`, so the slab exists.
            match unsafe { (*slab).put(number / 64, 1 << (number % 64)) } {
                Ok(()) => count += 1,
                Err(_) if strictness == Strictness::Tolerate => {}
                Err(_) => {
                    let what = Misuse::DoubleFree { size: self.geometry().size as usize };
                    cache_misuse(&self.recipe.name, object.addr(), what)
                }
            }
        }
        self.settle(run, count, destruct);
    }

    /// Subtracts objects from those in use; the slab may be gone afterwards.
    fn settle(&self, slab: *mut Slab, count: u32, destruct: Destruct) {
        if count != 0 {
            self.taken.fetch_sub(count as usize, Relaxed);
            // SAFETY: `count` objects of it count as in use until here.
            let found = unsafe { (*slab).settle(count) };
            self.slabs.after_free(slab, found, &self.backing(destruct));
        }
    }

    /// The slab and the number of an object of this cache.
    fn find(&self, address: usize) -> Result<(*mut Slab, usize), Misuse> {
        let index = MEMBLOCK.index_of(address).ok_or(Misuse::Foreign)?;
        match MEMBLOCK.granule(index).load(Acquire) {
            granule::CACHE => {}
            granule::NONE => return Err(Misuse::NotAllocated),
            _ => return Err(Misuse::OfMalloc),
        }
        let slab = slab_at(index);
        if id_of(slab) != self.id {
            return Err(Misuse::OfCache { name: name_at(index) });
        }
        // SAFETY: a slab of this cache; the caller has an object of it, or reports a wrong pointer.
        let base = unsafe { (*slab).base() }.addr();
        let offset = address.wrapping_sub(base);
        let g = self.geometry();
        if let Some(number) = g.number_at(offset) {
            return Ok((slab, number));
        }
        let number = if offset < SLAB_BYTES { g.number_around(offset) } else { usize::MAX };
        if number >= g.objects as usize {
            return Err(Misuse::NotAllocated);
        }
        Err(Misuse::Interior { start: base + number * g.stride as usize, size: g.size as usize })
    }

    /// Reports what in a sheaf is not an object in use of this cache, or is there twice.
    pub(crate) fn check(&self, objects: &[*mut u8]) {
        for (at, object) in objects.iter().enumerate() {
            let what = match self.find(object.addr()) {
                Err(what) => what,
                // SAFETY: what lies in a sheaf counts as in use, so its slab exists.
                Ok((slab, number)) if unsafe { (*slab).is_free(number) } || objects[..at].contains(object) => {
                    Misuse::DoubleFree { size: self.geometry().size as usize }
                }
                Ok(_) => continue,
            };
            cache_misuse(&self.recipe.name, object.addr(), what);
        }
    }

    /// Releases all empty slabs; returns how many. With [`Destruct::Later`] those with destructors stay.
    pub(crate) fn shrink(&self, destruct: Destruct) -> usize {
        if self.recipe.destructor.is_some() && destruct == Destruct::Later {
            return 0;
        }
        self.slabs.shrink(&self.backing(destruct))
    }

    /// Has free pages inside partial slabs given back, if free objects may lose their contents.
    pub(crate) fn sweep(&self, shift: u32, give_back: impl Fn(&Slab)) {
        if self.recipe.contents == Contents::Lose {
            self.slabs.sweep_all(&self.backing(Destruct::Later), shift, give_back);
        }
    }

    /// See [`Counts`].
    pub(crate) fn counts(&self) -> Counts {
        let (listed, empty) = self.slabs.count();
        Counts {
            slabs: self.nr_slabs.load(Relaxed) as usize,
            listed: listed as usize,
            empty: empty as usize,
            held: self.nr_held.load(Relaxed) as usize,
            taken: self.taken.load(Relaxed),
        }
    }
}

/// The number of the cache a slab belongs to, if its granule byte says it is a typed cache's.
fn id_of(slab: *mut Slab) -> u32 {
    // SAFETY: the record's memory is always readable, and the word constant while the slab exists.
    unsafe { (*slab).head[HEAD_ID] }
}

/// The name of the cache that a page of a typed cache's slab belongs to; for reports.
#[cold]
pub(crate) fn name_at(index: PageIndex) -> CacheName {
    table::by_id(id_of(slab_at(index))).map_or(CacheName::UNKNOWN, |cache| cache.recipe.name)
}

/// The layers below a cache, as the list of slabs wants them.
struct ObjectSlabs<'a> {
    cache: &'a KmemCache,
    keep: u32,
}

impl Backing for ObjectSlabs<'_> {
    fn new_slab(&self) -> *mut Slab {
        let cache = self.cache;
        let Recipe { geometry, constructor, .. } = &cache.recipe;
        let Some(pages) = node(NodeId(0)).and_then(|node| node.zone.alloc_pages(SLAB_ORDER, cache.recipe.migrate))
        else {
            return null_mut();
        };
        let start = MEMBLOCK.address_of(pages.start);
        if cache.recipe.contents == Contents::Zeroed && !pages.zeroed {
            // SAFETY: new pages of ours.
            unsafe { start.write_bytes(0, SLAB_BYTES) };
        }
        let base = start.wrapping_add(geometry.colour(cache.nr_made.fetch_add(1, Relaxed)));
        if let Some(constructor) = constructor {
            for number in 0..geometry.objects as usize {
                // SAFETY: raw memory for an object; what the constructor may do is the promise of who gave it.
                unsafe { (constructor.call)(base.add(number * geometry.stride as usize), constructor.context) };
            }
        }
        let outside = geometry.objects as usize > OWN_WORDS * 64;
        let more_bits = if outside { MEMBLOCK.granule_bitmap(pages.start).cast() } else { null_mut() };
        let mut head = [Tag::new(Kind::Slab, 0, granule::CACHE).0, 0, 0, 0];
        head[HEAD_ID] = cache.id;
        let slab = slab_at(pages.start);
        // SAFETY: the granule is ours alone, so are its descriptors and its entry in the bitmap table.
        unsafe { Slab::init(slab, head, base, geometry.stride, geometry.objects, more_bits) };
        cache.nr_slabs.fetch_add(1, Relaxed);
        // Release: whoever reads this byte reads the record as it is now.
        MEMBLOCK.granule(pages.start).store(granule::CACHE, Release);
        slab
    }

    fn is_ours(&self, slab: *mut Slab) -> bool {
        MEMBLOCK.granule(slab_page(slab)).load(Acquire) == granule::CACHE && id_of(slab) == self.cache.id
    }

    fn goes(&self, slab: *mut Slab, _listed: u32) -> bool {
        // SAFETY: on the list, under the lock.
        let counted = unsafe { &(*slab).counted };
        if counted.get() != 0 {
            return false;
        }
        if self.cache.nr_empty.load(Relaxed) >= self.keep {
            return true;
        }
        counted.set(1);
        self.cache.nr_empty.fetch_add(1, Relaxed);
        false
    }

    fn retire(&self, slab: *mut Slab) {
        self.cache.unmark(slab);
        MEMBLOCK.granule(slab_page(slab)).store(granule::NONE, Relaxed);
        self.cache.nr_slabs.fetch_sub(1, Relaxed);
    }

    fn release(&self, slab: *mut Slab) {
        if let Some(destructor) = self.cache.recipe.destructor {
            // SAFETY: retired, so the slab is the caller's alone; all its objects are constructed and free.
            unsafe {
                let base = (*slab).base();
                for number in 0..self.cache.geometry().objects as usize {
                    destructor(base.add(number * self.cache.geometry().stride as usize));
                }
            }
        }
        let start = slab_page(slab);
        // SAFETY: as above.
        unsafe { Slab::erase(slab) };
        node_of(start).zone.free_exact(start, SLAB_ORDER.pages());
    }
}
