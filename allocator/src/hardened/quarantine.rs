//! A thread's quarantine: freed blocks wait here, poisoned, before they can be handed out again.
//!
//! A size class has a *pen*, with two arrays of free slots. Frees add to those *waiting*; allocations take random ones of those
//! *ready*. When none is ready, those waiting become ready, and if they are few, fresh slots from the slabs or bins join them,
//! poisoned on arrival. So a freed block comes back after a time nobody can foretell, neighbours in time are not
//! neighbours in memory, and every block is looked at, when it leaves, for writes since it came. When too many wait, the
//! older half goes back to the slabs or bins. Runs of pages wait in a pen of four, in which a newly freed one takes the place
//! of a random one.
//!
//! Why two arrays: with one, the place to take from depends on the free before, which depends on the block that was
//! allocated before that; in a loop of both the processor waits for one load after the other, which took more time than all
//! that is done here.
//!
//! An array holds at most 32 slots and 32 KiB (of the bins' classes 128 KiB, or two slots). A thread that has used blocks of all
//! sizes keeps 20 MiB of them at most ([`BYTES_MAX`]), and four runs of at most 4 MiB. Slots in pens count as in use for slabs and
//! bins; thread exit, fork, `trim` and a request that fails give them back, as they do with sheaves.
//!
//! Who may touch it: its thread alone. After a fork the child finds the quarantines of other threads in any state: as with sheaves,
//! a count is lowered before a slot becomes reachable for others, and raised after it has been stored, so that what lies
//! below it is nobody else's, and at worst there twice.

use super::seal::{SLOT_MIN, Sealed, Shape, scramble};
use crate::block;
use crate::direct::{Strictness, give_back};
use crate::heap::NR_SHEAVES;
use crate::os::map::{self, Access};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, NR_CLASSES, NR_SLAB_CLASSES, SLAB_MAX, size_of_class};
use crate::slab::slab::SLAB_BYTES;
use crate::thread_heap::ThreadHeap;
use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

/// Slots an array of a pen holds at most. More of them would be more cache lines between two uses of a slot.
const PEN_MAX: usize = 32;

/// Bytes of an array of a slab class, and of the bins.
const PEN_BYTES: usize = 32 << 10;
const CHUNK_PEN_BYTES: usize = 128 << 10;

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

/// Slots in all arrays together, and bytes of those.
const TOTAL: (usize, usize) = {
    let (mut slots, mut bytes, mut class) = (0, 0, 1);
    while class < NR_CLASSES {
        slots += 2 * capacity(class as Class);
        bytes += 2 * capacity(class as Class) * size_of_class_const(class as Class);
        class += 1;
    }
    (slots, bytes)
};

/// Bytes in the pens of a thread at most.
const BYTES_MAX: usize = 20 << 20;
const _: () = assert!(TOTAL.1 <= BYTES_MAX);

/// Free slots, in the order in which they came.
#[derive(Clone)]
struct Slots {
    slots: Cell<*mut *mut u8>,
    count: Cell<u32>,
}

/// The free slots of one class. A cache line.
#[repr(C, align(64))]
pub(super) struct Pen {
    ready: Slots,
    waiting: Slots,
    /// Of each of the two.
    capacity: u32,
    /// Of a slot.
    shape: Shape,
    class: Class,
    /// Where in a slab the last slot of this class can start; -1 if this is no class of the slabs'.
    last_start: i32,
}

/// Pens: of the classes, and of the granule bytes above them, which `free` uses as an index too.
const NR_PENS: usize = NR_SHEAVES;

/// A place among those ready.
#[derive(Clone, Copy)]
pub(super) struct Place(u32);

