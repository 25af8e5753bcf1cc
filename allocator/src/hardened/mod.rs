//! Hardening: overflows, use after free and double frees are looked for at every call, for those who configure `hardened`.
//!
//! While it is on every malloc and free comes here: from where the hot paths end (`malloc.rs`) if the thread has a quarantine,
//! else by `watch.rs`. Each block gets eight bytes more than it was asked for, 32 at least, and is sealed (`seal.rs`): what was written directly behind it is seen when it is freed or resized. A freed block is marked as
//! such, so a second free sees that at once; it is poisoned, and waits in the quarantine of its thread (`quarantine.rs`),
//! where writes to it are seen before it is handed out again, at random.
//!
//! | memory | in use | freed |
//! |---|---|---|
//! | slab object, chunk | sealed | marked, poisoned, in a pen |
//! | run | sealed | marked, poisoned, one of four that wait; larger than 4 MiB: back at once |
//! | extent | sealed, and a guard page behind it | unmapped: any access faults |
//!
//! Of the blocks of 64 KiB and more that are no extents, one in 16 times `hardened_sample` is made one for the guard's sake (at
//! a sample below 16 one in its square, so that 1 means all). Should there be 4,096 guards
//! already, or the kernel refuse one, the block is sealed only. A block with a guard ends at it as closely as its alignment
//! allows, so its trailer lies before it.
//!
//! **States of a slot**, by its trailer: *in use* (a valid seal), *free* (marked), *fresh* (anything; never handed out, or back
//! in its slab). In use to free: whoever frees it. Free or fresh to in use: whoever takes it out of its pen, and only if it is
//! marked: what is in a pen has been marked on its way in. So a slot that is in two pens, because two threads freed it in
//! the same instant, is found in use when its second copy leaves, and is not handed out twice. Slots in pens count as in use
//! for slabs and bins; where `block::find` knows a slot as free or as none, its trailer is not asked.
//!
//! A thread whose heap has been taken down has no quarantine: its blocks are sealed and checked, but go back at once.

mod quarantine;
mod seal;

pub(crate) use quarantine::Quarantine;

use crate::arch::heap_pointer;
use crate::bins;
use crate::block::{self, Block, Found, NO_BLOCK, Place, out_of_memory};
use crate::config::Config;
use crate::direct::Strictness;
use crate::extent::EXTENTS;
use crate::heap::Heap;
use crate::memblock::{GRANULE_SHIFT, MEMBLOCK, TABLE_GRANULES, granule};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, SIZES_CONST, class_for, size_of_class};
use crate::slab::slab::SLAB_BYTES;
use crate::thread;
use crate::trim::reclaim;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use quarantine::Pen;
use seal::{SLACK_MAX, SLOT_MIN, Seal, Sealed, TRAILER};

/// From this size on a block may get a guard page.
pub(crate) const GUARD_MIN: usize = 64 << 10;

/// So much rarer than further checks are guards: each costs three system calls.
const GUARD_RARER: u32 = 16;

/// Largest alignment of a block with a guard: then it still ends close to it.
const GUARD_ALIGN_MAX: usize = 64;

/// Class by `(size + TRAILER - 1) >> 4`. One table for all sizes of the fast path, where `size_class` has two: no choice.
static CLASSES: [Class; 8192] = {
    let mut table = [0; 8192];
    let (mut at, mut class) = (0, 1);
    while at < table.len() {
        while (SIZES_CONST[class] as usize) < (at + 1) << 4 || (SIZES_CONST[class] as usize) < SLOT_MIN {
            class += 1;
        }
        table[at] = class as Class;
        at += 1;
    }
    table
};
const _: () = assert!((GUARD_MIN + TRAILER - 1) >> 4 < CLASSES.len());

static ON: AtomicBool = AtomicBool::new(false);
static ZERO: AtomicBool = AtomicBool::new(false);
static SAMPLE: AtomicU32 = AtomicU32::new(1);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Whether hardening is on; false as long as the configuration has not been read.
#[inline(always)]
pub(crate) fn on() -> bool {
    ON.load(Relaxed)
}

