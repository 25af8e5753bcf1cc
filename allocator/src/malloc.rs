//! The entry points, with the semantics of C's `malloc` family. **The hot path begins here.**
//!
//! ```text
//! malloc(n) ── class by table ── heap.sheaf[class] ── pop                the hot path ends here
//!                                     │ empty
//!                                     ├─ slab classes: the current slab, another slab, a new one
//!                                     └─ medium classes: the bins
//!           ── above 256 KiB: a run of pages; above 4 MiB: an extent
//!
//! free(p)   ── granule byte of p ── heap.sheaf[class] ── push            the hot path ends here
//!                                     │ full, or not a slab
//!                                     └─ half a sheaf back to the slabs; chunks, runs, extents by their descriptors
//! ```
//!
//! A block's class is always the class of the size that was last asked for it, so that a sized `free` can compute it from
//! the size alone: `realloc` leaves a small block where it is only if the class stays the same.
//!
//! Nothing here unwinds. Functions that return null have set `errno` to `ENOMEM`; nothing else touches `errno`.

use crate::arch::heap_pointer;
use crate::bins;
use crate::block::{self, Block, out_of_memory};
use crate::extent::EXTENTS;
use crate::heap::Heap;
use crate::memblock::{GRANULE_SHIFT, MEMBLOCK, Memblock, TABLE_GRANULES, granule};
use crate::page::PageIndex;
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{NR_SLAB_CLASSES, class_for};
use crate::zone::node::set_arenas;
use crate::{hardened, thread, watch, zone};
use core::ptr::null_mut;

pub use crate::totals::{Totals, totals};
pub use crate::trim::trim;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Allocates `size` bytes, aligned to 16; a distinct block for size 0. Null with `ENOMEM` if there is no memory.
///
/// # Examples
/// ```
/// use fairground_allocator::malloc::{free, malloc};
/// let p = malloc(100);
/// assert!(!p.is_null() && p.addr() % 16 == 0);
/// // SAFETY: just allocated, freed once.
/// unsafe { free(p) };
/// ```
#[inline(always)]
pub fn malloc(size: usize) -> *mut u8 {
    let heap = heap_pointer();
    // SAFETY: this thread's.
    if unsafe { Heap::counts_down(heap) } {
        return look_around(size);
    }
    // SAFETY: the same.
    unsafe { malloc_from(heap, size) }
}

/// [`malloc`] from this thread's heap.
///
/// # Safety
/// `heap` is this thread's, or a sentinel.
#[inline(always)]
unsafe fn malloc_from(heap: *const Heap, size: usize) -> *mut u8 {
    // SAFETY: by the caller.
    let object = unsafe { pop(heap, size) };
    if object.is_null() { malloc_slow(size, heap) } else { object }
}

/// [`malloc`] where the compiler may know the size, and two instructions more would be a tenth: it does not count.
#[inline(always)]
fn malloc_in_place(size: usize) -> *mut u8 {
    // SAFETY: this thread's.
    unsafe { malloc_from(heap_pointer(), size) }
}

/// The hot path alone: null when [`malloc`] must be called, and `errno` is untouched. For callers with a slow path of their
/// own (`operator new`).
#[inline(always)]
pub fn malloc_fast(size: usize) -> *mut u8 {
    let heap = heap_pointer();
    // SAFETY: this thread's. Called for a look, `malloc` finds the count below zero still.
    unsafe { if Heap::counts_down(heap) { null_mut() } else { pop(heap, size) } }
}

/// As [`malloc_fast`].
///
/// # Safety
/// `heap` is this thread's, or a sentinel.
#[inline(always)]
unsafe fn pop(heap: *const Heap, size: usize) -> *mut u8 {
    // SAFETY: by the caller; sheaves come from the heap's tables.
    unsafe {
        match Heap::class_of(heap, size) {
            Some(class) => Heap::pop(heap, class),
            None => null_mut(),
        }
    }
}

/// Frees a block. Null is allowed. A pointer that is not a block in use is reported, at the latest when its sheaf is
/// flushed, and the process aborted unless it is configured otherwise.
///
/// # Safety
/// Nobody uses the block any more.
#[inline(always)]
pub unsafe fn free(p: *mut u8) {
    let base = MEMBLOCK.base();
    let number = p.addr().wrapping_sub(base) >> GRANULE_SHIFT;
    if number >= TABLE_GRANULES {
        return free_slow(p);
    }
    // SAFETY: the table starts at base and is readable for every granule below TABLE_GRANULES.
    unsafe {
        let class = *core::ptr::with_exposed_provenance::<u8>(base).add(number) as usize;
        let heap = heap_pointer();
        if !Heap::push(heap, class, p) {
            free_not_small(p, class, heap);
        }
    }
}

