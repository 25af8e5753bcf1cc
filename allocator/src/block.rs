//! Blocks: which engine serves a request, and what an address is. The slow side of [`malloc`](crate::malloc), without watchers.
//!
//! Sizes that have a class come through the thread's sheaves (`thread_heap.rs`), from slabs to 8 KiB and from the bins to
//! 256 KiB; larger ones are runs of pages from the zone, and above the mmap threshold extents. An address is looked up the
//! other way round: granule byte, page descriptor, and outside the reservation the table of extents. What is found to be no
//! block in use is reported.

use crate::arch::heap_pointer;
use crate::bins::{self, Around, chunk_class};
use crate::direct::{self, Strictness};
use crate::extent::EXTENTS;
use crate::heap::Heap;
use crate::kmem;
use crate::memblock::{MEMBLOCK, NodeId, granule};
use crate::page::{Kind, PageIndex, Tag};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, NR_CLASSES, NR_SLAB_CLASSES, RECIPROCALS, class_for, size_of_class};
use crate::slab::slab::SLAB_BYTES;
use crate::zone::buddy::{MigrateType, Order};
use crate::zone::node::{bins_of, node, node_of, slab_at};
use crate::{reclaim, thread, trim};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Largest block served by a run of pages: one chunk.
const RUN_MAX: usize = Order::MAX.pages() as usize * PAGE;

/// Largest request: more cannot be addressed by differences of pointers.
const REQUEST_MAX: usize = isize::MAX as usize - (4 << 20);

/// A new block.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) address: *mut u8,
    /// It is known to read as zeroes.
    pub(crate) zeroed: bool,
}

pub(crate) const NO_BLOCK: Block = Block { address: null_mut(), zeroed: false };

/// A block of at least `size` bytes (not 0) at a multiple of `align`; its address is null, and `errno` is `ENOMEM`, if there is
/// no memory.
#[inline]
pub(crate) fn alloc(align: usize, size: usize) -> Block {
    match class_for(size, align) {
        Some(class) => alloc_class(class),
        None => alloc_large(size, align),
    }
}

/// A block of a class, when its sheaf is empty or may be.
#[inline(never)]
pub(crate) fn alloc_class(class: Class) -> Block {
    for attempt in 0..2 {
        let block = try_alloc_class(class);
        if !block.address.is_null() {
            return block;
        }
        if attempt == 0 && !trim::reclaim() {
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
        if let Some(block) = try_alloc_large(size, align, 0) {
            return block;
        }
        if attempt == 0 && !trim::reclaim() {
            break;
        }
        MEMBLOCK.give_up_unused(size.max(align));
    }
    out_of_memory();
    NO_BLOCK
}

/// A block of any size in pages of its own, so that its free takes the slow path. If these are a run, its tag bears `mark`.
pub(crate) fn alloc_apart(align: usize, size: usize, mark: u8) -> Option<Block> {
    if size > REQUEST_MAX || align > REQUEST_MAX { None } else { try_alloc_large(size, align, mark) }
}

fn try_alloc_large(size: usize, align: usize, mark: u8) -> Option<Block> {
    if align > RUN_MAX || is_extent(size) {
        return extent(size, align);
    }
    let node = thread::current().map(|heap| heap.node()).or_else(|| node(NodeId(0)))?;
    let pages = size.div_ceil(PAGE) as u32;
    let Some(run) = node.zone.alloc_exact(pages, (align / PAGE).max(1) as u32, MigrateType::Direct) else {
        return extent(size, align);
    };
    let page = MEMBLOCK.page_map();
    page.page(run.start).n.store(pages as u16, Relaxed);
    page.page(run.start).set_tag(Tag::new(Kind::Run, 0, mark));
    reclaim::look_if_urgent();
    Some(Block { address: MEMBLOCK.address_of(run.start), zeroed: run.zeroed })
}

/// Whether a block of this size, whatever its alignment, gets a mapping of its own.
pub(crate) fn is_extent(size: usize) -> bool {
    size > RUN_MAX && size > EXTENTS.threshold()
}

fn extent(size: usize, align: usize) -> Option<Block> {
    let address = EXTENTS.alloc(size, align);
    (!address.is_null()).then_some(Block { address, zeroed: true })
}

/// Makes a block longer or shorter, if it need not be copied for that: null if it must be. The result may be another address
/// (an extent that the kernel moved).
pub(crate) fn resize(p: *mut u8, block: Found, align: usize, size: usize) -> *mut u8 {
    match (block.place, class_for(size, align)) {
        (Place::Slab(class), wanted) if wanted == Some(class) => p,
        (Place::Chunk(index), Some(wanted)) if wanted as usize > NR_SLAB_CLASSES => {
            let now = chunk_class(p.addr(), index);
            let fits = now == Some(wanted) || bins_of(index).resize(p.addr(), index, size_of_class(wanted), wanted);
            if fits { p } else { null_mut() }
        }
        (Place::Run(index), None) if resize_run(index, block.size / PAGE, size.div_ceil(PAGE)) => p,
        (Place::Extent, None) => EXTENTS.resize(p.addr(), size, align <= PAGE),
        _ => null_mut(),
    }
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
        reclaim::look_if_urgent();
    }
    true
}

