//! A thread's quarantine: freed blocks wait here, poisoned, before they can be handed out again.
//!
//! One *pen* a size class: an array of free slots, all poisoned. An allocation takes a random one of them, a free adds one. So
//! a freed block comes back after a time nobody can foretell, and neighbours in time are not neighbours in memory; and every
//! block is looked at, when it leaves, for writes since it came. A pen below its *floor* is filled from the slabs or bins
//! first, with fresh slots that are poisoned on arrival: blocks freed into it have to wait among those. A full pen gives its
//! older half back. Runs of pages wait in a pen of four, in which a newly freed one takes the place of a random one.
//!
//! A pen holds at most 64 slots and 64 KiB (of the bins' classes 256 KiB, two at least); four runs of at most 4 MiB. So a thread
//! keeps at most 3 MiB of slab classes, 12 MiB of chunks and 16 MiB of runs, if it has used blocks of all sizes. Slots
//! in pens count as in use for slabs and bins; thread exit, fork, `trim` and a request that fails give them back, as they
//! do with sheaves.
//!
//! Who may touch it: its thread alone. After a fork the child finds the quarantines of other threads in any state: as with sheaves,
//! `count` is lowered before a slot becomes reachable for others, and raised after it has been stored, so that what lies
//! below it is nobody else's, and at worst there twice.

use super::seal::{Sealed, scramble};
use crate::block;
use crate::direct::{Strictness, give_back};
use crate::os::map::{self, Access};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, NR_CLASSES, NR_SLAB_CLASSES, SLAB_MAX, size_of_class};
use crate::thread_heap::ThreadHeap;
use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

/// Slots a pen holds at most. As with sheaves, more of them would be more cache lines between two uses of a slot.
const PEN_MAX: usize = 64;

/// Bytes of a pen of a slab class, and of the bins.
const PEN_BYTES: usize = 64 << 10;
const CHUNK_PEN_BYTES: usize = 256 << 10;

/// Runs that wait, and the largest that does; larger ones go back at once.
const RUNS: usize = 4;
const RUN_MAX: usize = 4 << 20;

const fn capacity(class: Class) -> usize {
    let size = size_of_class_const(class);
    let fits = if size <= SLAB_MAX { PEN_BYTES / size } else { CHUNK_PEN_BYTES / size };
    if fits > PEN_MAX {
        PEN_MAX
    } else if fits < 2 {
        2
    } else {
        fits
    }
}

const fn size_of_class_const(class: Class) -> usize {
    crate::slab::size_class::SIZES_CONST[class as usize] as usize
}

const SLOTS: usize = {
    let (mut sum, mut class) = (0, 1);
    while class < NR_CLASSES {
        sum += capacity(class as Class);
        class += 1;
    }
    sum
};

/// The free slots of one class. 32 bytes, so that the class is shifted to find it.
#[repr(C)]
pub(super) struct Pen {
    slots: *mut *mut u8,
    count: Cell<u32>,
    floor: u32,
    capacity: u32,
    /// Bytes of a slot.
    slot: u32,
    class: Class,
}

const _: () = assert!(size_of::<Pen>() == 32);

/// A place in a pen.
#[derive(Clone, Copy)]
pub(super) struct Place(u32);

/// See the module's text.
#[repr(C)]
pub(crate) struct Quarantine {
    random: Cell<u64>,
    /// Frees until one that needs more than the usual ones.
    until_turn: Cell<u32>,
    runs: [Cell<*mut u8>; RUNS],
    pens: [Pen; NR_CLASSES],
    slots: [Cell<*mut u8>; SLOTS],
}

/// A quarantine with nothing in it, for good; null if there is no memory.
pub(super) fn make(mut seed: u64) -> *mut Quarantine {
    let bytes = size_of::<Quarantine>().next_multiple_of(map::os_page_size());
    let q = map::map(bytes, Access::ReadWrite).cast::<Quarantine>();
    if q.is_null() {
        return q;
    }
    // SAFETY: a new mapping of zeroes, which are valid for every field.
    unsafe {
        seed ^= q.addr() as u64;
        (*q).random.set(scramble(&mut seed) | 1);
        (*q).until_turn.set(1);
        let mut slots = (&raw mut (*q).slots).cast::<*mut u8>();
        for class in 1..NR_CLASSES {
            let capacity = capacity(class as Class);
            (&raw mut (*q).pens[class]).write(Pen {
                slots,
                count: Cell::new(0),
                floor: (capacity / 4).max(1) as u32,
                capacity: capacity as u32,
                slot: size_of_class(class as Class) as u32,
                class: class as Class,
            });
            slots = slots.add(capacity);
        }
    }
    q
}

