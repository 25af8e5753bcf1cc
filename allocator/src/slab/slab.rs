//! One slab: 64 KiB of objects of one size, and a bitmap in which 1 means free.
//!
//! The record lies over the page descriptors of the slab's own sixteen pages: out of line, so no overflow of an object
//! reaches it, and free of cost. Objects carry no links: any thread gives objects back with one `fetch_or` a word, and a
//! bit that was already set is a double free.
//!
//! # States
//!
//! `state` is one atomic word: two bits of state, and above them the number of objects in use, plus one (the *pin*) while a
//! heap holds the slab.
//!
//! | state | meaning | who may take objects |
//! |---|---|---|
//! | `Current` | held by exactly one heap | that heap |
//! | `Partial` | on the list of its cache | nobody |
//! | `Full` | on no list; the holder found no free object | nobody |
//!
//! | move | who | how |
//! |---|---|---|
//! | new -> Current | creator | before the granule byte is published |
//! | Partial -> Current | taker | under the cache's lock, leaving the list |
//! | Current -> Full | holder | one `fetch_add` (AcqRel), then the holder looks again, see below |
//! | Full -> Partial | whoever freed an object and saw Full; or the ex-holder who saw a free bit | under the lock |
//! | Current -> Partial | holder (thread exit) | under the lock |
//! | Partial -> gone | whoever saw the last object come back | under the lock, if nothing is in use |
//!
//! # Why nothing is lost and nothing is used after it is gone
//!
//! *Freeing* is: set bits (Release), then subtract from `state` (AcqRel) and look at the old value. *Becoming full* is: change
//! `state` (AcqRel), then look at the bits. The two changes of `state` are ordered. If the free comes second it sees Full and
//! puts the slab on the list; if it comes first, its bits are visible to the holder's second look. Either way a slab with a
//! free object is held or listed.
//!
//! A freer's last unconditional touch is its subtraction: until then the objects it frees still count, so the slab cannot go.
//! After it, the slab may be gone and the granule be anything; so whoever has reason to come back (saw Full, or saw the
//! count reach zero) takes the cache's lock and asks the granule table first: under this lock slabs of this class neither
//! appear on nor leave the list, and a granule that no longer has this class is left alone. The pin keeps the slab alive
//! for an ex-holder's second look.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::cell::Cell;

/// log2 of the bytes of a slab.
pub(crate) const SLAB_SHIFT: u32 = 16;

/// Bytes of a slab.
pub(crate) const SLAB_BYTES: usize = 1 << SLAB_SHIFT;

const STATE_MASK: u32 = 3;
const IN_USE: u32 = 4;

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    Current = 0,
    Partial = 1,
    Full = 2,
}

/// What a change of `state` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) state: State,
    /// Objects in use (and the pin) afterwards.
    pub(crate) in_use: u32,
}

impl Found {
    fn new(word: u32) -> Found {
        let state = match word & STATE_MASK {
            0 => State::Current,
            1 => State::Partial,
            _ => State::Full,
        };
        Found { state, in_use: word / IN_USE }
    }
}

/// A bit was set already: the object had been freed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoubleFree {
    /// The bits that were set already.
    pub(crate) bits: u64,
}

/// Words of bitmap in the record itself; slabs with more objects have theirs in the bitmap table.
pub(crate) const OWN_WORDS: usize = if cfg!(loom) { 1 } else { 24 };

/// The record of a slab. Everything but the words of the bitmap and `state` is constant while the slab exists, or guarded
/// by the cache's lock (`next`, `prev`).
#[repr(C, align(64))]
pub(crate) struct Slab {
    /// The descriptor of the first page (`page::Page`), for those who ask the page map.
    pub(crate) head: [u32; 4],
    state: AtomicU32,
    pub(crate) objects: u16,
    words: u16,
    pub(crate) next: Cell<*mut Slab>,
    pub(crate) prev: Cell<*mut Slab>,
    bits: Cell<*const AtomicU64>,
    base: *mut u8,
    size: u32,
    /// A mark for whoever counts empty slabs (`kmem/cache.rs`). Written under the cache's lock, or by the holder.
    pub(crate) counted: Cell<u16>,
    /// Objects in use, plus one, when its free pages were given back last; 0 if it has been held by a heap since. Under the
    /// cache's lock.
    pub(crate) swept: Cell<u16>,
    own: [AtomicU64; OWN_WORDS],
    /// Lets the model checker see whether anybody looks at a slab that is gone.
    #[cfg(loom)]
    pub(crate) alive: loom::cell::UnsafeCell<bool>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slab>() == 256);

/// The tag in the first descriptor of the record.
const TAG_BYTES: usize = size_of::<u32>();

