//! A thread's sheaves of typed caches, and who may touch them.
//!
//! A heap has one *table* of [`NR_SHEAVES`] sheaves, made when its thread first uses a typed cache. The cache with the number
//! `id` has the sheaf `id % NR_SHEAVES`: as long as there are no more caches than that, each has its own. More share: a
//! cache that finds another's sheaf in its place is served without one for a while ([`PATIENCE`]) and then takes the place,
//! so what a thread can sit on is bounded whatever the number of caches.
//!
//! # The protocol
//!
//! | step | who | how |
//! |---|---|---|
//! | pop, push, fill, flush | the owning thread, if the sheaf's `id` is the cache's | no lock |
//! | empty: evict, trim, thread exit | the owning thread | under the heap's sheaf lock |
//! | empty: the cache is destroyed | the destroying thread | under the heap's sheaf lock |
//! | claim: `id` from 0 to the cache's | the owning thread | under the heap's sheaf lock |
//!
//! *Nobody uses a cache while it is destroyed* is the contract. So of a sheaf whose `id` is that of a cache under destruction
//! the owner takes only locked steps, and those the lock orders: an eviction or a thread exit that has begun is waited
//! for, and has given its objects back when the lock is free again; so the count of live objects that follows is exact. What the
//! owner pushed earlier happened before the destruction, by whatever told the destroyer that the cache is not used any
//! more. `id` alone is read by the owner without the lock while the destroyer writes it (from `id` to 0): the owner is
//! looking for another cache then, finds either value wrong, and goes to the lock. When the number is given to a new cache,
//! the table of caches orders that after the sheaf was emptied.
//!
//! The same lock keeps a descriptor alive for who empties a sheaf: a cache is gone only after its destroyer has been at every
//! heap, and there found its `id` withdrawn.
//!
//! Nothing of the program's runs under the lock: slabs whose objects have a destructor stay on their list then (`cache.rs`).
//!
//! # Fork
//!
//! As in `thread_heap.rs`: `nr` is lowered before the objects above it can be reached by others, and raised after an object is
//! in its slot (release), so that the child finds no live object in the sheaves of threads that it does not have. The locked
//! steps are never caught half way, for `fork.rs` takes the locks.

use crate::slab::slab::Slab;
use crate::sync::{AtomicU32, Cell, Ordering};
use core::ptr::null_mut;

/// Objects a sheaf has room for: with its head it is 512 bytes.
pub(crate) const SHEAF_SLOTS: usize = if cfg!(loom) { 2 } else { 61 };

/// Sheaves of a heap. More caches than this are rare; the table is 32 KiB, of which only what is used is touched.
pub(crate) const NR_SHEAVES: usize = 64;

/// How often a cache that finds its place taken is served without a sheaf before it takes the place: changing hands costs
/// as much as some tens of objects without a sheaf.
const PATIENCE: u32 = 32;

/// What a sheaf needs of the cache it belongs to.
pub(crate) trait Home {
    /// Objects back to their slabs.
    fn give_back(&self, objects: &[*mut u8]);
    /// The slab that the sheaf was filled from, not needed any more.
    fn let_go(&self, slab: *mut Slab);
}

/// Room for a sheaf's objects on their way.
pub(crate) type Batch = [*mut u8; SHEAF_SLOTS];

/// See the module's text. All zeroes is a sheaf that belongs to no cache.
#[repr(C)]
pub(crate) struct Sheaf {
    id: AtomicU32,
    /// Objects in it. Written by whoever may take the step; others only look, for statistics.
    nr: AtomicU32,
    capacity: Cell<u32>,
    /// How often another cache wanted the place since this one took it. The owner's.
    contested: Cell<u32>,
    /// The slab it is filled from.
    current: Cell<*mut Slab>,
    slots: [Cell<*mut u8>; SHEAF_SLOTS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Sheaf>() == 512);

impl Sheaf {
    /// One that belongs to nobody.
    #[cfg(loom)]
    pub(crate) fn new() -> Sheaf {
        Sheaf {
            id: AtomicU32::new(0),
            nr: AtomicU32::new(0),
            capacity: Cell::new(0),
            contested: Cell::new(0),
            current: Cell::new(null_mut()),
            slots: core::array::from_fn(|_| Cell::new(null_mut())),
        }
    }

