//! Zones: the pages of one NUMA node, a buddy system over them, and what they owe to the operating system.
//!
//! `alloc_pages(order)`, `free_pages(order)` and exact counts on top. A zone grows by whole chunks from memblock. Pages
//! that a program has had are *dirty*: they still occupy memory though they are free. They are reused first (free lists
//! are last in, first out). What was not needed for a whole interval (the least number of dirty pages seen in it) is given
//! back at its end, by whoever frees pages then; so a program that allocates and frees in waves keeps its pages, and one that has
//! shrunk loses them within two intervals of its next activity. A cap in bytes holds at any time.
//!
//! One lock per zone. Order: after the locks of the layers above, before memblock's.

pub(crate) mod buddy;
pub(crate) mod node;

use crate::lock::{Lock, Patience};
use crate::memblock::{CHUNK, MEMBLOCK, NodeId};
use crate::os::clock;
use crate::os::map::{self, PAGE_SHIFT, PAGE_SIZE};
use crate::page::PageIndex;
use buddy::{Buddy, MigrateType, NR_ORDERS, NR_TYPES, Order, PAGEBLOCK_ORDER};
use core::cell::UnsafeCell;

/// Dirty pages are purged at once beyond this many bytes, or beyond twice the most that was in use of late if that is more.
/// Wide, because a page given back too early costs a page fault (`benches/LEDGER.md`); what lies idle goes at the end of the
/// interval anyway.
const DIRTY_CAP: usize = 64 << 20;

/// Milliseconds of an interval: long against a wave of requests, short against a person looking at RSS.
const INTERVAL_MS: u64 = 250;

/// Dirty bytes that are never worth a purge.
const DIRTY_MIN: usize = 1 << 20;

/// Pages of a request, and whether they are known to read as zeroes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    pub(crate) start: PageIndex,
    pub(crate) zeroed: bool,
}

/// Counts of a zone, in pages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ZoneCounts {
    pub(crate) present: usize,
    pub(crate) free: usize,
    pub(crate) dirty_free: usize,
    pub(crate) free_blocks: [[u32; NR_TYPES]; NR_ORDERS],
}

struct Inner {
    buddy: Buddy,
    present: usize,
    dirty_free: usize,
    /// Least `dirty_free` since the interval began, and when that was.
    dirty_least: usize,
    interval_ms: u64,
    /// Most pages in use in this interval and in the one before.
    used_most: [usize; 2],
}

/// See the module's text.
pub(crate) struct Zone {
    lock: Lock,
    node: NodeId,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Zone {}

impl Zone {
    /// An empty zone. Memblock must be ready.
    pub(crate) fn new(node: NodeId) -> Zone {
        let buddy = Buddy::new(MEMBLOCK.page_map(), MEMBLOCK.pageblock_types(), MEMBLOCK.reserved_end());
        Zone {
            lock: Lock::new(),
            node,
            inner: UnsafeCell::new(Inner {
                buddy,
                present: 0,
                dirty_free: 0,
                dirty_least: 0,
                interval_ms: 0,
                used_most: [0; 2],
            }),
        }
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// A block of `order`.
    pub(crate) fn alloc_pages(&self, order: Order, kind: MigrateType) -> Option<Pages> {
        self.alloc_exact(order.pages(), order.pages(), kind)
    }

    /// Exactly `pages` pages at a multiple of `align` pages (a power of two, at most a chunk). More than a chunk only from
    /// chunks that lie side by side.
    pub(crate) fn alloc_exact(&self, pages: u32, align: u32, kind: MigrateType) -> Option<Pages> {
        debug_assert!(align <= Order::MAX.pages());
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let mut more = pages.div_ceil(Order::MAX.pages());
        let start = loop {
            let found = if pages <= Order::MAX.pages() {
                inner.buddy.alloc_exact(pages, align, kind)
            } else {
                inner.buddy.alloc_chunks(pages, kind)
            };
            if let Some(start) = found {
                break start;
            }
            if more == 0 {
                return None; // new chunks do not lie side by side: outside the reservation
            }
            more -= 1;
            let chunk = MEMBLOCK.alloc_chunk(self.node, pages > Order::MAX.pages())?;
            inner.present += Order::MAX.pages() as usize;
            inner.buddy.add_chunk(chunk, kind);
        };
        let dirty = mark_dirty(start, pages);
        inner.account(dirty);
        Some(Pages { start, zeroed: dirty == 0 })
    }

    /// Grows a run in place by the `more` pages after it; None if they are not free. True inside: they read as zeroes.
    pub(crate) fn extend(&self, end: PageIndex, more: u32) -> Option<bool> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if !inner.buddy.take_range(end, more) {
            return None;
        }
        let dirty = mark_dirty(end, more);
        inner.account(dirty);
        Some(dirty == 0)
    }

    /// Gives `pages` pages back, all of which were given out by this zone.
    pub(crate) fn free_exact(&self, start: PageIndex, pages: u32) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        inner.buddy.free_range(start, pages);
        inner.dirty_free += pages as usize;
        inner.decay();
    }

    /// Gives the memory of free pages back to the system, all but `keep` bytes of it. Returns the bytes given back.
    pub(crate) fn purge(&self, keep: usize) -> usize {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        purge(inner, keep / PAGE_SIZE) * PAGE_SIZE
    }

    /// What the zone has.
    pub(crate) fn counts(&self) -> ZoneCounts {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { &*self.inner.get() }.counts()
    }