/// Turns it on; before the first block.
pub(crate) fn turn_on(config: &Config) {
    SEED.store(seal::draw_keys(config.zero_on_free), Relaxed);
    ZERO.store(config.zero_on_free, Relaxed);
    SAMPLE.store(config.hardened_sample, Relaxed);
    ON.store(true, Relaxed);
}

/// Allocates a block; null with `ENOMEM` if there is no memory. `size` is not 0.
#[inline(always)]
pub(crate) fn alloc(align: usize, size: usize) -> *mut u8 {
    if align <= 16 && size < GUARD_MIN { alloc_small(size) } else { alloc_large(align, size).address }
}

/// As [`alloc`], of less than [`GUARD_MIN`] bytes without a special alignment.
#[inline(always)]
fn alloc_small(size: usize) -> *mut u8 {
    // SAFETY: this thread's heap, or a sentinel, which has no quarantine; quarantines are never unmapped.
    match unsafe { (*heap_pointer()).quarantine.get().as_ref() } {
        Some(q) => alloc_from(q, size),
        None => alloc_class_slow(class_with_trailer(size), size),
    }
}

/// The class for a block of less than [`GUARD_MIN`] bytes and its trailer.
#[inline(always)]
fn class_with_trailer(size: usize) -> Class {
    debug_assert!(size < GUARD_MIN);
    // The mask changes nothing; it spares the bounds check.
    CLASSES[((size + TRAILER - 1) >> 4) & (CLASSES.len() - 1)]
}

/// The path of nearly all allocations: less than [`GUARD_MIN`] bytes, for a thread with a quarantine. Nothing is called in it but
/// at its ends, so that no registers need be saved.
#[inline(always)]
pub(crate) fn alloc_from(q: &Quarantine, size: usize) -> *mut u8 {
    let pen = q.pen(class_with_trailer(size));
    let Some(place) = q.choose(pen) else { return alloc_filling(size) };
    let sealed = pen.at(place);
    if !sealed.is_untouched() {
        return alloc_looking(size, pen, place);
    }
    pen.take(place);
    sealed.seal(size);
    sealed.block()
}

/// As there, where nothing is ready.
#[cold]
#[inline(never)]
fn alloc_filling(size: usize) -> *mut u8 {
    alloc_class_slow(class_with_trailer(size), size)
}

/// As there, for a place at which more is to be looked at.
#[cold]
#[inline(never)]
fn alloc_looking(size: usize, pen: &Pen, place: quarantine::Place) -> *mut u8 {
    let slot = pen.take_looking(place);
    if slot.is_null() { alloc_small(size) } else { seal_in(pen, slot, size) }
}

/// As [`alloc`], of zeroes.
pub(crate) fn zalloc(align: usize, size: usize) -> *mut u8 {
    let Block { address, zeroed } = if align <= 16 && size < GUARD_MIN {
        Block { address: alloc(align, size), zeroed: false }
    } else {
        alloc_large(align, size)
    };
    if !zeroed && !address.is_null() {
        // SAFETY: a new block of this size.
        unsafe { address.write_bytes(0, size) };
    }
    address
}

#[inline(always)]
fn seal_in(pen: &Pen, slot: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: a slot of this class, the caller's.
    unsafe { Sealed::at(slot, pen.shape()) }.seal(size);
    slot
}

/// This thread's quarantine, made if need be. None if it cannot have one.
#[inline(always)]
fn quarantine() -> Option<&'static Quarantine> {
    // SAFETY: this thread's heap or a sentinel; quarantines are never unmapped.
    unsafe { (*heap_pointer()).quarantine.get().as_ref() }.or_else(make_quarantine)
}

#[cold]
#[inline(never)]
fn make_quarantine() -> Option<&'static Quarantine> {
    let heap = thread::current()?;
    if heap.hot.quarantine.get().is_null() {
        heap.hot.quarantine.set(quarantine::make(SEED.load(Relaxed)));
    }
    // SAFETY: null, or this thread's own and never unmapped.
    unsafe { heap.hot.quarantine.get().as_ref() }
}