impl Slab {
    /// Makes a slab with all objects free, held by the caller, in `place`.
    ///
    /// # Safety
    /// `place` is writable, nobody else looks at it as a slab, and `more_bits` points to enough zeroed words if `objects`
    /// exceeds what the record holds. `base` is where the objects are.
    pub(crate) unsafe fn init(
        place: *mut Slab,
        head: [u32; 4],
        base: *mut u8,
        size: u32,
        objects: u16,
        more_bits: *const AtomicU64,
    ) {
        let words = objects.div_ceil(64);
        let full = |word: u16| {
            let n = objects.saturating_sub(word * 64).min(64);
            if n == 0 { 0 } else { u64::MAX >> (64 - n) }
        };
        let outside = words as usize > OWN_WORDS;
        // SAFETY: by the caller.
        unsafe {
            Slab {
                head,
                state: AtomicU32::new(State::Current as u32 + IN_USE),
                objects,
                words,
                next: Cell::new(core::ptr::null_mut()),
                prev: Cell::new(core::ptr::null_mut()),
                bits: Cell::new(more_bits),
                base,
                size,
                counted: Cell::new(0),
                swept: Cell::new(0),
                own: core::array::from_fn(|i| AtomicU64::new(if outside { 0 } else { full(i as u16) })),
                #[cfg(loom)]
                alive: loom::cell::UnsafeCell::new(true),
            }
            .write_to(place);
            let slab = &*place;
            if outside {
                for word in 0..words {
                    (*more_bits.add(word as usize)).store(full(word), Ordering::Relaxed);
                }
            } else {
                slab.bits.set(slab.own.as_ptr());
            }
        }
    }

    /// Puts a record in its place. Its first word is a page's tag, which the buddy system looks at when a neighbour is freed:
    /// that one is written at once.
    ///
    /// # Safety
    /// `place` is writable, nobody else looks at it as a slab.
    unsafe fn write_to(self, place: *mut Slab) {
        let record = core::mem::ManuallyDrop::new(self);
        // SAFETY: by the caller.
        unsafe {
            let (from, to) = ((&raw const *record).cast::<u8>(), place.cast::<u8>());
            to.add(TAG_BYTES).copy_from_nonoverlapping(from.add(TAG_BYTES), size_of::<Slab>() - TAG_BYTES);
            core::sync::atomic::AtomicU32::from_ptr(place.cast()).store(record.head[0], Ordering::Relaxed);
        }
    }

    /// Leaves zeroes, which are `Inside` tags, where a record was.
    ///
    /// # Safety
    /// `place` is writable, nobody else looks at it as a slab.
    pub(crate) unsafe fn erase(place: *mut Slab) {
        // SAFETY: by the caller; the tag is written at once, see `write_to`.
        unsafe {
            core::sync::atomic::AtomicU32::from_ptr(place.cast()).store(0, Ordering::Relaxed);
            place.cast::<u8>().add(TAG_BYTES).write_bytes(0, size_of::<Slab>() - TAG_BYTES);
        }
    }

    /// Under the model checker: a read of the slab, which must happen before its release.
    #[inline(always)]
    fn touch(&self) {
        #[cfg(loom)]
        // SAFETY: loom itself checks the access.
        self.alive.with(|alive| assert!(unsafe { *alive }, "a slab was used after its release"));
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        self.touch();
        debug_assert!(index < self.words as usize);
        // SAFETY: `bits` points to `words` words, by `init`.
        unsafe { &*self.bits.get().add(index) }
    }

    /// Where the objects start.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Takes up to `want` free objects, lowest addresses first, and stores them downwards from below `end`: a stack filled
    /// with them yields ascending addresses. Only for the holder.
    ///
    /// # Safety
    /// There is room for `want` pointers below `end`; the caller holds the slab.
    pub(crate) unsafe fn take(&self, end: *mut *mut u8, want: usize) -> usize {
        let mut got = 0;
        for index in 0..self.words as usize {
            let word = self.word(index);
            // Only the holder clears bits, so what is seen free stays free until the fetch_and.
            let free = word.load(Ordering::Relaxed);
            let mut rest = free;
            while rest != 0 && got < want {
                let object = index * 64 + rest.trailing_zeros() as usize;
                got += 1;
                // SAFETY: room by the caller; the object lies in the slab.
                unsafe { end.sub(got).write(self.base.add(object * self.size as usize)) };
                rest &= rest - 1;
            }
            if rest != free {
                // Acquire: whatever the freeing threads did with the objects happens before their next use.
                word.fetch_and(!(free ^ rest), Ordering::Acquire);
            }
            if got == want {
                break;
            }
        }
        if got != 0 {
            // Before any of the objects is known outside, so their frees come after.
            self.state.fetch_add(got as u32 * IN_USE, Ordering::Relaxed);
        }
        got
    }

    /// Marks objects of one word as free; they still count as in use until [`Slab::settle`].
    #[inline]
    pub(crate) fn put(&self, index: usize, mask: u64) -> Result<(), DoubleFree> {
        // Release: what the program did with the objects happens before their next use.
        let old = self.word(index).fetch_or(mask, Ordering::Release);
        if old & mask != 0 { Err(DoubleFree { bits: old & mask }) } else { Ok(()) }
    }

    /// Bytes between the slab's start and its first object.
    pub(crate) fn colour(&self) -> usize {
        self.base.addr() % SLAB_BYTES
    }

