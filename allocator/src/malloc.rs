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
use crate::bins::{self, Around, chunk_class};
use crate::direct::{self, Strictness};
use crate::extent::EXTENTS;
use crate::heap::Heap;
use crate::kmem;
use crate::memblock::{GRANULE_SHIFT, MEMBLOCK, Memblock, NodeId, TABLE_GRANULES, granule};
use crate::page::{Kind, PageIndex, Tag};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{
    CLASS_MAX, Class, NR_CLASSES, NR_SLAB_CLASSES, RECIPROCALS, class_for, class_of, size_of_class,
};
use crate::slab::slab::SLAB_BYTES;
use crate::thread;
use crate::zone::buddy::{MigrateType, Order};
use crate::zone::node::{SlabBacking, node, node_of, nodes, slab_at};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Largest block served by a run of pages: one chunk.
const RUN_MAX: usize = Order::MAX.pages() as usize * PAGE;

/// Largest request: more cannot be addressed by differences of pointers.
const REQUEST_MAX: usize = isize::MAX as usize - (4 << 20);

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
    let object = malloc_fast(size);
    if object.is_null() { malloc_slow(size) } else { object }
}

/// The hot path alone: null when [`malloc`] must be called, and `errno` is untouched. For callers with a slow path of their
/// own (`operator new`).
#[inline(always)]
pub fn malloc_fast(size: usize) -> *mut u8 {
    let heap = heap_pointer();
    // SAFETY: this thread's heap or a sentinel; sheaves come from its tables.
    unsafe {
        match Heap::class_of(heap, size) {
            Some(class) => Heap::pop(heap, class),
            None => null_mut(),
        }
    }
}

/// Frees a block. Null is allowed. A pointer that is not a block in use is reported, at the latest when its sheaf is
/// flushed, and the process aborted.
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
    if align <= 16 { malloc(size) } else { memalign(align, size) }
}

/// Allocates `size` bytes at a multiple of `align`, a power of two. Null with `ENOMEM` if there is no memory.
pub fn memalign(align: usize, size: usize) -> *mut u8 {
    if align <= 16 {
        return malloc(size);
    }
    let size = size.max(1);
    match class_for(size, align) {
        Some(class) => alloc_class(class).address,
        None => alloc_large(size, align).address,
    }
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
    let block = match class_for(size, align) {
        Some(class) => {
            // SAFETY: this thread's heap or a sentinel.
            let object = unsafe { Heap::pop(heap_pointer(), class as usize) };
            if object.is_null() { alloc_class(class) } else { Block { address: object, zeroed: false } }
        }
        None => alloc_large(size, align),
    };
    if !block.zeroed && !block.address.is_null() {
        // SAFETY: a new block of at least this size.
        unsafe { block.address.write_bytes(0, size) };
    }
    block.address
}

