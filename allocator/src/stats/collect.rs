//! Numbers out of the layers, one lock at a time. See the essay of `stats` for what they mean together.

use super::smaps::{self, Resident};
use super::{ORDERS, USES};
use crate::cache::for_each_typed_cache;
use crate::extent::EXTENTS;
use crate::lock::Patience;
use crate::memblock::MEMBLOCK;
use crate::os::map::PAGE_SIZE;
use crate::page::PageIndex;
use crate::registry::REGISTRY;
use crate::slab::size_class::{Class, NR_CLASSES, NR_SLAB_CLASSES, size_of_class};
use crate::slab::slab::{SLAB_BYTES, State};
use crate::thread_heap::ThreadHeap;
use crate::zone::buddy::Order;
use crate::zone::node::{SlabBacking, nodes, slab_at};
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// Size classes that slabs serve.
pub(super) const CLASSES: usize = NR_SLAB_CLASSES;

/// The numbers of one zone, of one moment.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Zone {
    /// The NUMA node's number.
    pub node: usize,
    /// Pages the zone has.
    pub present_pages: usize,
    /// Pages of them that are free.
    pub free_pages: usize,
    /// Free pages that still occupy memory.
    pub dirty_pages: usize,
    /// Free blocks of 2^order pages, by order and use.
    pub free_blocks: [[u32; USES.len()]; ORDERS],
    /// Pageblocks (2 MiB) by use.
    pub pageblocks: [usize; USES.len()],
}

/// Calls `each` with each node's number and zone, None where that is busy.
pub(super) fn for_each_zone(patience: Patience, mut each: impl FnMut(usize, Option<&Zone>)) {
    for node in nodes() {
        let number = node.id.0 as usize;
        let zone = node.zone.census(patience).map(|(counts, pageblocks)| Zone {
            node: number,
            present_pages: counts.present,
            free_pages: counts.free,
            dirty_pages: counts.dirty_free,
            free_blocks: counts.free_blocks,
            pageblocks,
        });
        each(number, zone.as_ref());
    }
}

/// The slabs of one size class.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SlabInfo {
    /// Bytes of an object.
    pub object_size_bytes: usize,
    /// Objects in a slab.
    pub objects_per_slab: usize,
    /// Slabs.
    pub slabs: usize,
    /// Slabs that wait for somebody to take objects from them.
    pub partial_slabs: usize,
    /// Slabs without an object in use.
    pub empty_slabs: usize,
    /// Objects handed out: the program's, and those in threads' sheaves.
    pub active_objects: usize,
    /// Objects the slabs have room for.
    pub total_objects: usize,
    /// Objects in threads' sheaves.
    pub cached_objects: usize,
    /// Slabs that could not be looked at because their lock was taken; 0 except in a signal handler.
    pub busy_slabs: usize,
}

impl SlabInfo {
    /// Bytes of the slabs.
    pub fn slab_bytes(&self) -> usize {
        (self.slabs + self.busy_slabs) * SLAB_BYTES
    }

    /// Bytes of objects that the program has.
    pub fn live_bytes(&self) -> usize {
        self.active_objects.saturating_sub(self.cached_objects) * self.object_size_bytes
    }
}

/// All size classes.
pub(super) fn slabs(patience: Patience) -> [SlabInfo; CLASSES] {
    let mut all: [SlabInfo; CLASSES] = core::array::from_fn(|i| {
        let size = size_of_class(i as Class + 1);
        SlabInfo { object_size_bytes: size, objects_per_slab: SLAB_BYTES / size, ..SlabInfo::default() }
    });
    for node in nodes() {
        // A lock that is busy here leaves chunks outside the reservation out, in a signal handler only.
        let _ = MEMBLOCK.for_each_chunk(node.id, patience, |chunk| {
            for page in (chunk.0..chunk.0 + Order::MAX.pages()).step_by(SLAB_BYTES / PAGE_SIZE) {
                let page = PageIndex(page);
                let class = MEMBLOCK.granule(page).load(Acquire);
                if (1..=CLASSES).contains(&(class as usize)) {
                    let info = &mut all[class as usize - 1];
                    let cache = &node.caches[class as usize];
                    match cache.lock().lock_if(patience) {
                        None => info.busy_slabs += 1,
                        Some(guard) => {
                            let backing = SlabBacking { node, class };
                            if let Some((found, objects)) = cache.look(&guard, slab_at(page), &backing) {
                                let pin = u32::from(found.state == State::Current);
                                let active = found.in_use.saturating_sub(pin).min(objects as u32) as usize;
                                info.slabs += 1;
                                info.partial_slabs += usize::from(found.state == State::Partial);
                                info.empty_slabs += usize::from(active == 0);
                                info.active_objects += active;
                                info.total_objects += objects as usize;
                            }
                        }
                    }
                }
            }
        });
    }
    let _ = REGISTRY.for_each_if(patience, |heap| {
        for (i, info) in all.iter_mut().enumerate() {
            info.cached_objects += heap.cached(i as Class + 1);
        }
    });
    all
}

/// Heaps shown one by one; the others are added up.
pub(super) const HEAPS: usize = 64;