#[cold]
#[inline(never)]
fn alloc_class_slow(class: Class, size: usize) -> *mut u8 {
    for attempt in 0..2 {
        if let Some((q, heap)) = quarantine().zip(thread::existing()) {
            let pen = q.pen(class);
            let slot = q.take_slow(pen, heap);
            if !slot.is_null() {
                return seal_in(pen, slot, size);
            }
        } else {
            let slot = block::alloc_class(class).address;
            if !slot.is_null() {
                // SAFETY: a new slot of this class.
                unsafe { Sealed::in_slot(slot, size_of_class(class)) }.seal(size);
            }
            return slot;
        }
        if attempt == 0 && !reclaim() {
            break;
        }
    }
    out_of_memory()
}

/// A block that may get a guard, has no class, or has an alignment.
#[cold]
#[inline(never)]
fn alloc_large(align: usize, size: usize) -> Block {
    let Some(whole) = size.checked_add(TRAILER) else {
        out_of_memory();
        return NO_BLOCK;
    };
    if size >= GUARD_MIN && align <= GUARD_ALIGN_MAX && is_guarded(size) {
        let align = align.max(16);
        let address = EXTENTS.alloc_guarded(size, align, align);
        if !address.is_null() {
            let usable = size.next_multiple_of(align);
            // SAFETY: a new block, with `align` bytes of its mapping before it.
            unsafe { Sealed::before_guard(address) }.seal_guarded(usable, usable - size);
            return Block { address, zeroed: true };
        }
    }
    if let Some(class) = class_for(whole, align)
        && size_of_class(class) - whole <= SLACK_MAX
    {
        return Block { address: alloc_class_slow(class, size), zeroed: false };
    }
    let block = block::alloc(align, whole);
    if !block.address.is_null()
        && let Some(found) = block::find("malloc", block.address)
    {
        // SAFETY: a new block in a slot of this size.
        unsafe { Sealed::in_slot(block.address, slot_of(found)) }.seal(size);
    }
    block
}

/// Whether a block of this size gets a guard: what will be an extent anyway, and some others.
fn is_guarded(size: usize) -> bool {
    let sample = SAMPLE.load(Relaxed);
    block::is_extent(size + TRAILER)
        || quarantine().is_some_and(|q| q.below(sample) == 0 && q.below(sample.min(GUARD_RARER)) == 0)
}

/// Bytes of the slot a block lies in, at the end of which its trailer is.
fn slot_of(found: Found) -> usize {
    match found.place {
        Place::Slab(class) => size_of_class(class),
        // A chunk may be longer than its class says.
        Place::Chunk(index) => size_of_class(bins::class_at(index)),
        Place::Run(_) | Place::Extent | Place::Guarded => found.size,
    }
}

/// Frees a block; null is allowed.
#[cold]
#[inline(never)]
pub(crate) fn free(p: *mut u8) {
    // SAFETY: this thread's heap or a sentinel; quarantines are never unmapped.
    match unsafe { (*heap_pointer()).quarantine.get().as_ref() } {
        Some(q) => free_to(q, p),
        None => free_without(p),
    }
}

/// As [`free`], for a thread with a quarantine.
#[inline(always)]
pub(crate) fn free_to(q: &Quarantine, p: *mut u8) {
    let base = MEMBLOCK.base();
    let number = p.addr().wrapping_sub(base) >> GRANULE_SHIFT;
    if number >= TABLE_GRANULES {
        return free_slow(p);
    }
    // SAFETY: as in `malloc::free`.
    free_granule(q, p, unsafe { *core::ptr::with_exposed_provenance::<u8>(base).add(number) });
}

