//! The bootstrap layer: owns the address space, keeps the tables that describe it, and hands chunks to the zones.
//!
//! Like the kernel's memblock it works before anything else does, and what it keeps for itself is *reserved* and never comes
//! back; the rest is *usable*. One reservation is asked for (1 TiB, or less where a limit forbids it; see [`LADDER`]) and is
//! laid out as
//!
//! ```text
//! base ─┬─ granule table   1 byte per 64 KiB granule: which engine owns it (0: none, size class, BINS, CACHE)
//!       ├─ page map        16 bytes per 4 KiB page
//!       ├─ bitmap table    512 bytes per granule, for slabs with more objects than their descriptors have room for
//!       ├─ dirty table     1 bit per page: may hold data (not known to read as zeroes)
//!       ├─ pageblock table 1 byte per 2 MiB: migrate type
//!       ├─ extra granules  the granule table of chunks outside the reservation, if there may be any
//!       ├─ node areas      1 MiB each: `node::Node`
//!       └─ usable          chunks of 4 MiB, one range per NUMA node
//! ```
//!
//! so that table entries and owners are found by shifting `address - base`. All of it starts without access and is made
//! writable in growing steps as chunks are handed out (one frontier, hence few mappings). The granule table is readable
//! throughout: `free` may look up any address below `base + 1 TiB`.
//!
//! Where even the smallest reservation is refused (`ulimit -v`), or one is used up, chunks are mapped one by one wherever the
//! kernel puts them. They get page numbers after the reservation's, so that everything above works on numbers alone;
//! address to number then goes through a two-level map keyed by address. The fast path of `free` never sees those. Its range
//! test may let them pass (it always covers 1 TiB, and they may lie right behind a small reservation), but their granule
//! bytes are in a table of their own: the one it reads says 'none' there, and the slow path asks [`Memblock::index_of`].
//!
//! Under a limit of address space a reservation takes it from everybody else. So when a mapping is refused, the part of a
//! small reservation that is not in use goes back ([`Memblock::give_up_unused`]).
//!
//! Ordering: all fields but `base` are written once under the lock before `READY` is published (release); whoever has a
//! pointer from this allocator, or a heap, has it from after that.

use crate::config;
use crate::lock::{Lock, Patience};
use crate::os::map::{self, Access, PAGE_SHIFT, PAGE_SIZE};
use crate::page::{Page, PageIndex, PageMap};
use crate::zone::buddy::{Order, PageblockTypes};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Bytes of a chunk, the unit in which memory enters the zones: the largest buddy block.
pub(crate) const CHUNK: usize = (Order::MAX.pages() as usize) << PAGE_SHIFT;
const PAGES_PER_CHUNK: u32 = Order::MAX.pages();

/// log2 of a granule: the unit of ownership, and a slab.
pub(crate) const GRANULE_SHIFT: u32 = 16;
const GRANULES_PER_CHUNK: usize = CHUNK >> GRANULE_SHIFT;

/// Granules the table covers: 1 TiB. A constant, so that the range test of `free` is one comparison.
pub(crate) const TABLE_GRANULES: usize = 1 << (40 - GRANULE_SHIFT);

/// Bytes of a granule's entry in the bitmap table: 4,096 objects of 16 bytes.
pub(crate) const GRANULE_BITMAP: usize = 512;

/// Sizes asked for, largest first. 1 TiB is far beyond what machines of today give one process and costs nothing; the
/// smaller ones suit `ulimit -v`, where a reservation counts in full.
const LADDER: [usize; 7] = [1 << 40, 256 << 30, 64 << 30, 16 << 30, 4 << 30, 1 << 30, 256 << 20];

/// From one rung to the next, and so the most that a limit leaves beyond what was reserved.
const RUNG: usize = 4;

/// Page numbers, and units of the bins in 32 bits, end here: 1 TiB.
const MAX_CHUNKS: usize = (1 << 40) / CHUNK;

/// Chunks there are tables for where not even the smallest reservation is granted: 512 MiB, twice that rung.
const CHUNKS_WITHOUT_RESERVATION: usize = 128;

/// Most NUMA nodes we tell apart (the kernel's usual limit is 64 or 1,024; more share the last).
pub(crate) const MAX_NODES: usize = 64;

/// Bytes set aside for a node's structures.
pub(crate) const NODE_AREA: usize = 1 << 20;