/// Frees a block whose size is known, without looking anything up.
///
/// # Safety
/// As [`free`]; `size` is what the block was last asked for, without a special alignment.
#[inline(always)]
pub unsafe fn free_sized(p: *mut u8, size: usize) {
    let heap = heap_pointer();
    // SAFETY: by the caller. A null is pushed like anything else; the slow paths drop it.
    unsafe {
        match Heap::class_of(heap, size) {
            Some(class) => {
                if !Heap::push(heap, class, p) {
                    free_slow(p);
                }
            }
            None => free(p),
        }
    }
}

/// Frees a block whose size and alignment are known, without looking anything up.
///
/// # Safety
/// As [`free`]; `size` and `align` are what the block was last asked for.
#[inline(always)]
pub unsafe fn free_aligned_sized(p: *mut u8, align: usize, size: usize) {
    // SAFETY: by the caller.
    unsafe { if align <= 16 { free_sized(p, size) } else { free(p) } }
}

/// [`free_aligned_sized`] for a block that is known to be one: what `GlobalAlloc::dealloc` may assume.
///
/// # Safety
/// As there, and `p` is not null.
#[inline(always)]
pub(crate) unsafe fn dealloc(p: *mut u8, align: usize, size: usize) {
    // SAFETY: by the caller. Alignments beyond 16 are rare enough to look the block up.
    unsafe { if align <= 16 { free_sized(p, size) } else { free(p) } }
}

/// Allocates for a size and alignment the compiler may know.
#[inline(always)]
pub(crate) fn alloc(align: usize, size: usize) -> *mut u8 {
    if align <= 16 { malloc_in_place(size) } else { memalign(align, size) }
}

/// Allocates `size` bytes at a multiple of `align`, a power of two. Null with `ENOMEM` if there is no memory.
pub fn memalign(align: usize, size: usize) -> *mut u8 {
    if align <= 16 {
        return malloc(size);
    }
    alloc_slow(align, size.max(1))
}

/// Allocates `count * size` bytes of zeroes. Null with `ENOMEM` if there is no memory or the product overflows.
pub fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(total) = count.checked_mul(size) else { return out_of_memory() };
    zalloc(16, total)
}

/// Allocates zeroes at a multiple of `align`, skipping the work where memory is known to be zero.
#[inline]
pub(crate) fn zalloc(align: usize, size: usize) -> *mut u8 {
    let size = size.max(1);
    if watch::on() {
        return watch::alloc(align, size, true);
    }
    let block = match class_for(size, align) {
        Some(class) => {
            // SAFETY: this thread's heap or a sentinel.
            let object = unsafe { Heap::pop(heap_pointer(), class as usize) };
            if object.is_null() { block::alloc_class(class) } else { Block { address: object, zeroed: false } }
        }
        None => block::alloc(align, size),
    };
    if !block.zeroed && !block.address.is_null() {
        // SAFETY: a new block of at least this size.
        unsafe { block.address.write_bytes(0, size) };
    }
    block.address
}

/// Changes the size of a block, in place if it can, keeping its contents up to the smaller size. A null block is
/// allocated. Null with `ENOMEM` if there is no memory; the old block is untouched then. Null with `EINVAL` for a pointer that
/// is no block, if the configuration says that such errors are only reported. Size 0 is taken as 1.
///
/// # Safety
/// `p` is null or a block without a special alignment; if the result is not null, only the result may be used.
pub unsafe fn realloc(p: *mut u8, size: usize) -> *mut u8 {
    if p.is_null() {
        return malloc(size);
    }
    // SAFETY: by the caller.
    unsafe { realloc_aligned(p, 16, size.max(1)) }
}

/// Changes the size of a block that has an alignment.
///
/// # Safety
/// As [`realloc`]; `align` is the block's.
pub(crate) unsafe fn realloc_aligned(p: *mut u8, align: usize, size: usize) -> *mut u8 {
    let Some(block) = watch::find("realloc", p) else { return not_a_block() };
    let old = block.size;
    if let Some(class) = block.class()
        && thread::existing().is_some_and(|heap| heap.has_cached(class, p))
    {
        misuse("realloc", p.addr(), Misuse::DoubleFree { size: old });
        return not_a_block();
    }
    let q = if watch::on() { watch::resize(p, block, align, size) } else { block::resize(p, block, align, size) };
    if !q.is_null() {
        return q;
    }
    let q = memalign(align, size);
    if !q.is_null() {
        // SAFETY: two blocks of at least this size; then the old one is freed as the caller wants.
        unsafe {
            q.copy_from_nonoverlapping(p, old.min(size));
            free(p);
        }
    }
    q
}

/// Changes the size of a block whose size is known: small blocks need no look-up.
///
/// # Safety
/// As [`realloc`]; `p` is a block of this size and alignment.
#[inline]
pub(crate) unsafe fn realloc_layout(p: *mut u8, align: usize, old: usize, size: usize) -> *mut u8 {
    let (from, to) = (class_for(old, align), class_for(size, align));
    // SAFETY: by the caller throughout.
    unsafe {
        match from {
            Some(class) if to == from && class as usize <= NR_SLAB_CLASSES && !watch::on() => p,
            Some(class) if class as usize <= NR_SLAB_CLASSES && !watch::on() => {
                let q = if align <= 16 { malloc(size) } else { memalign(align, size) };
                if !q.is_null() {
                    q.copy_from_nonoverlapping(p, old.min(size));
                    dealloc(p, align, old);
                }
                q
            }
            _ => realloc_aligned(p, align, size),
        }
    }
}