/// As [`free_to`], of what lies in a granule with this byte. The path of nearly all frees.
#[inline(always)]
pub(crate) fn free_granule(q: &Quarantine, p: *mut u8, byte: u8) {
    let pen = q.pen(byte);
    // What is in no slab: the pen says so. An interior pointer has no valid seal; that its slot would end in the slab makes it
    // readable.
    if (p.addr() % SLAB_BYTES) as i32 > pen.last_start() {
        return free_slow(p);
    }
    // SAFETY: the slot's end is in a slab.
    let sealed = unsafe { Sealed::at(p, pen.shape()) };
    if !sealed.is_whole() {
        return bad_seal_at_free(p);
    }
    free_sealed(q, p, pen, sealed);
}

/// Frees a block whose seal is whole.
#[inline(always)]
fn free_sealed(q: &Quarantine, p: *mut u8, pen: &Pen, sealed: Sealed) {
    if q.is_turn() {
        return free_looking(p, pen.class());
    }
    sealed.free();
    if !pen.add(p) {
        pen.add_to_full(p);
    }
}

/// Frees a block in a slot of this class that need not lie in a slab of the reservation: a chunk in use, mostly.
#[inline(always)]
fn free_chunk(q: &Quarantine, p: *mut u8, class: Class) {
    let pen = q.pen(class);
    // SAFETY: a slot in a slab, or a chunk in use.
    let sealed = unsafe { Sealed::at(p, pen.shape()) };
    let Seal::Whole(_) = sealed.look() else { return bad_seal_at_free(p) };
    free_sealed(q, p, pen, sealed);
}

/// As [`free`], for a thread that has no quarantine yet, or none any more.
#[cold]
#[inline(never)]
fn free_without(p: *mut u8) {
    match quarantine() {
        Some(q) => free_to(q, p),
        None => free_slow(p),
    }
}

/// As [`free_chunk`], of any thread.
fn free_in_slot(p: *mut u8, class: Class) {
    if let Some(q) = quarantine() {
        return free_chunk(q, p, class);
    }
    // SAFETY: as there.
    let Seal::Whole(_) = unsafe { Sealed::in_slot(p, size_of_class(class)) }.look() else {
        return bad_seal_at_free(p);
    };
    free_looking(p, class);
}

/// Frees a block whose seal is whole, if there is more to do than for most.
#[cold]
#[inline(never)]
fn free_looking(p: *mut u8, class: Class) {
    // SAFETY: a block in use in a slot of this class.
    let sealed = unsafe { Sealed::in_slot(p, size_of_class(class)) };
    let zero = ZERO.load(Relaxed);
    if zero {
        // SAFETY: the program gives it up.
        unsafe { p.write_bytes(0, sealed.room()) };
    }
    sealed.free();
    let Some(q) = quarantine() else { return block::free(p) };
    let sample = SAMPLE.load(Relaxed);
    // If all are zeroed, all come here.
    q.set_turn(if zero { 1 } else { sample });
    if !zero || q.below(sample) == 0 {
        sealed.poison_more();
    }
    let pen = q.pen(class);
    if !pen.add(p) {
        pen.add_to_full(p);
    }
}

/// What is in no slab, by all that is known without its seal.
#[cold]
#[inline(never)]
fn free_slow(p: *mut u8) {
    if p.is_null() {
        return;
    }
    if let Some(index) = MEMBLOCK.index_of(p.addr())
        && MEMBLOCK.granule(index).load(Relaxed) == granule::BINS
        && let Some(class) = bins::chunk_class(p.addr(), index)
    {
        return free_in_slot(p, class);
    }
    let Some(found) = find_sealed("free", p) else { return };
    match found.place {
        // Outside the reservation.
        Place::Slab(class) => free_in_slot(p, class),
        Place::Chunk(_) | Place::Extent | Place::Guarded => block::free(p),
        Place::Run(_) => {
            // SAFETY: a block in use in a slot of this size, which the program gives up.
            unsafe {
                if ZERO.load(Relaxed) {
                    p.write_bytes(0, found.size - TRAILER);
                }
                Sealed::in_slot(p, found.size).free();
            }
            match quarantine() {
                Some(q) => q.add_run(p, found.size),
                None => block::free(p),
            }
        }
    }
}