/// A `base` that puts every user-space address out of the fast path's range. What is in the range would be read through, so it
/// is one that no damaged pointer is likely to be in: no text, no small number of either sign, no address with a flag or a
/// tag at the top, and not canonical.
const NO_RESERVATION: usize = 0x9B5D_C600_0000_0000;

/// Smallest and largest step by which the frontier moves: small enough for `mlockall` and `vm.overcommit_memory=2`, large
/// enough that the calls do not show.
const MIN_STEP_CHUNKS: u32 = 8;
const MAX_STEP_CHUNKS: u32 = 64;

/// What our mappings are called, where they bear names.
pub(crate) const TABLES_NAME: &CStr = c"fairground tables";
const HEAP_NAME: &CStr = c"fairground heap";

/// Number of a NUMA node, dense, 0 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct NodeId(pub(crate) u8);

/// What a granule belongs to, as its byte says.
pub(crate) mod granule {
    /// Nothing, page runs, or the allocator itself: ask the page map.
    pub(crate) const NONE: u8 = 0;
    /// A region of the bins of the first arena; those of the others follow. Slab classes are the numbers below.
    pub(crate) const BINS: u8 = 97;
    /// Arenas a node has at most.
    pub(crate) const MAX_ARENAS: usize = 4;
    /// A slab of a typed cache. `free` finds a sheaf that is always full by this number.
    pub(crate) const CACHE: u8 = 101;
    const _: () = assert!(CACHE as usize >= BINS as usize + MAX_ARENAS);

    /// Whether a granule is a region of some arena's bins.
    #[inline(always)]
    pub(crate) fn is_bins(byte: u8) -> bool {
        byte.wrapping_sub(BINS) < MAX_ARENAS as u8
    }
}

/// One table of the metadata: `stride` bytes a chunk, writable up to chunk `end`.
struct Table {
    start: *mut u8,
    stride: usize,
    writable: usize,
}

const NR_TABLES: usize = 6;
/// Bytes a chunk takes in each table, in the order of the layout above.
const STRIDES: [usize; NR_TABLES] = [
    GRANULES_PER_CHUNK,
    PAGES_PER_CHUNK as usize * size_of::<Page>(),
    GRANULES_PER_CHUNK * GRANULE_BITMAP,
    PAGES_PER_CHUNK as usize / 8,
    2,
    GRANULES_PER_CHUNK,
];
const GRANULES: usize = 0;
const PAGES: usize = 1;
const BITMAPS: usize = 2;
const DIRTY: usize = 3;
const PAGEBLOCKS: usize = 4;
const EXTRA_GRANULES: usize = 5;

struct NodeRange {
    /// End of the writable part, end of the range.
    writable: u32,
    end: u32,
    /// Chunks by which the writable part grows next.
    step: u32,
}

struct Inner {
    tables: [Table; NR_TABLES],
    nodes: [NodeRange; MAX_NODES],
    node_areas: *mut u8,
    extra_next: u32,
    extra_end: u32,
    extra_last: usize,
}