/// What threads' sheaves hold.
pub(super) struct Cached {
    /// Bytes of each heap's sheaves, newest heap first, and whether a thread uses it.
    pub(super) heaps: [(usize, bool); HEAPS],
    /// Heaps there are.
    pub(super) count: usize,
    /// Bytes in all sheaves, and the part of it in blocks of the bins.
    pub(super) bytes: usize,
    pub(super) medium_bytes: usize,
}

/// Looks at all sheaves; None if busy.
pub(super) fn cached(patience: Patience) -> Option<Cached> {
    let mut all = Cached { heaps: [(0, false); HEAPS], count: 0, bytes: 0, medium_bytes: 0 };
    REGISTRY.for_each_if(patience, |heap| {
        let bytes = |class: usize| heap.cached(class as Class) * size_of_class(class as Class);
        let small: usize = (1..=NR_SLAB_CLASSES).map(bytes).sum();
        let medium: usize = (NR_SLAB_CLASSES + 1..NR_CLASSES).map(bytes).sum();
        if let Some(place) = all.heaps.get_mut(all.count) {
            *place = (small + medium, heap.in_use.load(Relaxed));
        }
        all.count += 1;
        all.bytes += small + medium;
        all.medium_bytes += medium;
    })?;
    Some(all)
}

/// Totals of the process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// In blocks the program has.
    pub live_bytes: usize,
    /// In threads' sheaves.
    pub cached_bytes: usize,
    /// In pages of the zones and in blocks with a mapping of their own.
    pub mapped_bytes: usize,
    /// Free pages that still occupy memory.
    pub dirty_bytes: usize,
    /// In blocks with a mapping of their own, and how many those are.
    pub extent_bytes: usize,
    /// See above.
    pub extents: usize,
    /// Address space set aside for the allocator's tables.
    pub metadata_bytes: usize,
    /// What the kernel says; None if that cannot be read.
    pub resident: Option<Resident>,
    /// Something could not be looked at, and the numbers lack it; false except in a signal handler.
    pub busy: bool,
}

/// Adds everything up.
pub(super) fn summary(patience: Patience) -> Summary {
    let slabs = slabs(patience);
    let cached = cached(patience);
    let mut all = Summary { metadata_bytes: MEMBLOCK.metadata_bytes(), ..Summary::default() };
    let mut used = 0;
    for_each_zone(patience, |_, zone| match zone {
        Some(zone) => {
            all.mapped_bytes += zone.present_pages * PAGE_SIZE;
            all.dirty_bytes += zone.dirty_pages * PAGE_SIZE;
            used += (zone.present_pages - zone.free_pages) * PAGE_SIZE;
        }
        None => all.busy = true,
    });
    let (mut regions, mut free_chunks) = (0, 0);
    for bins in nodes().flat_map(|node| &node.bins) {
        match bins.counts_if(patience) {
            Some((total, free)) => (regions, free_chunks) = (regions + total, free_chunks + free),
            None => all.busy = true,
        }
    }
    match EXTENTS.counts_if(patience) {
        Some((count, bytes)) => (all.extents, all.extent_bytes) = (count, bytes),
        None => all.busy = true,
    }
    all.mapped_bytes += all.extent_bytes;
    let (mut medium_cached, mut heaps) = (0, 0);
    match cached {
        Some(cached) => {
            all.cached_bytes = cached.bytes;
            medium_cached = cached.medium_bytes;
            heaps = cached.count * ThreadHeap::BYTES;
        }
        None => all.busy = true,
    }
    all.busy |= slabs.iter().any(|class| class.busy_slabs != 0);
    let slab_bytes: usize = slabs.iter().map(SlabInfo::slab_bytes).sum();
    // Typed caches take locks: in a signal handler their slabs count as blocks.
    let (mut typed_bytes, mut typed_live) = (0, 0);
    if patience == Patience::Wait {
        for_each_typed_cache(|cache| {
            typed_bytes += cache.slabs * SLAB_BYTES;
            typed_live += cache.active_objects * cache.object_size;
        });
    }
    // What is in use and neither slab nor region nor heap are runs of pages, each a block.
    let runs = used.saturating_sub(slab_bytes + typed_bytes + regions + heaps);
    let chunks = regions.saturating_sub(free_chunks + medium_cached);
    all.live_bytes =
        slabs.iter().map(SlabInfo::live_bytes).sum::<usize>() + typed_live + chunks + runs + all.extent_bytes;
    all.resident = smaps::read(patience);
    all
}

/// Whether a mapping is the allocator's, and if so whether it holds its tables.
pub(super) fn whose(start: usize, end: usize, patience: Patience) -> Option<Mapping> {
    let (base, chunks, reserved_end) = MEMBLOCK.reservation();
    if start >= base && start < reserved_end {
        return Some(if start < chunks { Mapping::Tables } else { Mapping::Blocks });
    }
    let ours = MEMBLOCK.index_of(start).is_some() || EXTENTS.touch(start, end, patience).unwrap_or(false);
    ours.then_some(Mapping::Blocks)
}

/// What a mapping of the allocator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    Tables,
    Blocks,
}