/// Finds a block in use whose seal is whole; None, and a report, if it is none.
fn find_sealed(call: &str, p: *mut u8) -> Option<Found> {
    let found = block::find(call, p)?;
    let Seal::Whole(_) = look(p, found) else {
        bad_seal(call, p);
        return None;
    };
    Some(found)
}

fn look(p: *mut u8, found: Found) -> Seal {
    // SAFETY: a block, as slabs, bins and page map have it.
    unsafe {
        match found.place {
            Place::Guarded => Sealed::before_guard(p).look_guarded(found.size),
            _ => Sealed::in_slot(p, slot_of(found)).look(),
        }
    }
}

/// Finds a block by its address; None, and a report, if none starts there or its seal is broken. Its size is what it was
/// asked for.
pub(crate) fn find(call: &str, p: *mut u8) -> Option<Found> {
    let found = block::find(call, p)?;
    match look(p, found) {
        Seal::Whole(slack) if found.place == Place::Guarded => Some(Found { size: found.size - slack, ..found }),
        Seal::Whole(slack) => Some(Found { size: slot_of(found) - TRAILER - slack, ..found }),
        _ => {
            bad_seal(call, p);
            None
        }
    }
}

#[cold]
#[inline(never)]
fn bad_seal_at_free(p: *mut u8) {
    bad_seal("free", p);
}

/// Says what is wrong with a pointer to something that has no valid seal.
#[cold]
#[inline(never)]
fn bad_seal(call: &str, p: *mut u8) {
    // What is known as free, or as no block, is reported by this.
    let Some(found) = block::find(call, p) else { return };
    let room = if found.place == Place::Guarded { found.size } else { slot_of(found) - TRAILER };
    let what = match look(p, found) {
        Seal::Freed => Misuse::DoubleFree { size: room },
        _ => Misuse::Overflow { room },
    };
    misuse(call, p.addr(), what);
}

/// Makes a block that [`find`] found longer or shorter, or null: then it must be copied.
pub(crate) fn resize(p: *mut u8, found: Found, align: usize, size: usize) -> *mut u8 {
    let Some(whole) = size.checked_add(TRAILER) else { return null_mut() };
    let Some(slot) = block::find("realloc", p).map(slot_of) else { return null_mut() };
    // What a shorter run or chunk leaves behind would have to be zeroed before anybody else can get it.
    let shrinks = whole < slot && ZERO.load(Relaxed);
    let q = match found.place {
        Place::Guarded => return null_mut(),
        Place::Slab(class) if class_for(whole, align) == Some(class) => p,
        Place::Chunk(_) | Place::Run(_) if !shrinks => {
            // SAFETY: a block in use; if it stays as it is, it is sealed again.
            let sealed = unsafe { Sealed::in_slot(p, slot) };
            sealed.wipe();
            let q = block::resize(p, Found { size: slot, ..found }, align, whole);
            if q.is_null() {
                sealed.seal(found.size);
            }
            q
        }
        Place::Extent => block::resize(p, Found { size: slot, ..found }, align, whole),
        _ => null_mut(),
    };
    if !q.is_null()
        && let Some(found) = block::find("realloc", q)
    {
        // SAFETY: a block in use in a slot of this size.
        unsafe { Sealed::in_slot(q, slot_of(found)) }.seal(size);
    }
    q
}

/// Gives back what is in a heap's quarantine.
pub(crate) fn give_everything_back(heap: &Heap, strictness: Strictness) {
    // SAFETY: null, or the heap's quarantine; its thread is the caller, or gone.
    if let Some(q) = unsafe { heap.quarantine.get().as_ref() } {
        q.give_everything_back(strictness);
    }
}

/// Looks at what is in the quarantine of this thread's heap; reports what was written to.
pub(crate) fn check(heap: &Heap) {
    // SAFETY: as above.
    if let Some(q) = unsafe { heap.quarantine.get().as_ref() } {
        q.check();
    }
}