/// Changes the size of a block, in place if it can, keeping its contents up to the smaller size. A null block is
/// allocated. Null with `ENOMEM` if there is no memory; the old block is untouched then. Size 0 is taken as 1.
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
    let block = find_block("realloc", p);
    let old = block.size;
    if let Some(class) = block.class()
        && thread::existing().is_some_and(|heap| heap.has_cached(class, p))
    {
        misuse("realloc", p.addr(), Misuse::DoubleFree { size: old });
    }
    match (block.place, class_for(size, align)) {
        (Place::Slab(class), wanted) if wanted == Some(class) => return p,
        (Place::Chunk(index), Some(wanted)) if wanted as usize > NR_SLAB_CLASSES => {
            let now = chunk_class(p.addr(), index);
            if now == Some(wanted) || node_of(index).bins.resize(p.addr(), index, size_of_class(wanted), wanted) {
                return p;
            }
        }
        (Place::Run(index), None) if resize_run(index, old / PAGE, size.div_ceil(PAGE)) => return p,
        (Place::Extent, None) => {
            let q = EXTENTS.resize(p.addr(), size, align <= PAGE);
            if !q.is_null() {
                return q;
            }
        }
        _ => {}
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
            Some(class) if to == from && class as usize <= NR_SLAB_CLASSES => p,
            Some(class) if class as usize <= NR_SLAB_CLASSES => {
                let q = alloc(align, size);
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

/// Bytes usable in a block; 0 for null.
///
/// # Safety
/// `p` is null or a block.
pub unsafe fn usable_size(p: *mut u8) -> usize {
    if p.is_null() { 0 } else { find_block("malloc_usable_size", p).size }
}

// ------------------------------------------------------------------------------------------------ slow paths

/// A new block.
#[derive(Clone, Copy)]
struct Block {
    address: *mut u8,
    zeroed: bool,
}

const NO_BLOCK: Block = Block { address: null_mut(), zeroed: false };

#[cold]
#[inline(never)]
fn malloc_slow(size: usize) -> *mut u8 {
    let size = size.max(1);
    if size <= CLASS_MAX { alloc_class(class_of(size)).address } else { alloc_large(size, 16).address }
}

/// A block of a class, when its sheaf is empty or may be.
#[inline(never)]
fn alloc_class(class: Class) -> Block {
    for attempt in 0..2 {
        let block = try_alloc_class(class);
        if !block.address.is_null() {
            return block;
        }
        if attempt == 0 && !reclaim() {
            break;
        }
    }
    out_of_memory();
    NO_BLOCK
}

fn try_alloc_class(class: Class) -> Block {
    let Some(heap) = thread::current() else {
        return Block { address: direct::alloc_direct(class), zeroed: false };
    };
    let object = heap.pop(class);
    if !object.is_null() {
        return Block { address: object, zeroed: false };
    }
    if class as usize <= NR_SLAB_CLASSES {
        return Block { address: heap.refill(class), zeroed: false };
    }
    heap.refill_chunks(class).map_or(NO_BLOCK, |chunk| Block { address: chunk.address, zeroed: chunk.zeroed })
}

/// A block above the size classes, or with an alignment they do not have.
#[cold]
#[inline(never)]
fn alloc_large(size: usize, align: usize) -> Block {
    if size > REQUEST_MAX || align > REQUEST_MAX {
        out_of_memory();
        return NO_BLOCK;
    }
    for attempt in 0..2 {
        if let Some(block) = try_alloc_large(size, align) {
            return block;
        }
        if attempt == 0 && !reclaim() {
            break;
        }
        MEMBLOCK.give_up_unused(size.max(align));
    }
    out_of_memory();
    NO_BLOCK
}

fn try_alloc_large(size: usize, align: usize) -> Option<Block> {
    if align > RUN_MAX || size > RUN_MAX && size > EXTENTS.threshold() {
        return extent(size, align);
    }
    let node = thread::current().map(|heap| heap.node()).or_else(|| node(NodeId(0)))?;
    let pages = size.div_ceil(PAGE) as u32;
    let Some(run) = node.zone.alloc_exact(pages, (align / PAGE).max(1) as u32, MigrateType::Direct) else {
        return extent(size, align);
    };
    let page = MEMBLOCK.page_map();
    page.page(run.start).n.store(pages as u16, Relaxed);
    page.page(run.start).set_tag(Tag::new(Kind::Run, 0, 0));
    Some(Block { address: MEMBLOCK.address_of(run.start), zeroed: run.zeroed })
}

fn extent(size: usize, align: usize) -> Option<Block> {
    let address = EXTENTS.alloc(size, align);
    (!address.is_null()).then_some(Block { address, zeroed: true })
}

/// Makes a run longer or shorter where it is.
fn resize_run(index: PageIndex, old: usize, new: usize) -> bool {
    if new > u16::MAX as usize {
        return false;
    }
    let page = MEMBLOCK.page_map().page(index);
    let zone = &node_of(index).zone;
    if new < old {
        page.n.store(new as u16, Relaxed);
        zone.free_exact(index.add(new as u32), (old - new) as u32);
    } else if new > old {
        if zone.extend(index.add(old as u32), (new - old) as u32).is_none() {
            return false;
        }
        page.n.store(new as u16, Relaxed);
    }
    true
}

/// `free` where the fast path of small blocks ends: the fast path of medium ones. `class` is what the granule table says; the
/// block lies in the reservation.
#[cold]
#[inline(never)]
unsafe fn free_not_small(p: *mut u8, class: usize, heap: *const Heap) {
    if class != granule::BINS as usize {
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

/// `free` where the fast paths end: a full sheaf, a block that is no slab's, or an address outside the reservation.
#[cold]
#[inline(never)]
fn free_slow(p: *mut u8) {
    let address = p.addr();
    let Some(index) = MEMBLOCK.index_of(address) else { return free_outside(p) };
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if class == granule::BINS {
        return match chunk_class(address, index) {
            // SAFETY: this thread's heap or a sentinel; a chunk in use of this class.
            Some(class) if unsafe { Heap::push(heap_pointer(), class as usize, p) } => {}
            Some(class) => free_sized_slow(p, class),
            None => bad_pointer("free", address, index),
        };
    }
    if class as usize <= NR_SLAB_CLASSES && class != granule::NONE {
        // SAFETY: as above. Outside the reservation the fast path has not tried this.
        if unsafe { !Heap::push(heap_pointer(), class as usize, p) } {
            free_sized_slow(p, class);
        }
        return;
    }
    if class == granule::CACHE {
        bad_pointer("free", address, index);
    }
    free_run(p, index);
}

#[cold]
#[inline(never)]
fn free_sized_slow(p: *mut u8, class: Class) {
    match thread::current() {
        Some(heap) => {
            // SAFETY: the heap is this thread's; it may just have been made.
            if unsafe { !Heap::push(heap_pointer(), class as usize, p) } {
                heap.free_full(class, p);
            }
        }
        None => direct::give_back(class, &[p], Strictness::Report),
    }
}

#[inline(never)]
fn free_run(p: *mut u8, index: PageIndex) {
    let page = MEMBLOCK.page_map().page(index);
    let tag = page.tag();
    // Of two threads that free the same run, one finds the tag changed.
    if tag.kind() != Kind::Run || !p.addr().is_multiple_of(PAGE) || !page.replace_tag(tag, Tag::INSIDE) {
        bad_pointer("free", p.addr(), index);
    }
    node_of(index).zone.free_exact(index, page.n.load(Relaxed) as u32);
}

#[inline(never)]
fn free_outside(p: *mut u8) {
    if !p.is_null() && !EXTENTS.free(p.addr()) {
        bad_pointer_outside("free", p.addr());
    }
}

enum Place {
    Slab(Class),
    Chunk(PageIndex),
    Run(PageIndex),
    Extent,
}

struct Found {
    place: Place,
    size: usize,
}

impl Found {
    /// The class whose sheaf the block would go to.
    fn class(&self) -> Option<Class> {
        match self.place {
            Place::Slab(class) => Some(class),
            Place::Chunk(index) => Some(bins::class_at(index)),
            Place::Run(_) | Place::Extent => None,
        }
    }
}

/// Finds a block by its address alone; reports and aborts if none starts there.
fn find_block(call: &str, p: *mut u8) -> Found {
    let address = p.addr();
    let Some(index) = MEMBLOCK.index_of(address) else {
        return match EXTENTS.size_at(address) {
            Some(size) => Found { place: Place::Extent, size },
            None => bad_pointer_outside(call, address),
        };
    };
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if class == granule::BINS && chunk_class(address, index).is_some() {
        return Found { place: Place::Chunk(index), size: bins::chunk_size(index) };
    }
    if class as usize <= NR_SLAB_CLASSES && class != granule::NONE {
        let (size, offset) = (size_of_class(class), address % SLAB_BYTES);
        let number = ((offset as u64 * RECIPROCALS[class as usize] as u64) >> 32) as usize;
        // SAFETY: the granule byte says that a slab is here.
        let slab = unsafe { &*slab_at(index) };
        if number * size == offset && number < slab.objects as usize && !slab.is_free(number) {
            return Found { place: Place::Slab(class), size };
        }
    }
    if class == granule::NONE {
        let page = MEMBLOCK.page_map().page(index);
        if page.tag().kind() == Kind::Run && address.is_multiple_of(PAGE) {
            return Found { place: Place::Run(index), size: page.n.load(Relaxed) as usize * PAGE };
        }
    }
    bad_pointer(call, address, index)
}

/// Says what is known of an address in our memory where no block in use starts.
#[cold]
#[inline(never)]
fn bad_pointer(call: &str, address: usize, index: PageIndex) -> ! {
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if class != granule::NONE && (class as usize) < NR_CLASSES {
        let (size, offset) = (size_of_class(class), address % SLAB_BYTES);
        let number = offset / size;
        let start = address - offset + number * size;
        let what = if number * size == offset { Misuse::DoubleFree { size } } else { Misuse::Interior { start, size } };
        misuse(call, address, what);
    }
    if class == granule::CACHE {
        misuse(call, address, Misuse::OfCache { name: kmem::cache::name_at(index) });
    }
    let around = if class == granule::BINS { bins::chunk_around(address, index) } else { run_around(address, index) };
    let what = match around {
        Some(Around { start, size, free: true }) if start == address => Misuse::DoubleFree { size },
        Some(Around { start, size, free: false }) => Misuse::Interior { start, size },
        _ => Misuse::NotAllocated,
    };
    misuse(call, address, what)
}

/// The run an address lies in; for reports.
fn run_around(address: usize, index: PageIndex) -> Option<Around> {
    let map = MEMBLOCK.page_map();
    // Walk back to what this page is inside of.
    let start = (MEMBLOCK.lowest_beside(index).0..=index.0)
        .rev()
        .map(PageIndex)
        .take_while(|&i| MEMBLOCK.granule(i).load(Relaxed) == granule::NONE)
        .find(|&i| map.page(i).tag().kind() != Kind::Inside)?;
    let around = Around {
        start: MEMBLOCK.address_of(start).addr(),
        size: map.page(start).n.load(Relaxed) as usize * PAGE,
        free: false,
    };
    (map.page(start).tag().kind() == Kind::Run && address - around.start < around.size).then_some(around)
}

/// Says what is known of an address that is not in a chunk of ours.
#[cold]
#[inline(never)]
fn bad_pointer_outside(call: &str, address: usize) -> ! {
    let what = EXTENTS.around(address).map_or(Misuse::Foreign, |(start, size)| Misuse::Interior { start, size });
    misuse(call, address, what)
}

/// Gives back what is cached, so that a failed request may succeed. False if that cannot help.
#[cold]
pub(crate) fn reclaim() -> bool {
    if !MEMBLOCK.ensure_ready() {
        return false;
    }
    trim(0);
    true
}

/// Sets `errno` and returns null.
#[cold]
pub(crate) fn out_of_memory() -> *mut u8 {
    // SAFETY: errno's address is valid for this thread.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    null_mut()
}

// ------------------------------------------------------------------------------------------------ whole-heap requests

/// Gives free memory back to the system, keeping about `pad` bytes of it; true if any was given back. What other
/// threads hold in their sheaves stays with them.
pub fn trim(pad: usize) -> bool {
    let mut bytes = 0;
    if let Some(heap) = thread::existing() {
        heap.give_everything_back(Strictness::Report);
    }
    kmem::table::shrink_all();
    for node in nodes() {
        for class in 1..=NR_SLAB_CLASSES {
            let backing = SlabBacking { node, class: class as Class };
            node.caches[class].shrink(&backing);
        }
        node.bins.trim(&node.zone);
        bytes += node.bins.purge();
        bytes += node.zone.purge(pad);
    }
    bytes != 0
}

/// Looks through what this thread has freed last and nothing has checked yet; reports wrong pointers among it and aborts.
/// For the end of a process, so that an error in a short program is not missed. Changes nothing.
pub fn check_at_exit() {
    if let Some(heap) = thread::existing() {
        heap.check();
    }
}

/// Totals in bytes, for `mallinfo` and the like. A snapshot: parts are taken one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Obtained from the system for blocks up to 4 MiB.
    pub mapped: usize,
    /// In blocks the program has, and in caches of threads.
    pub in_use: usize,
    /// Free, in pages, slabs and bins.
    pub free: usize,
    /// In blocks with a mapping of their own.
    pub huge: usize,
    /// Number of those.
    pub huge_count: usize,
    /// Address space set aside for the allocator's own tables.
    pub metadata: usize,
    /// Free memory that still occupies pages.
    pub dirty: usize,
}

/// Counts what the allocator has.
pub fn totals() -> Totals {
    let mut totals = Totals::default();
    for node in nodes() {
        let zone = node.zone.counts();
        totals.mapped += zone.present * PAGE;
        totals.free += zone.free * PAGE;
        totals.dirty += zone.dirty_free * PAGE;
        totals.free += node.bins.counts().1;
    }
    let (count, bytes) = EXTENTS.counts();
    totals.huge = bytes;
    totals.huge_count = count;
    totals.in_use = totals.mapped.saturating_sub(totals.free) + bytes;
    totals.metadata = MEMBLOCK.metadata_bytes();
    totals
}

/// The knobs of `mallopt` that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Size in bytes above which a block gets a mapping of its own (4 MiB at least); at most 32 MiB.
    MmapThreshold,
    /// Free memory in bytes kept before it is given back.
    TrimThreshold,
    /// Number of mappings; accepted, and without effect.
    MmapMax,
    /// Byte to fill freed memory with; accepted, and without effect.
    Perturb,
}

/// Sets a knob; false if the value is not allowed.
pub fn set_knob(knob: Knob, value: usize) -> bool {
    match knob {
        Knob::MmapThreshold => EXTENTS.set_threshold(value),
        Knob::TrimThreshold | Knob::MmapMax | Knob::Perturb => true,
    }
}