/// Frees what the fast paths do not: into a full sheaf, a block that is no slab's, or an address outside the reservation.
pub(crate) fn free(p: *mut u8) {
    let address = p.addr();
    let Some(index) = MEMBLOCK.index_of(address) else { return free_outside(p) };
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if granule::is_bins(class) {
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
        return bad_pointer("free", p.addr(), index);
    }
    node_of(index).zone.free_exact(index, page.n.load(Relaxed) as u32);
    reclaim::look(thread::existing());
}

#[inline(never)]
fn free_outside(p: *mut u8) {
    if !p.is_null() && !EXTENTS.free(p.addr()) {
        bad_pointer_outside("free", p.addr());
    }
    reclaim::look(thread::existing());
}

/// Which engine a block is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Slab(Class),
    Chunk(PageIndex),
    Run(PageIndex),
    Extent,
    /// An extent with a guard page behind it.
    Guarded,
}

/// A block in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// Bytes usable.
    pub(crate) size: usize,
}

impl Found {
    /// The class whose sheaf the block would go to.
    pub(crate) fn class(&self) -> Option<Class> {
        match self.place {
            Place::Slab(class) => Some(class),
            Place::Chunk(index) => Some(bins::class_at(index)),
            Place::Run(_) | Place::Extent | Place::Guarded => None,
        }
    }
}

/// Finds a block by its address alone; None, and a report, if none starts there.
pub(crate) fn find(call: &str, p: *mut u8) -> Option<Found> {
    let address = p.addr();
    let Some(index) = MEMBLOCK.index_of(address) else {
        let found = EXTENTS.size_at(address).map(|(size, guarded)| {
            let place = if guarded { Place::Guarded } else { Place::Extent };
            Found { place, size }
        });
        if found.is_none() {
            bad_pointer_outside(call, address);
        }
        return found;
    };
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if granule::is_bins(class) && chunk_class(address, index).is_some() {
        return Some(Found { place: Place::Chunk(index), size: bins::chunk_size(index) });
    }
    if class as usize <= NR_SLAB_CLASSES && class != granule::NONE {
        let (size, offset) = (size_of_class(class), address % SLAB_BYTES);
        let number = ((offset as u64 * RECIPROCALS[class as usize] as u64) >> 32) as usize;
        // SAFETY: the granule byte says that a slab is here.
        let slab = unsafe { &*slab_at(index) };
        if number * size == offset && number < slab.objects as usize && !slab.is_free(number) {
            return Some(Found { place: Place::Slab(class), size });
        }
    }
    if class == granule::NONE {
        let page = MEMBLOCK.page_map().page(index);
        if page.tag().kind() == Kind::Run && address.is_multiple_of(PAGE) {
            return Some(Found { place: Place::Run(index), size: page.n.load(Relaxed) as usize * PAGE });
        }
    }
    bad_pointer(call, address, index);
    None
}

/// Says what is known of an address in our memory where no block in use starts.
#[cold]
#[inline(never)]
fn bad_pointer(call: &str, address: usize, index: PageIndex) {
    let class = MEMBLOCK.granule(index).load(Relaxed);
    if class != granule::NONE && (class as usize) < NR_CLASSES {
        let (size, offset) = (size_of_class(class), address % SLAB_BYTES);
        let number = offset / size;
        let start = address - offset + number * size;
        let what = if number * size == offset { Misuse::DoubleFree { size } } else { Misuse::Interior { start, size } };
        return misuse(call, address, what);
    }
    if class == granule::CACHE {
        misuse(call, address, Misuse::OfCache { name: kmem::cache::name_at(index) });
    }
    let around = if granule::is_bins(class) { bins::chunk_around(address, index) } else { run_around(address, index) };
    let what = match around {
        Some(Around { start, size, free: true }) if start == address => Misuse::DoubleFree { size },
        Some(Around { start, size, free: false }) => Misuse::Interior { start, size },
        _ => Misuse::NotAllocated,
    };
    misuse(call, address, what);
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
fn bad_pointer_outside(call: &str, address: usize) {
    let what = EXTENTS.around(address).map_or(Misuse::Foreign, |(start, size)| Misuse::Interior { start, size });
    misuse(call, address, what);
}

/// Sets `errno` and returns null.
#[cold]
pub(crate) fn out_of_memory() -> *mut u8 {
    // SAFETY: errno's address is valid for this thread.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    null_mut()
}