/// See the module's text.
pub(crate) struct Memblock {
    /// Start of the reservation and of the granule table; read by every `free`.
    base: AtomicUsize,
    ready: AtomicU8,
    reserved_pages: AtomicU32,
    nr_nodes: AtomicU8,
    span_shift_chunks: AtomicU32,
    first_chunk: AtomicU32,
    starts: [AtomicPtr<u8>; NR_TABLES],
    extra_addresses: AtomicPtr<AtomicUsize>,
    metadata_bytes: AtomicUsize,
    /// Next chunk to hand out, of each node's range. Written under the lock.
    frontiers: [AtomicU32; MAX_NODES],
    lock: Lock,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `inner` is only touched under `lock`; the rest is atomic.
unsafe impl Sync for Memblock {}

/// The process's one address space.
pub(crate) static MEMBLOCK: Memblock = Memblock::new();

const UNTRIED: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

/// Bits of an address in user space: 47 on x86-64, 48 on aarch64 (more only for those who ask mmap for it).
const ADDRESS_BITS: u32 = 48;

/// First level of the map for chunks outside the reservation: 64 GiB of address space an entry.
static EXTRA_MAP: [AtomicPtr<AtomicU32>; 1 << (ADDRESS_BITS - 36)] =
    [const { AtomicPtr::new(null_mut()) }; 1 << (ADDRESS_BITS - 36)];
const EXTRA_LEAF: usize = 1 << 14;

impl Memblock {
    const fn new() -> Memblock {
        Memblock {
            base: AtomicUsize::new(NO_RESERVATION),
            ready: AtomicU8::new(UNTRIED),
            reserved_pages: AtomicU32::new(PAGES_PER_CHUNK),
            nr_nodes: AtomicU8::new(1),
            span_shift_chunks: AtomicU32::new(31),
            first_chunk: AtomicU32::new(1),
            starts: [const { AtomicPtr::new(null_mut()) }; NR_TABLES],
            extra_addresses: AtomicPtr::new(null_mut()),
            metadata_bytes: AtomicUsize::new(0),
            frontiers: [const { AtomicU32::new(0) }; MAX_NODES],
            lock: Lock::new(),
            inner: UnsafeCell::new(Inner {
                tables: [const { Table { start: null_mut(), stride: 0, writable: 0 } }; NR_TABLES],
                nodes: [const { NodeRange { writable: 0, end: 0, step: MIN_STEP_CHUNKS } }; MAX_NODES],
                node_areas: null_mut(),
                extra_next: 1,
                extra_end: 1,
                extra_last: 0,
            }),
        }
    }

    /// Offset of an address from the reservation's start, and its granule table; for the fast path of `free`.
    #[inline(always)]
    pub(crate) fn base(&self) -> usize {
        self.base.load(Relaxed)
    }

    /// Sets the address space up if that has not happened. False if the kernel gives none: nothing can be allocated.
    pub(crate) fn ensure_ready(&self) -> bool {
        match self.ready.load(Acquire) {
            READY => true,
            _ => self.init(),
        }
    }

    #[cold]
    fn init(&self) -> bool {
        let _guard = self.lock.lock();
        if self.ready.load(Relaxed) == READY {
            return true;
        }
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let most = config::get().reserve;
        let done = LADDER.iter().filter(|&&size| size <= most).any(|&size| self.reserve(inner, size))
            || self.reserve_tables_only(inner);
        // A failure is not final: limits change, other mappings go. The next call tries again.
        self.ready.store(if done { READY } else { FAILED }, Release);
        done
    }

    /// Lays the tables out for chunks of the reservation and beyond it from `start` on; returns the bytes they take.
    fn lay_out(&self, inner: &mut Inner, start: *mut u8, reserved: usize, extra: usize) -> usize {
        let mut at = 0;
        for (i, stride) in STRIDES.into_iter().enumerate() {
            let first = start.wrapping_add(at);
            inner.tables[i] = Table { start: first, stride, writable: 0 };
            self.starts[i].store(first, Relaxed);
            let bytes = match i {
                // It must be there for every address that passes the range test; without a reservation none does.
                GRANULES if reserved != 0 => TABLE_GRANULES,
                GRANULES => 0,
                EXTRA_GRANULES if extra == 0 => 0,
                _ => (reserved.max(1) + extra) * stride,
            };
            at += bytes.next_multiple_of(1 << GRANULE_SHIFT);
        }
        inner.node_areas = start.wrapping_add(at);
        at + self.nr_nodes() as usize * NODE_AREA
    }

    /// Tries to reserve `size` bytes in one piece.
    fn reserve(&self, inner: &mut Inner, size: usize) -> bool {
        let start = map::map_aligned(size, CHUNK, Access::None);
        if start.is_null() {
            return false;
        }
        let reserved = size / CHUNK;
        let extra = (MAX_CHUNKS - reserved).min(RUNG * reserved);
        let metadata = self.lay_out(inner, start, reserved, extra).next_multiple_of(CHUNK);
        // SAFETY: the granule table lies in the mapping just made.
        let readable = metadata < size && unsafe { map::protect(start, TABLE_GRANULES, Access::Read) };
        // Before the reservation is published: one that has no table for its chunks beyond is none.
        if !readable || !self.map_extra_addresses(extra) {
            // SAFETY: nobody knows the mapping.
            unsafe { map::unmap(start, size) };
            return false;
        }
        self.metadata_bytes.store(metadata, Relaxed);
        let first = (metadata / CHUNK) as u32;
        self.frontiers[0].store(first, Relaxed);
        inner.nodes[0] = NodeRange { writable: first, end: reserved as u32, step: MIN_STEP_CHUNKS };
        self.first_chunk.store(first, Relaxed);
        self.reserved_pages.store(reserved as u32 * PAGES_PER_CHUNK, Relaxed);
        inner.extra_next = reserved as u32;
        inner.extra_end = (reserved + extra) as u32;
        self.base.store(start.expose_provenance(), Release);
        map::name(start, metadata, TABLES_NAME);
        map::name(start.wrapping_add(metadata), size - metadata, HEAP_NAME);
        true
    }