impl Quarantine {
    /// A random number below `end`.
    #[inline(always)]
    pub(super) fn below(&self, end: u32) -> u32 {
        // A multiplicative generator: its high bits are good, and it is one multiplication.
        let next = self.random.get().wrapping_mul(0xF135_7AEA_2E62_A9C5);
        self.random.set(next);
        (((next >> 32) * end as u64) >> 32) as u32
    }

    /// Whether this free is one of those that need more than the usual ones.
    #[inline(always)]
    pub(super) fn is_turn(&self) -> bool {
        let until = self.until_turn.get().wrapping_sub(1);
        self.until_turn.set(until);
        until == 0
    }

    /// The next such free is the `frees`th from now.
    pub(super) fn set_turn(&self, frees: u32) {
        self.until_turn.set(frees);
    }

    #[inline(always)]
    pub(super) fn pen(&self, class: Class) -> &Pen {
        debug_assert!((class as usize) < NR_CLASSES);
        // SAFETY: classes are below NR_CLASSES.
        unsafe { self.pens.get_unchecked(class as usize) }
    }

    /// A random place of a pen; None if the pen should be filled first.
    #[inline(always)]
    pub(super) fn choose(&self, pen: &Pen) -> Option<Place> {
        let count = pen.count.get();
        (count > pen.floor).then(|| Place(self.below(count)))
    }

    /// Adds a freed slot, which has been marked. False if there is no room.
    #[inline(always)]
    pub(super) fn add(&self, pen: &Pen, slot: *mut u8) -> bool {
        let count = pen.count.get();
        if count >= pen.capacity {
            return false;
        }
        // SAFETY: below the capacity.
        unsafe { *pen.slots.add(count as usize) = slot };
        compiler_fence(SeqCst);
        pen.count.set(count + 1);
        true
    }

    /// Adds a freed slot to a full pen.
    #[cold]
    #[inline(never)]
    pub(super) fn add_to_full(&self, pen: &Pen, slot: *mut u8) {
        pen.give_back(pen.capacity as usize / 2, Strictness::Report);
        self.add(pen, slot);
    }

    /// Fills a pen and takes a slot; null if there is no memory.
    #[cold]
    #[inline(never)]
    pub(super) fn take_slow(&self, pen: &Pen, heap: &ThreadHeap) -> *mut u8 {
        loop {
            if pen.count.get() <= pen.floor {
                pen.fill(heap);
            }
            let count = pen.count.get();
            if count == 0 {
                return null_mut();
            }
            let slot = pen.take_looking(Place(self.below(count)));
            if !slot.is_null() {
                return slot;
            }
        }
    }

    /// Adds a freed run of `bytes`, marked; another one leaves.
    pub(super) fn add_run(&self, run: *mut u8, bytes: usize) {
        if bytes > RUN_MAX {
            return block::free(run);
        }
        let victim = self.runs[self.below(RUNS as u32) as usize].replace(run);
        release_run(victim);
    }

    /// Gives everything back to where it came from.
    pub(super) fn give_everything_back(&self, strictness: Strictness) {
        for run in &self.runs {
            let run = run.replace(null_mut());
            compiler_fence(SeqCst);
            if strictness == Strictness::Report {
                release_run(run);
            } else if !run.is_null() {
                block::free(run);
            }
        }
        for pen in &self.pens[1..] {
            pen.give_back(pen.count.get() as usize, strictness);
        }
    }

    /// Looks at all blocks without taking them out, and reports those that were written to.
    pub(super) fn check(&self) {
        for pen in &self.pens[1..] {
            for &slot in pen.slots() {
                // SAFETY: a slot of this class in this thread's pen.
                is_clean("free", unsafe { Sealed::in_slot(slot, pen.slot as usize) });
            }
        }
        for run in self.runs.iter().filter(|run| !run.get().is_null()) {
            if let Some(found) = block::find("free", run.get()) {
                // SAFETY: a run in use, as the page map has it.
                is_clean("free", unsafe { Sealed::in_slot(run.get(), found.size) });
            }
        }
    }
}