/// What `realloc` returns for a pointer that is no block, should the process go on after the report.
#[cold]
fn not_a_block() -> *mut u8 {
    // SAFETY: errno's address is valid for this thread.
    unsafe { *libc::__errno_location() = libc::EINVAL };
    null_mut()
}

/// Bytes usable in a block; 0 for null, and for a pointer that is no block if the process goes on after the report.
///
/// # Safety
/// `p` is null or a block.
pub unsafe fn usable_size(p: *mut u8) -> usize {
    if p.is_null() { 0 } else { watch::find("malloc_usable_size", p).map_or(0, |block| block.size) }
}

// ------------------------------------------------------------------------------------------------ slow paths

#[cold]
#[inline(never)]
fn malloc_slow(size: usize, heap: *const Heap) -> *mut u8 {
    if size >= hardened::GUARD_MIN {
        return malloc_slower(size);
    }
    // First of all, for while hardening is on every request takes this path.
    // SAFETY: this thread's heap or a sentinel; quarantines are never unmapped.
    if let Some(quarantine) = unsafe { (*heap).quarantine.get().as_ref() } {
        return hardened::alloc_from(quarantine, size);
    }
    malloc_slower(size)
}

/// Now and then on the hot path: a program whose sheaves are warm may not take a slow path for ever, and what it freed before would
/// never go back (`reclaim.rs`).
#[cold]
#[inline(never)]
fn look_around(size: usize) -> *mut u8 {
    if let Some(heap) = thread::existing() {
        heap.look_around();
    }
    malloc_in_place(size)
}

#[inline(never)]
fn malloc_slower(size: usize) -> *mut u8 {
    alloc_slow(16, size.max(1))
}

/// A block that the hot path has not got; `size` is not 0.
fn alloc_slow(align: usize, size: usize) -> *mut u8 {
    if watch::on() { watch::alloc(align, size, false) } else { block::alloc(align, size).address }
}

/// `free` where the fast path of small blocks ends: the fast path of medium ones. `class` is what the granule table says; the
/// block lies in the reservation.
#[cold]
#[inline(never)]
unsafe fn free_not_small(p: *mut u8, class: usize, heap: *const Heap) {
    if !granule::is_bins(class as u8) {
        // SAFETY: as in `malloc_slow`.
        if let Some(quarantine) = unsafe { (*heap).quarantine.get().as_ref() } {
            return hardened::free_granule(quarantine, p, class as u8);
        }
        return free_slow(p);
    }
    let base = MEMBLOCK.base();
    let index = PageIndex((p.addr().wrapping_sub(base) / PAGE) as u32);
    let tag = Memblock::page_map_behind(base).page(index).tag();
    match bins::class_by_tag(p.addr(), tag) {
        // SAFETY: this thread's heap or a sentinel; a chunk in use of this class.
        Some(class) if unsafe { Heap::push(heap, class as usize, p) } => {}
        _ => free_slow(p),
    }
}

/// `free` where the fast paths end.
#[cold]
#[inline(never)]
fn free_slow(p: *mut u8) {
    // SAFETY: as in `malloc_slow`.
    if let Some(quarantine) = unsafe { (*heap_pointer()).quarantine.get().as_ref() } {
        return hardened::free_to(quarantine, p);
    }
    if watch::on() { watch::free(p) } else { block::free(p) }
}

// ------------------------------------------------------------------------------------------------ whole-heap requests

/// Looks through what this thread has freed last and nothing has checked yet; reports wrong pointers among it.
/// For the end of a process, so that an error in a short program is not missed. Changes nothing.
pub fn check_at_exit() {
    if let Some(heap) = thread::existing() {
        heap.check();
    }
}

/// The knobs of `mallopt` that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Size in bytes above which a block gets a mapping of its own (4 MiB at least); at most 32 MiB.
    MmapThreshold,
    /// Free memory in bytes kept at most; at least 1 MiB. It goes after a while all the same if it is not needed.
    TrimThreshold,
    /// Sets of bins that threads which begin to allocate are spread over: 0 for the configured number, and 4 at most,
    /// whatever more is said.
    ArenaMax,
    /// Number of mappings; accepted, and without effect.
    MmapMax,
    /// Byte to fill freed memory with; accepted, and without effect.
    Perturb,
}

/// Sets a knob; false if the value is not allowed.
pub fn set_knob(knob: Knob, value: usize) -> bool {
    match knob {
        Knob::MmapThreshold => EXTENTS.set_threshold(value),
        Knob::ArenaMax => {
            set_arenas(value);
            true
        }
        Knob::TrimThreshold => {
            zone::set_dirty_cap(value);
            true
        }
        Knob::MmapMax | Knob::Perturb => true,
    }
}