    /// No reservation at all: only the tables, for chunks wherever they come.
    fn reserve_tables_only(&self, inner: &mut Inner) -> bool {
        // Page numbers start at one chunk, for number 0 means 'none'.
        let extra = CHUNKS_WITHOUT_RESERVATION;
        let total = self.lay_out(inner, null_mut(), 0, extra);
        let start = map::map(total, Access::None);
        if start.is_null() {
            return false;
        }
        if !self.map_extra_addresses(extra) {
            // SAFETY: nobody knows the mapping.
            unsafe { map::unmap(start, total) };
            return false;
        }
        self.lay_out(inner, start, 0, extra);
        map::name(start, total, TABLES_NAME);
        self.metadata_bytes.store(total, Relaxed);
        inner.extra_next = 1;
        inner.extra_end = 1 + extra as u32;
        true
    }

    fn map_extra_addresses(&self, chunks: usize) -> bool {
        if chunks == 0 {
            return true;
        }
        let bytes = (chunks * 8).next_multiple_of(map::os_page_size());
        let table = map::map(bytes, Access::ReadWrite);
        map::name(table, bytes, TABLES_NAME);
        self.extra_addresses.store(table.cast(), Relaxed);
        !table.is_null()
    }

    /// A chunk for `node`, readable and writable, all zeroes; its table entries are writable too. With `beside_others` only
    /// one of the reservation: elsewhere chunks do not lie side by side.
    pub(crate) fn alloc_chunk(&self, node: NodeId, beside_others: bool) -> Option<PageIndex> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let range = &mut inner.nodes[node.0 as usize];
        let frontier = &self.frontiers[node.0 as usize];
        let chunk = frontier.load(Relaxed);
        if chunk == range.writable && chunk < range.end {
            let wanted = range.step.min(range.end - chunk);
            if let Some(got) = [wanted, 1].into_iter().find(|&n| self.commit(&mut inner.tables, chunk, n)) {
                range.writable += got;
                range.step = (range.step * 2).min(MAX_STEP_CHUNKS);
            }
        }
        if chunk < range.writable {
            frontier.store(chunk + 1, Release);
            return Some(PageIndex(chunk * PAGES_PER_CHUNK));
        }
        if beside_others { None } else { self.alloc_extra_chunk(inner) }
    }

    /// Makes `n` chunks of the reservation from `first` on, and their table entries, writable.
    fn commit(&self, tables: &mut [Table; NR_TABLES], first: u32, n: u32) -> bool {
        let base = core::ptr::with_exposed_provenance_mut::<u8>(self.base.load(Relaxed));
        Self::commit_tables(tables, first, n, EXTRA_GRANULES)
            // SAFETY: chunks between `first_chunk` and the range's end lie in the reservation.
            && unsafe { map::commit(base.add(first as usize * CHUNK), n as usize * CHUNK) }
    }

    /// Makes entries of all tables but one writable.
    fn commit_tables(tables: &mut [Table; NR_TABLES], first: u32, n: u32, all_but: usize) -> bool {
        let page = map::os_page_size();
        for (_, table) in tables.iter_mut().enumerate().filter(|&(i, _)| i != all_but) {
            let from = (first as usize * table.stride) & !(page - 1);
            let to = ((first + n) as usize * table.stride).next_multiple_of(page);
            let from = if table.writable > from && table.writable <= to { table.writable } else { from };
            if from < to {
                // SAFETY: the table lies in our metadata mapping; widening access takes nothing from anybody.
                if !unsafe { map::commit(table.start.add(from), to - from) } {
                    return false;
                }
                table.writable = to;
            }
        }
        true
    }