impl Pen {
    /// Bytes of a slot.
    #[inline(always)]
    pub(super) fn slot(&self) -> usize {
        self.slot as usize
    }

    /// What lies at a place.
    #[inline(always)]
    pub(super) fn at(&self, place: Place) -> Sealed {
        debug_assert!(place.0 < self.count.get());
        // SAFETY: places are below the count; a slot of this class that is this thread's.
        unsafe { Sealed::in_slot(*self.slots.add(place.0 as usize), self.slot as usize) }
    }

    /// Takes what lies at a place out; the newest moves there.
    #[inline(always)]
    pub(super) fn take(&self, place: Place) {
        let last = self.count.get() - 1;
        // SAFETY: both are below the count.
        unsafe { *self.slots.add(place.0 as usize) = *self.slots.add(last as usize) };
        compiler_fence(SeqCst);
        self.count.set(last);
    }

    /// Takes what lies at a place out, and looks at all of it. Null if somebody wrote to it: then it is lost.
    #[cold]
    #[inline(never)]
    pub(super) fn take_looking(&self, place: Place) -> *mut u8 {
        let sealed = self.at(place);
        self.take(place);
        if is_clean("malloc", sealed) { sealed.block() } else { null_mut() }
    }

    fn slots(&self) -> &[*mut u8] {
        // SAFETY: what lies below the count is this thread's; the slice is gone before it changes.
        unsafe { core::slice::from_raw_parts(self.slots, self.count.get() as usize) }
    }

    /// Adds fresh slots until a quarter of the pen is empty.
    fn fill(&self, heap: &ThreadHeap) {
        let count = self.count.get() as usize;
        let want = (self.capacity as usize * 3 / 4).max(self.floor as usize + 1) - count;
        // SAFETY: room for `want` more: they are at most the capacity together.
        let end = unsafe { self.slots.add(count) };
        let got = if self.class as usize <= NR_SLAB_CLASSES {
            // SAFETY: as above.
            unsafe { heap.take_from_slabs(self.class, end, want) }
        } else {
            let mut got = 0;
            heap.node().bins.alloc(&heap.node().zone, self.class, want, |chunk| {
                // SAFETY: as above.
                unsafe { *end.add(got) = chunk.address };
                got += 1;
            })
        };
        for at in 0..got {
            // SAFETY: a slot that is ours now.
            unsafe { Sealed::in_slot(*end.add(at), self.slot as usize).free() };
        }
        compiler_fence(SeqCst);
        self.count.set((count + got) as u32);
    }

    /// Gives the oldest slots back to the slabs or bins. Those that were written to are reported, and lost.
    fn give_back(&self, amount: usize, strictness: Strictness) {
        let mut leaving = [null_mut(); PEN_MAX];
        let count = self.count.get() as usize;
        // SAFETY: `amount` is at most the count.
        unsafe {
            core::ptr::copy_nonoverlapping(self.slots, leaving.as_mut_ptr(), amount);
            core::ptr::copy(self.slots.add(amount), self.slots, count - amount);
        }
        self.count.set((count - amount) as u32);
        // Fork: what is published below must have left the pen.
        compiler_fence(SeqCst);
        let leaving = &mut leaving[..amount];
        if strictness == Strictness::Report {
            for slot in leaving.iter_mut() {
                // SAFETY: a slot of this class that has left the pen.
                if !is_clean("free", unsafe { Sealed::in_slot(*slot, self.slot as usize) }) {
                    *slot = null_mut();
                }
            }
        }
        give_back(self.class, leaving, strictness);
    }
}

/// Gives a run back that has waited, unless somebody wrote to it.
fn release_run(run: *mut u8) {
    if run.is_null() {
        return;
    }
    let Some(found) = block::find("free", run) else { return };
    // SAFETY: a run in use, as the page map has it.
    if is_clean("free", unsafe { Sealed::in_slot(run, found.size) }) {
        block::free(run);
    }
}

/// Whether nobody wrote to a free block; reports it otherwise.
fn is_clean(call: &str, sealed: Sealed) -> bool {
    if sealed.is_untouched() {
        return true;
    }
    let Some(offset) = sealed.written() else { return true };
    let room = sealed.room();
    // Two threads that free the same block at the same time both find it in use; it shows when the second copy leaves.
    let what = if sealed.in_use() { Misuse::DoubleFree { size: room } } else { Misuse::UsedAfterFree { room, offset } };
    misuse(call, sealed.address(), what);
    false
}
