//! Totals of the whole process, for `mallinfo` and its like.

use crate::extent::EXTENTS;
use crate::memblock::MEMBLOCK;
use crate::zone::node::nodes;

/// Bytes of a page.
const PAGE: usize = 4096;

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
        totals.free += node.bins.iter().map(|bins| bins.counts().1).sum::<usize>();
    }
    let (count, bytes) = EXTENTS.counts();
    totals.huge = bytes;
    totals.huge_count = count;
    totals.in_use = totals.mapped.saturating_sub(totals.free) + bytes;
    totals.metadata = MEMBLOCK.metadata_bytes();
    totals
}