    /// A chunk outside the reservation.
    fn alloc_extra_chunk(&self, inner: &mut Inner) -> Option<PageIndex> {
        if inner.extra_next == inner.extra_end {
            return None;
        }
        // Right below the last one, where the kernel usually has room; else anywhere, aligned the expensive way.
        let hint = inner.extra_last.saturating_sub(CHUNK);
        let mut start = map::map_at(core::ptr::without_provenance_mut(hint), CHUNK, Access::ReadWrite);
        if start.is_null() {
            return None;
        }
        if !start.addr().is_multiple_of(CHUNK) {
            // SAFETY: just mapped, unknown to anybody.
            unsafe { map::unmap(start, CHUNK) };
            start = map::map_aligned(CHUNK, CHUNK, Access::ReadWrite);
            if start.is_null() {
                return None;
            }
        }
        let chunk = inner.extra_next;
        let leaf = Self::extra_leaf(start.addr());
        if leaf.is_null() || !Self::commit_tables(&mut inner.tables, chunk, 1, GRANULES) {
            // SAFETY: as above.
            unsafe { map::unmap(start, CHUNK) };
            return None;
        }
        inner.extra_next += 1;
        inner.extra_last = start.addr();
        map::name(start, CHUNK, HEAP_NAME);
        let nth = (chunk - self.reserved_pages.load(Relaxed) / PAGES_PER_CHUNK) as usize;
        // SAFETY: both tables have room for every extra chunk; release publishes the address before the number.
        unsafe {
            (*self.extra_addresses.load(Relaxed).add(nth)).store(start.expose_provenance(), Release);
            (*leaf.add((start.addr() >> 22) & (EXTRA_LEAF - 1))).store(chunk, Release);
        }
        Some(PageIndex(chunk * PAGES_PER_CHUNK))
    }

    /// The second-level table that covers `address`, made if need be; null if there is no memory for it.
    fn extra_leaf(address: usize) -> *mut AtomicU32 {
        let entry = &EXTRA_MAP[(address >> 36) & (EXTRA_MAP.len() - 1)];
        let leaf = entry.load(Acquire);
        if !leaf.is_null() {
            return leaf;
        }
        let leaf = map::map(EXTRA_LEAF * 4, Access::ReadWrite).cast::<AtomicU32>();
        map::name(leaf.cast(), EXTRA_LEAF * 4, TABLES_NAME);
        entry.store(leaf, Release); // under the memblock lock
        leaf
    }