    /// What the zone has, and its pageblocks by type, of one moment; None if a lock is taken and may not be waited for.
    pub(crate) fn census(&self, patience: Patience) -> Option<(ZoneCounts, [usize; NR_TYPES])> {
        let _guard = self.lock.lock_if(patience)?;
        let types = MEMBLOCK.pageblock_types();
        let mut pageblocks = [0; NR_TYPES];
        MEMBLOCK.for_each_chunk(self.node, patience, |chunk| {
            for half in [0, PAGEBLOCK_ORDER.pages()] {
                pageblocks[types.get(PageIndex(chunk.0 + half)) as usize] += 1;
            }
        })?;
        // SAFETY: under the lock.
        Some((unsafe { &*self.inner.get() }.counts(), pageblocks))
    }
}

impl Inner {
    fn counts(&self) -> ZoneCounts {
        let inner = self;
        let mut counts = ZoneCounts {
            present: inner.present,
            free: inner.buddy.free_pages() as usize,
            dirty_free: inner.dirty_free,
            ..ZoneCounts::default()
        };
        for (order, row) in counts.free_blocks.iter_mut().enumerate() {
            for (kind, cell) in MigrateType::ALL.into_iter().zip(row) {
                *cell = inner.buddy.free_blocks(Order::new(order as u8), kind);
            }
        }
        counts
    }

    /// Pages in use.
    fn used(&self) -> usize {
        self.present - self.buddy.free_pages() as usize
    }

    /// Notes that `dirty` pages of those just allocated were dirty.
    fn account(&mut self, dirty: u32) {
        self.dirty_free -= dirty as usize;
        self.dirty_least = self.dirty_least.min(self.dirty_free);
        self.used_most[0] = self.used_most[0].max(self.used());
    }

    /// Gives back what the text of this module says, if it is time.
    fn decay(&mut self) {
        let cap = (DIRTY_CAP / PAGE_SIZE).max(2 * self.used_most[0].max(self.used_most[1]));
        if self.dirty_free > cap {
            purge(self, cap / 2);
        }
        if self.dirty_free <= DIRTY_MIN / PAGE_SIZE {
            return;
        }
        let now = clock::now_ms();
        if now - self.interval_ms >= INTERVAL_MS {
            let idle = self.dirty_least;
            if idle > DIRTY_MIN / PAGE_SIZE && self.interval_ms != 0 {
                purge(self, self.dirty_free - idle);
            }
            self.interval_ms = now;
            self.dirty_least = self.dirty_free;
            self.used_most = [self.used(), self.used_most[0]];
        }
    }
}

/// Purges free pages, largest blocks first, until at most `keep` dirty ones remain. Returns how many it gave back.
fn purge(inner: &mut Inner, keep: usize) -> usize {
    let os_pages = (map::os_page_size() / PAGE_SIZE) as u32;
    let mut given_back = 0;
    let target = inner.dirty_free.saturating_sub(keep);
    inner.buddy.for_each_free(|start, order| {
        if given_back >= target || order.pages() < os_pages {
            return;
        }
        given_back += for_each_dirty_run(start, order.pages(), |first, n| {
            // Widened to the kernel's pages: the block is at least as large as one and aligned to it.
            let from = PageIndex(first.0 & !(os_pages - 1));
            let to = (first.0 + n).next_multiple_of(os_pages);
            // SAFETY: free pages of ours.
            unsafe { map::dontneed(MEMBLOCK.address_of(from), ((to - from.0) as usize) << PAGE_SHIFT) }
        });
    });
    inner.dirty_free -= given_back;
    inner.dirty_least = inner.dirty_least.min(inner.dirty_free);
    given_back
}

/// Marks a range as dirty; returns how many pages of it were already. The words of neighbouring chunks follow each other.
fn mark_dirty(start: PageIndex, pages: u32) -> u32 {
    let bits = MEMBLOCK.dirty_bits(start);
    let mut before = 0;
    for_each_word(start, pages, |word, mask| {
        // SAFETY: the table has words for every page; under the zone's lock.
        unsafe {
            let at = bits.add(word);
            before += (*at & mask).count_ones();
            *at |= mask;
        }
    });
    before
}

/// Calls `give_back` for each maximal run of dirty pages in a range inside one chunk; where it succeeds the pages are clean.
/// Returns how many became clean.
fn for_each_dirty_run(start: PageIndex, pages: u32, mut give_back: impl FnMut(PageIndex, u32) -> bool) -> usize {
    let bits = MEMBLOCK.dirty_bits(start);
    let first = start.0 % Order::MAX.pages();
    // SAFETY: 16 words a chunk; under the zone's lock.
    let dirty = |page: u32| unsafe { *bits.add(page as usize / 64) >> (page % 64) & 1 != 0 };
    let (mut cleaned, mut at, end) = (0, first, first + pages);
    while at < end {
        if !dirty(at) {
            at += 1;
            continue;
        }
        let run = (at..end).take_while(|&p| dirty(p)).count() as u32;
        if give_back(PageIndex(start.0 - first + at), run) {
            for_each_word(PageIndex(start.0 - first + at), run, |word, mask| {
                // SAFETY: as above.
                unsafe { *bits.add(word) &= !mask }
            });
            cleaned += run as usize;
        }
        at += run;
    }
    cleaned
}

/// Splits a range of pages into words of the bitmap, counted from the first page's chunk.
fn for_each_word(start: PageIndex, pages: u32, mut each: impl FnMut(usize, u64)) {
    let mut at = start.0 % Order::MAX.pages();
    let end = at + pages;
    while at < end {
        let n = (64 - at % 64).min(end - at);
        let mask = (u64::MAX >> (64 - n)) << (at % 64);
        each(at as usize / 64, mask);
        at += n;
    }
}

const _: () = assert!(CHUNK == 4 << 20);