    /// Which bits of one word of the bitmap stand for objects.
    pub(crate) fn objects_in(&self, index: usize) -> u64 {
        let n = (self.objects as usize).saturating_sub(index * 64).min(64);
        if n == 0 { 0 } else { u64::MAX >> (64 - n) }
    }

    /// Whether an object is free. A snapshot.
    pub(crate) fn is_free(&self, object: usize) -> bool {
        self.word(object / 64).load(Ordering::Relaxed) >> (object % 64) & 1 != 0
    }

    /// Which of the slab's pages of `1 << shift` bytes have no object in use, a bit each from the lowest on. Only for the
    /// holder: he alone takes objects, so these pages stay free until he does.
    pub(crate) fn free_pages(&self, shift: u32) -> u32 {
        let (size, colour) = (self.size as usize, self.colour());
        let mut pages = 0;
        for page in 0..SLAB_BYTES >> shift {
            // Objects that reach into the page; none in what lies before the first and behind the last.
            let first = (page << shift).saturating_sub(colour) / size;
            let end = ((page + 1) << shift).saturating_sub(colour).div_ceil(size).min(self.objects as usize);
            if self.all_free(first, end) {
                pages |= 1 << page;
            }
        }
        pages
    }

    fn all_free(&self, mut first: usize, end: usize) -> bool {
        while first < end {
            let n = (64 - first % 64).min(end - first);
            let mask = (u64::MAX >> (64 - n)) << (first % 64);
            // Acquire: what the freeing threads did with the objects comes before the pages are given back.
            if self.word(first / 64).load(Ordering::Acquire) & mask != mask {
                return false;
            }
            first += n;
        }
        true
    }

    /// Whether so few objects are free that no page of `1 << shift` bytes can be free of all.
    pub(crate) fn is_dense(&self, in_use: u32, shift: u32) -> bool {
        let free = (self.objects as u32).saturating_sub(in_use);
        (free as usize) < ((1usize << shift) / self.size as usize).max(1)
    }

    /// Subtracts `count` objects from those in use. After this the slab may be gone.
    #[inline]
    pub(crate) fn settle(&self, count: u32) -> Found {
        self.touch();
        let old = self.state.fetch_sub(count * IN_USE, Ordering::AcqRel);
        Found::new(old - count * IN_USE)
    }

    /// The holder's last step: nothing free was found. True if, on looking again, something is.
    pub(crate) fn become_full(&self) -> bool {
        let old = self.state.fetch_add(State::Full as u32 - State::Current as u32, Ordering::AcqRel);
        debug_assert_eq!(old & STATE_MASK, State::Current as u32);
        (0..self.words as usize).any(|index| self.word(index).load(Ordering::Relaxed) != 0)
    }

    /// Takes the holder's pin.
    pub(crate) fn pin(&self) {
        self.state.fetch_add(IN_USE, Ordering::Relaxed);
    }

    /// State and count now. Stable only as the table says.
    pub(crate) fn look(&self) -> Found {
        self.touch();
        Found::new(self.state.load(Ordering::Acquire))
    }

    /// Changes the state. Only under the cache's lock, which orders all moves but Current -> Full; and that one is made by
    /// the holder, who is the caller if `from` is Current.
    pub(crate) fn change(&self, from: State, to: State) {
        let delta = (to as u32).wrapping_sub(from as u32);
        let old = self.state.fetch_add(delta, Ordering::AcqRel);
        debug_assert_eq!(old & STATE_MASK, from as u32);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A slab that is nowhere, with all objects free.
    fn slab(size: usize) -> &'static Slab {
        let objects = (SLAB_BYTES / size) as u16;
        let bits = Box::leak(Box::new([const { AtomicU64::new(0) }; 64]));
        let place = Box::into_raw(Box::<Slab>::new_uninit()).cast();
        // SAFETY: a new box, and enough words.
        unsafe {
            Slab::init(place, [0; 4], core::ptr::null_mut(), size as u32, objects, bits.as_ptr());
            &*place
        }
    }

    #[test]
    fn pages_are_free_exactly_if_no_object_in_use_reaches_into_them() {
        for size in [16, 48, 112, 128, 640, 4096, 5120, 7168, 8192] {
            for shift in [12, 14, 16] {
                let slab = slab(size);
                let objects = slab.objects as usize;
                assert_eq!(slab.free_pages(shift).count_ones(), 1 << (16 - shift));
                for taken in [0, 1, objects / 3, objects - 1] {
                    slab.word(taken / 64).fetch_and(!(1 << (taken % 64)), Ordering::Relaxed);
                    let pages = slab.free_pages(shift);
                    for page in 0..SLAB_BYTES >> shift {
                        let used = (0..objects)
                            .filter(|&object| !slab.is_free(object))
                            .any(|object| object * size < (page + 1) << shift && (object + 1) * size > page << shift);
                        assert_eq!(pages >> page & 1 == 0, used, "page {page}, objects of {size}");
                    }
                }
            }
        }
    }
}