    /// The cache it belongs to; 0 if none.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Objects in it.
    #[inline]
    pub(crate) fn nr(&self) -> usize {
        self.nr.load(Ordering::Relaxed) as usize
    }

    /// Takes the newest object; null if there is none, or if the sheaf is not this cache's.
    #[inline]
    pub(crate) fn pop(&self, id: u32) -> *mut u8 {
        let top = self.nr().wrapping_sub(1); // none becomes huge
        match self.slots.get(top) {
            Some(slot) if self.id() == id => {
                let object = slot.get();
                self.nr.store(top as u32, Ordering::Relaxed);
                object
            }
            _ => null_mut(),
        }
    }

    /// Puts an object on top; false if there is no room, or if the sheaf is not this cache's.
    #[inline]
    pub(crate) fn push(&self, id: u32, object: *mut u8) -> bool {
        if self.id() != id {
            return false;
        }
        let nr = self.nr();
        match self.slots.get(nr) {
            Some(slot) if nr < self.capacity.get() as usize => {
                slot.set(object);
                self.nr.store(nr as u32 + 1, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    /// Puts objects on top, for which there is room. Only for the owner, as the cache's user.
    pub(crate) fn fill(&self, objects: &[*mut u8]) {
        let nr = self.nr();
        for (slot, &object) in self.slots[nr..].iter().zip(objects) {
            slot.set(object);
        }
        self.nr.store((nr + objects.len()) as u32, Ordering::Release);
    }

    /// Takes the oldest `count` objects out. Only for the owner, as the cache's user.
    pub(crate) fn take_oldest(&self, count: usize, batch: &mut Batch) {
        let nr = self.nr();
        for (place, slot) in batch[..count].iter_mut().zip(&self.slots) {
            *place = slot.get();
        }
        for at in count..nr {
            self.slots[at - count].set(self.slots[at].get());
        }
        self.nr.store((nr - count) as u32, Ordering::Release);
    }

    /// The slab it is filled from, null if none. Only for the owner, as the cache's user.
    pub(crate) fn current(&self) -> &Cell<*mut Slab> {
        &self.current
    }

    /// Whether a cache that is not its own may have it now. Only for the owner.
    pub(crate) fn may_change_hands(&self) -> bool {
        if self.id() == 0 || self.contested.get() >= PATIENCE {
            return true;
        }
        self.contested.set(self.contested.get() + 1);
        false
    }

    /// Makes it a cache's. It belongs to none. Only for the owner, under the heap's sheaf lock.
    pub(crate) fn claim(&self, id: u32, capacity: u32) {
        debug_assert!(self.id() == 0 && self.nr() == 0);
        self.contested.set(0);
        self.capacity.set(capacity);
        self.id.store(id, Ordering::Relaxed);
    }

    /// Gives all it has to its cache and leaves it without one. Under the heap's sheaf lock; see the module's text.
    pub(crate) fn empty(&self, home: &impl Home) {
        let nr = self.nr();
        let mut objects: Batch = [null_mut(); SHEAF_SLOTS];
        for (place, slot) in objects[..nr].iter_mut().zip(&self.slots) {
            *place = slot.get();
        }
        self.nr.store(0, Ordering::Release);
        let slab = self.current.replace(null_mut());
        home.give_back(&objects[..nr]);
        if !slab.is_null() {
            home.let_go(slab);
        }
        self.id.store(0, Ordering::Relaxed);
    }

    /// Copies what is in it. Only for the owner.
    pub(crate) fn look(&self, batch: &mut Batch) -> usize {
        let nr = self.nr();
        for (place, slot) in batch[..nr].iter_mut().zip(&self.slots) {
            *place = slot.get();
        }
        nr
    }
}

/// The sheaves of one heap.
#[repr(C, align(4096))]
pub(crate) struct Sheaves([Sheaf; NR_SHEAVES]);

// SAFETY: see the protocol.
unsafe impl Sync for Sheaves {}

impl Sheaves {
    /// The place of a cache's sheaf.
    #[inline]
    pub(crate) fn place(&self, id: u32) -> &Sheaf {
        &self.0[id as usize % NR_SHEAVES]
    }

    /// All places.
    pub(crate) fn all(&self) -> &[Sheaf] {
        &self.0
    }
}