    /// Gives the part of a small reservation that is not in use back to the address space, if `wanted` bytes may come free
    /// by that. Chunks are mapped one by one afterwards.
    pub(crate) fn give_up_unused(&self, wanted: usize) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let reserved = self.reserved_pages.load(Relaxed) as usize * PAGE_SIZE;
        // A limit with room for more would have granted a larger reservation.
        if inner.extra_next == inner.extra_end || wanted > RUNG * reserved {
            return false;
        }
        let base = core::ptr::with_exposed_provenance_mut::<u8>(self.base.load(Relaxed));
        let mut given_up = false;
        for range in &mut inner.nodes[..self.nr_nodes() as usize] {
            let unused = (range.end - range.writable) as usize * CHUNK;
            // SAFETY: chunks that were never handed out; from here on the range ends before them.
            if unused != 0 && unsafe { map::unmap(base.add(range.writable as usize * CHUNK), unused) } {
                range.end = range.writable;
                given_up = true;
            }
        }
        given_up
    }

    /// The page an address lies in; None if it is not in a chunk of ours. Certain for any bit pattern.
    pub(crate) fn index_of(&self, address: usize) -> Option<PageIndex> {
        let offset = address.wrapping_sub(self.base.load(Relaxed));
        let pages = self.reserved_pages.load(Relaxed) as usize;
        if offset < pages << PAGE_SHIFT {
            let index = (offset >> PAGE_SHIFT) as u32;
            if index >= self.first_chunk.load(Relaxed) * PAGES_PER_CHUNK && self.is_handed_out(index) {
                return Some(PageIndex(index));
            }
            // Else it may be in a part that was given up, and anything may lie there by now.
        }
        if address >> ADDRESS_BITS != 0 {
            return None;
        }
        let leaf = EXTRA_MAP[address >> 36].load(Acquire);
        if leaf.is_null() {
            return None;
        }
        // SAFETY: a leaf has EXTRA_LEAF entries.
        let chunk = unsafe { (*leaf.add((address >> 22) & (EXTRA_LEAF - 1))).load(Acquire) };
        (chunk != 0).then(|| PageIndex(chunk * PAGES_PER_CHUNK + ((address % CHUNK) >> PAGE_SHIFT) as u32))
    }

    /// Whether the page map has an entry for a page of the reservation. Asks without the lock: frontiers only grow, and who
    /// has a pointer of ours has it from after the frontier passed it.
    fn is_handed_out(&self, index: u32) -> bool {
        let node = self.node_of(PageIndex(index));
        index / PAGES_PER_CHUNK < self.frontiers[node.0 as usize].load(Acquire)
    }

    /// The lowest page whose descriptor can be reached from a page's by walking down.
    pub(crate) fn lowest_beside(&self, index: PageIndex) -> PageIndex {
        let reserved = self.reserved_pages.load(Relaxed);
        let first = self.first_chunk.load(Relaxed) * PAGES_PER_CHUNK;
        if index.0 >= reserved { PageIndex(index.0 & !(PAGES_PER_CHUNK - 1)) } else { PageIndex(first) }
    }

    /// Where the page map of a reservation that starts at `base` is: right behind the granule table.
    #[inline(always)]
    pub(crate) fn page_map_behind(base: usize) -> PageMap {
        // SAFETY: as `page_map`, for addresses in the reservation; `lay_out` puts it there.
        unsafe { PageMap::new(core::ptr::with_exposed_provenance(base + TABLE_GRANULES)) }
    }

    /// The address of a page's first byte.
    #[inline]
    pub(crate) fn address_of(&self, index: PageIndex) -> *mut u8 {
        let reserved = self.reserved_pages.load(Relaxed);
        if index.0 < reserved {
            let offset = (index.0 as usize) << PAGE_SHIFT;
            return core::ptr::with_exposed_provenance_mut(self.base.load(Relaxed).wrapping_add(offset));
        }
        let nth = ((index.0 - reserved) / PAGES_PER_CHUNK) as usize;
        // SAFETY: page numbers beyond the reservation are only made by `alloc_extra_chunk`.
        let chunk = unsafe { (*self.extra_addresses.load(Relaxed).add(nth)).load(Acquire) };
        core::ptr::with_exposed_provenance_mut(chunk + (index.0 % PAGES_PER_CHUNK) as usize * PAGE_SIZE)
    }

    /// The node a page belongs to.
    #[inline]
    pub(crate) fn node_of(&self, index: PageIndex) -> NodeId {
        if self.nr_nodes.load(Relaxed) == 1 {
            return NodeId(0);
        }
        let chunk = (index.0 / PAGES_PER_CHUNK).saturating_sub(self.first_chunk.load(Relaxed));
        let node = chunk >> self.span_shift_chunks.load(Relaxed);
        NodeId(node.min(self.nr_nodes.load(Relaxed) as u32 - 1) as u8)
    }

    /// The page map.
    #[inline]
    pub(crate) fn page_map(&self) -> PageMap {
        // SAFETY: the table covers every page number that is ever handed out.
        unsafe { PageMap::new(self.starts[PAGES].load(Relaxed).cast()) }
    }

    /// The descriptors of a granule's sixteen pages, as the memory a slab lays its header over.
    #[inline]
    pub(crate) fn granule_descriptors(&self, index: PageIndex) -> *mut u8 {
        // SAFETY: as `page_map`.
        unsafe { self.starts[PAGES].load(Relaxed).add(index.0 as usize * size_of::<Page>()) }
    }

    /// The byte that says who owns a page's granule.
    #[inline]
    pub(crate) fn granule(&self, index: PageIndex) -> &AtomicU8 {
        let table = if index.0 < self.reserved_pages.load(Relaxed) { GRANULES } else { EXTRA_GRANULES };
        // SAFETY: as `page_map`.
        unsafe { &*self.starts[table].load(Relaxed).add((index.0 >> 4) as usize).cast() }
    }

    /// A granule's entry in the bitmap table.
    #[inline]
    pub(crate) fn granule_bitmap(&self, index: PageIndex) -> *mut u8 {
        // SAFETY: as `page_map`.
        unsafe { self.starts[BITMAPS].load(Relaxed).add((index.0 >> 4) as usize * GRANULE_BITMAP) }
    }

    /// The dirty bits of a page's chunk: 16 words. Guarded by the lock of the chunk's zone.
    pub(crate) fn dirty_bits(&self, index: PageIndex) -> *mut u64 {
        let chunk = (index.0 / PAGES_PER_CHUNK) as usize;
        // SAFETY: as `page_map`.
        unsafe { self.starts[DIRTY].load(Relaxed).add(chunk * STRIDES[DIRTY]).cast() }
    }

    /// Gives back the memory of the tables' entries for a chunk that is free as a whole, and as a whole nobody's but the
    /// caller's: the bitmaps of slabs, and the descriptors behind those of its first pages (the buddy system needs the
    /// first). They read as zeroes afterwards, which means that nothing starts there.
    pub(crate) fn give_back_tables(&self, chunk: PageIndex) {
        let (page, chunk) = (map::os_page_size(), (chunk.0 / PAGES_PER_CHUNK) as usize);
        for (table, keep) in [(PAGES, size_of::<Page>()), (BITMAPS, 0)] {
            let from = (chunk * STRIDES[table] + keep).next_multiple_of(page);
            let to = ((chunk + 1) * STRIDES[table]) & !(page - 1);
            if from < to {
                // SAFETY: whole pages of the table that describe this chunk alone; nobody refers to what they say.
                unsafe { map::dontneed(self.starts[table].load(Relaxed).add(from), to - from) };
            }
        }
    }

    /// The migrate types of the pageblocks.
    pub(crate) fn pageblock_types(&self) -> PageblockTypes {
        // SAFETY: as `page_map`.
        unsafe { PageblockTypes::new(self.starts[PAGEBLOCKS].load(Relaxed)) }
    }

    /// Number of nodes told apart.
    pub(crate) fn nr_nodes(&self) -> u8 {
        self.nr_nodes.load(Relaxed)
    }

    /// Zeroed memory for a node's structures ([`NODE_AREA`] bytes); null if the kernel has none.
    pub(crate) fn node_area(&self, node: NodeId) -> *mut u8 {
        let _guard = self.lock.lock();
        // SAFETY: under the lock; the areas lie behind the tables in the metadata mapping.
        unsafe {
            let area = (*self.inner.get()).node_areas.add(node.0 as usize * NODE_AREA);
            if map::commit(area, NODE_AREA) { area } else { null_mut() }
        }
    }

    /// Calls `each` with the first page of every chunk handed out to a node; None if the lock is taken and may not be waited
    /// for. Frontiers only grow, so what is seen without the lock was handed out.
    pub(crate) fn for_each_chunk(
        &self,
        node: NodeId,
        patience: Patience,
        mut each: impl FnMut(PageIndex),
    ) -> Option<()> {
        let reserved = self.reserved_pages.load(Relaxed) / PAGES_PER_CHUNK;
        let span = if node.0 == 0 { 0 } else { (node.0 as u32) << self.span_shift_chunks.load(Relaxed) };
        for chunk in self.first_chunk.load(Relaxed) + span..self.frontiers[node.0 as usize].load(Acquire) {
            each(PageIndex(chunk * PAGES_PER_CHUNK));
        }
        let extra_next = {
            let _guard = self.lock.lock_if(patience)?;
            // SAFETY: under the lock.
            unsafe { (*self.inner.get()).extra_next }
        };
        for chunk in reserved..extra_next {
            let first = PageIndex(chunk * PAGES_PER_CHUNK);
            if self.node_of(first) == node {
                each(first);
            }
        }
        Some(())
    }

    /// Start, first chunk and end of the reservation; all the same where there is none.
    pub(crate) fn reservation(&self) -> (usize, usize, usize) {
        let base = self.base.load(Relaxed);
        if base == NO_RESERVATION {
            return (base, base, base);
        }
        let pages = self.reserved_pages.load(Relaxed) as usize;
        (base, base + self.metadata_bytes(), base + pages * PAGE_SIZE)
    }

    /// End of the reservation: pages below have addresses in the order of their numbers.
    pub(crate) fn reserved_end(&self) -> PageIndex {
        PageIndex(self.reserved_pages.load(Relaxed))
    }

    /// Address space set aside for tables and node structures, in bytes.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.metadata_bytes.load(Relaxed)
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }
}