/// See the module's text.
#[repr(C)]
pub(crate) struct Quarantine {
    /// First, for they are found by their number.
    pens: [Pen; NR_PENS],
    random: Cell<u32>,
    /// Frees until one that needs more than the usual ones.
    until_turn: Cell<u32>,
    runs: [Cell<*mut u8>; RUNS],
    slots: [Cell<*mut u8>; TOTAL.0],
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
        (*q).random.set(scramble(&mut seed) as u32 | 1);
        (*q).until_turn.set(1);
        let mut slots = (&raw mut (*q).slots).cast::<*mut u8>();
        for other in (0..NR_PENS).filter(|&pen| pen == 0 || pen >= NR_CLASSES) {
            (&raw mut (*q).pens[other].last_start).write(-1);
        }
        for class in 1..NR_CLASSES {
            let capacity = capacity(class as Class);
            let empty = |slots| Slots { slots: Cell::new(slots), count: Cell::new(0) };
            (&raw mut (*q).pens[class]).write(Pen {
                ready: empty(slots),
                waiting: empty(slots.add(capacity)),
                capacity: capacity as u32,
                // Of the smallest class none are used.
                shape: Shape::of(size_of_class(class as Class).max(SLOT_MIN)),
                class: class as Class,
                last_start: if class <= NR_SLAB_CLASSES {
                    (SLAB_BYTES - size_of_class(class as Class)) as i32
                } else {
                    -1
                },
            });
            slots = slots.add(2 * capacity);
        }
    }
    q
}

impl Quarantine {
    /// A random number below `end`.
    #[inline(always)]
    pub(super) fn below(&self, end: u32) -> u32 {
        // A multiplicative generator (L'Ecuyer's multiplier for 32 bits): one multiplication, and its high bits are good.
        let next = self.random.get().wrapping_mul(0x93D7_65DD);
        self.random.set(next);
        ((next as u64 * end as u64) >> 32) as u32
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
        debug_assert!((class as usize) < NR_PENS);
        // SAFETY: classes and granule bytes are below.
        unsafe { self.pens.get_unchecked(class as usize) }
    }

    /// A random place of a pen; None if nothing is ready.
    #[inline(always)]
    pub(super) fn choose(&self, pen: &Pen) -> Option<Place> {
        let count = pen.ready.count.get();
        (count != 0).then(|| Place(self.below(count)))
    }

