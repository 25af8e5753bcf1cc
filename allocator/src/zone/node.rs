//! What belongs to one NUMA node: its zone, its bins, and its slab caches. Made on first use, kept for good.

use crate::bins::Bins;
use crate::config;
use crate::lock::Lock;
use crate::memblock::{GRANULE_SHIFT, MEMBLOCK, NODE_AREA, NodeId, granule};
use crate::page::{Kind, PageIndex, Tag};
use crate::slab::cache::{Backing, Cache};
use crate::slab::size_class::{CAPACITIES, Class, NR_SLAB_CLASSES, size_of_class};
use crate::slab::slab::{OWN_WORDS, SLAB_BYTES, Slab};
use crate::zone::Zone;
use crate::zone::buddy::{MigrateType, Order};
use core::sync::atomic::{
    AtomicPtr, AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

/// Objects that enter or leave a sheaf at once: half of it.
#[inline]
pub(crate) fn batch_of(class: Class) -> usize {
    CAPACITIES[class as usize].div_ceil(2) as usize
}

/// Pages of a slab.
pub(crate) const SLAB_ORDER: Order = Order::new((GRANULE_SHIFT - 12) as u8);

/// See the module's text.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) zone: Zone,
    /// By arena; those beyond the configured number stay empty.
    pub(crate) bins: [Bins; granule::MAX_ARENAS],
    next_arena: AtomicU8,
    /// By size class; the first is unused.
    pub(crate) caches: [Cache; NR_SLAB_CLASSES + 1],
}

/// Arenas that new heaps are spread over, if `mallopt` has said so; else 0.
static ARENAS: AtomicU8 = AtomicU8::new(0);

/// Sets how many arenas new heaps are spread over; 0: as configured.
pub(crate) fn set_arenas(arenas: usize) {
    ARENAS.store(arenas.min(granule::MAX_ARENAS) as u8, Relaxed);
}

impl Node {
    /// The bins for a new heap: those of each configured arena in turn.
    pub(crate) fn next_bins(&self) -> &Bins {
        let arenas = match ARENAS.load(Relaxed) {
            0 => config::get().arenas,
            set => set,
        };
        let nth = self.next_arena.fetch_add(1, Relaxed) % arenas;
        &self.bins[nth as usize]
    }
}

static NODES: [AtomicPtr<Node>; crate::memblock::MAX_NODES] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; crate::memblock::MAX_NODES];
static MAKING: Lock = Lock::new();

/// A node's structures; None if there is no memory even for them.
#[inline]
pub(crate) fn node(id: NodeId) -> Option<&'static Node> {
    // SAFETY: nodes are never taken down.
    unsafe { NODES[id.0 as usize].load(Acquire).as_ref() }.or_else(|| make(id))
}

/// The node of a page that has been handed out.
#[inline]
pub(crate) fn node_of(index: PageIndex) -> &'static Node {
    let id = MEMBLOCK.node_of(index);
    // SAFETY: a page in use was given out by its node's zone, so the node exists.
    unsafe { &*NODES[id.0 as usize].load(Relaxed) }
}

/// The bins that a page in one of their regions belongs to.
#[inline]
pub(crate) fn bins_of(index: PageIndex) -> &'static Bins {
    let nth = MEMBLOCK.granule(index).load(Relaxed).wrapping_sub(granule::BINS) as usize;
    &node_of(index).bins[nth % granule::MAX_ARENAS]
}

/// The nodes that exist.
pub(crate) fn nodes() -> impl Iterator<Item = &'static Node> {
    // SAFETY: as above.
    NODES.iter().filter_map(|n| unsafe { n.load(Acquire).as_ref() })
}

/// The lock under which nodes are made, for `fork.rs`.
pub(crate) fn lock() -> &'static Lock {
    &MAKING
}

#[cold]
fn make(id: NodeId) -> Option<&'static Node> {
    if !MEMBLOCK.ensure_ready() {
        return None;
    }
    let _guard = MAKING.lock();
    let slot = &NODES[id.0 as usize];
    let known = slot.load(Acquire);
    if !known.is_null() {
        // SAFETY: nodes are never taken down.
        return Some(unsafe { &*known });
    }
    let area = MEMBLOCK.node_area(id);
    if area.is_null() {
        return None;
    }
    let place = area.cast::<Node>();
    // SAFETY: the area is ours, zeroed, aligned to a page and large enough (asserted below); nobody sees it before `store`.
    unsafe {
        place.write(Node {
            id,
            zone: Zone::new(id),
            bins: core::array::from_fn(Bins::new),
            next_arena: AtomicU8::new(0),
            caches: core::array::from_fn(|_| Cache::new()),
        });
    }
    slot.store(place, Release);
    // SAFETY: just made.
    Some(unsafe { &*place })
}

const _: () = assert!(size_of::<Node>() <= NODE_AREA);

/// The layers below a size class's cache.
pub(crate) struct SlabBacking<'a> {
    pub(crate) node: &'a Node,
    pub(crate) class: Class,
}

/// The page a slab's record lies over.
pub(crate) fn slab_page(slab: *mut Slab) -> PageIndex {
    let table = MEMBLOCK.granule_descriptors(PageIndex(0));
    PageIndex(((slab.addr() - table.addr()) / size_of::<crate::page::Page>()) as u32)
}

/// The record of the slab a page of its granule belongs to.
#[inline]
pub(crate) fn slab_at(index: PageIndex) -> *mut Slab {
    MEMBLOCK.granule_descriptors(PageIndex(index.0 & !15)).cast()
}

impl Backing for SlabBacking<'_> {
    fn new_slab(&self) -> *mut Slab {
        let Some(pages) = self.node.zone.alloc_pages(SLAB_ORDER, MigrateType::Slab) else {
            return core::ptr::null_mut();
        };
        let slab = slab_at(pages.start);
        let size = size_of_class(self.class);
        let objects = (SLAB_BYTES / size) as u16;
        let more_bits = if objects as usize > OWN_WORDS * 64 {
            MEMBLOCK.granule_bitmap(pages.start).cast()
        } else {
            core::ptr::null_mut()
        };
        let head = [Tag::new(Kind::Slab, 0, self.class).0, 0, 0, 0];
        // SAFETY: the granule is ours alone, so are its descriptors and its entry in the bitmap table.
        unsafe { Slab::init(slab, head, MEMBLOCK.address_of(pages.start), size as u32, objects, more_bits) };
        // Release: whoever reads this byte reads the record as it is now.
        MEMBLOCK.granule(pages.start).store(self.class, Release);
        slab
    }

    fn is_ours(&self, slab: *mut Slab) -> bool {
        MEMBLOCK.granule(slab_page(slab)).load(Acquire) == self.class
    }

    fn retire(&self, slab: *mut Slab) {
        MEMBLOCK.granule(slab_page(slab)).store(granule::NONE, Relaxed);
    }

    fn release(&self, slab: *mut Slab) {
        let start = slab_page(slab);
        // SAFETY: retired, so the record is the caller's alone.
        unsafe { Slab::erase(slab) };
        self.node.zone.free_exact(start, SLAB_ORDER.pages());
    }
}