    /// Fills a pen and takes a slot; null if there is no memory.
    #[cold]
    #[inline(never)]
    pub(super) fn take_slow(&self, pen: &Pen, heap: &ThreadHeap) -> *mut u8 {
        loop {
            if pen.ready.count.get() == 0 {
                pen.fill(heap);
            }
            let Some(place) = self.choose(pen) else { return null_mut() };
            let slot = pen.take_looking(place);
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
        for pen in &self.pens[1..NR_CLASSES] {
            pen.give_back(&pen.ready, pen.ready.count.get() as usize, strictness);
            pen.give_back(&pen.waiting, pen.waiting.count.get() as usize, strictness);
        }
    }

    /// Looks at all blocks without taking them out, and reports those that were written to.
    pub(super) fn check(&self) {
        for pen in &self.pens[1..NR_CLASSES] {
            for &slot in pen.ready.all().iter().chain(pen.waiting.all()) {
                // SAFETY: a slot of this class in this thread's pen.
                is_clean("free", unsafe { Sealed::at(slot, pen.shape) });
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
    /// That of its slots.
    #[inline(always)]
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Its class.
    #[inline(always)]
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Where in a slab the last slot of this class can start; -1 if there are none of it in slabs.
    #[inline(always)]
    pub(super) fn last_start(&self) -> i32 {
        self.last_start
    }

    /// What lies at a place.
    #[inline(always)]
    pub(super) fn at(&self, place: Place) -> Sealed {
        debug_assert!(place.0 < self.ready.count.get());
        // SAFETY: places are below the count; a slot of this class that is this thread's.
        unsafe { Sealed::at(*self.ready.slots.get().add(place.0 as usize), self.shape) }
    }

    /// Takes what lies at a place out; the last moves there.
    #[inline(always)]
    pub(super) fn take(&self, place: Place) {
        let (slots, last) = (self.ready.slots.get(), self.ready.count.get() - 1);
        // SAFETY: both are below the count.
        unsafe { *slots.add(place.0 as usize) = *slots.add(last as usize) };
        compiler_fence(SeqCst);
        self.ready.count.set(last);
    }

    /// Takes what lies at a place out, and looks at all of it. Null if somebody wrote to it: then it is lost.
    #[cold]
    #[inline(never)]
    pub(super) fn take_looking(&self, place: Place) -> *mut u8 {
        let sealed = self.at(place);
        self.take(place);
        if is_clean("malloc", sealed) { sealed.block() } else { null_mut() }
    }

    /// Adds a freed slot, which has been marked. False if there is no room.
    #[inline(always)]
    pub(super) fn add(&self, slot: *mut u8) -> bool {
        let count = self.waiting.count.get();
        if count >= self.capacity {
            return false;
        }
        // SAFETY: below the capacity.
        unsafe { *self.waiting.slots.get().add(count as usize) = slot };
        compiler_fence(SeqCst);
        self.waiting.count.set(count + 1);
        true
    }

    /// Adds a freed slot where there is no room.
    #[cold]
    #[inline(never)]
    pub(super) fn add_to_full(&self, slot: *mut u8) {
        self.give_back(&self.waiting, self.capacity as usize / 2, Strictness::Report);
        self.add(slot);
    }

    /// Makes those that wait ready, of which there are none; if they are few, with fresh ones.
    fn fill(&self, heap: &ThreadHeap) {
        let (few, many) = (self.capacity as usize / 2, (self.capacity as usize * 3 / 4).max(1));
        let waiting = self.waiting.count.get() as usize;
        // Neither count covers anything while the arrays change places.
        self.waiting.count.set(0);
        compiler_fence(SeqCst);
        self.ready.slots.swap(&self.waiting.slots);
        compiler_fence(SeqCst);
        self.ready.count.set(waiting as u32);
        if waiting >= few {
            return;
        }
        // SAFETY: `many` are at most the capacity.
        let (end, want) = (unsafe { self.ready.slots.get().add(waiting) }, many - waiting);
        let got = if self.class as usize <= NR_SLAB_CLASSES {
            // SAFETY: as above.
            unsafe { heap.take_from_slabs(self.class, end, want) }
        } else {
            let mut got = 0;
            heap.bins().alloc(&heap.node().zone, self.class, want, |chunk| {
                // SAFETY: as above.
                unsafe { *end.add(got) = chunk.address };
                got += 1;
            })
        };
        for at in 0..got {
            // SAFETY: a slot that is ours now.
            unsafe { Sealed::at(*end.add(at), self.shape).free() };
        }
        compiler_fence(SeqCst);
        self.ready.count.set((waiting + got) as u32);
    }

    /// Gives the oldest slots of an array back to the slabs or bins. Those that were written to are reported, and lost.
    fn give_back(&self, from: &Slots, amount: usize, strictness: Strictness) {
        let mut leaving = [null_mut(); PEN_MAX];
        let (slots, count) = (from.slots.get(), from.count.get() as usize);
        // SAFETY: `amount` is at most the count.
        unsafe {
            core::ptr::copy_nonoverlapping(slots, leaving.as_mut_ptr(), amount);
            core::ptr::copy(slots.add(amount), slots, count - amount);
        }
        from.count.set((count - amount) as u32);
        // Fork: what is published below must have left the pen.
        compiler_fence(SeqCst);
        let leaving = &mut leaving[..amount];
        if strictness == Strictness::Report {
            for slot in leaving.iter_mut() {
                // SAFETY: a slot of this class that has left the pen.
                if !is_clean("free", unsafe { Sealed::at(*slot, self.shape) }) {
                    *slot = null_mut();
                }
            }
        }
        give_back(self.class, leaving, strictness);
    }
}

impl Slots {
    fn all(&self) -> &[*mut u8] {
        // SAFETY: what lies below the count is this thread's; the slice is gone before it changes.
        unsafe { core::slice::from_raw_parts(self.slots.get(), self.count.get() as usize) }
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
