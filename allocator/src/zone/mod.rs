//! Zones: the pages of one NUMA node, a buddy system over them, and what they owe to the operating system.
//!
//! `alloc_pages(order)`, `free_pages(order)` and exact counts on top. A zone grows by whole chunks from memblock. Pages
//! that a program has had are *dirty*: they still occupy memory though they are free. They are reused first (the
//! buddy system lists blocks with dirty pages apart). How many stay, and for how long, is the policy of
//! `decay.rs`; a cap in bytes holds at any time. What goes, goes from the largest blocks: huge pages whole, before parts.
//!
//! # Giving pages back
//!
//! The system call takes long (a page table walk, and every page put on the kernel's lists), so the zone's lock is not held
//! for it. A batch of free blocks is taken out of the buddy system, as an allocation would; it is *away*, and its pages and
//! their dirty bits are the taker's alone until he puts it back. The lock `purging` is held all that time: whoever finds
//! no block while some are away waits for it and looks again, so nobody runs out of memory that is merely away, and fork,
//! which takes all locks, finds no batch away. With a chunk that is free as a whole, most of what describes it goes back, too.
//!
//! Order of locks: after those of the layers above `purging`, then the zone's, then memblock's.

pub(crate) mod buddy;
mod dirty;
mod hole;
mod huge;
pub(crate) mod node;

use crate::decay::{Idle, Moment, Used};
use crate::lock::{Lock, Patience};
use crate::memblock::{CHUNK, MEMBLOCK, NodeId};
use crate::os::map::{self, PAGE_SHIFT, PAGE_SIZE};
use crate::page::PageIndex;
use crate::pressure::{self, Pressure};
use buddy::{Buddy, MigrateType, NR_ORDERS, NR_TYPES, Order, PAGEBLOCK_ORDER};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Dirty pages that are never worth a purge: 1 MiB.
const TRIFLE: usize = (1 << 20) / PAGE_SIZE;

/// Pages given back in one step of decay at least: 64 MiB, some 10 milliseconds of unmapping.
const STEP: usize = (64 << 20) / PAGE_SIZE;

/// Blocks taken out of the buddy system at once, and dirty pages in them after which no more are taken: a thread that
/// waits for them waits a millisecond at most.
const BATCH: usize = 16;
const BATCH_PAGES: usize = 2048;

/// Least cap on dirty bytes: below it churn of a few blocks would go to the system and back.
const LEAST_CAP: usize = 1 << 20;

/// Dirty pages allowed at any time; 0: what `Used::cap` makes of what is in use.
static DIRTY_CAP: AtomicUsize = AtomicUsize::new(0);

/// Sets how many dirty bytes may stay.
pub(crate) fn set_dirty_cap(bytes: usize) {
    DIRTY_CAP.store(bytes.max(LEAST_CAP) / PAGE_SIZE, Relaxed);
}

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
    idle: Idle,
    /// Pages that are free but away.
    away: usize,
    used: Used,
}

/// See the module's text.
pub(crate) struct Zone {
    purging: Lock,
    lock: Lock,
    node: NodeId,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Zone {}

impl Zone {
    /// An empty zone. Memblock must be ready.
    pub(crate) fn new(node: NodeId) -> Zone {
        let buddy = Buddy::new(MEMBLOCK.page_map(), MEMBLOCK.pageblock_types(), MEMBLOCK.reserved_end(), dirty::any);
        Zone {
            purging: Lock::new(),
            lock: Lock::new(),
            node,
            inner: UnsafeCell::new(Inner {
                buddy,
                present: 0,
                dirty_free: 0,
                idle: Idle::new(),
                away: 0,
                used: Used::default(),
            }),
        }
    }

    /// The locks in their order, for `fork.rs`.
    pub(crate) fn locks(&self) -> [&Lock; 2] {
        [&self.purging, &self.lock]
    }

    /// A block of `order`.
    pub(crate) fn alloc_pages(&self, order: Order, kind: MigrateType) -> Option<Pages> {
        self.alloc_exact(order.pages(), order.pages(), kind)
    }

    /// Exactly `pages` pages at a multiple of `align` pages (a power of two, at most a chunk). More than a chunk only from
    /// chunks that lie side by side.
    pub(crate) fn alloc_exact(&self, pages: u32, align: u32, kind: MigrateType) -> Option<Pages> {
        debug_assert!(align <= Order::MAX.pages());
        let mut more = pages.div_ceil(Order::MAX.pages());
        loop {
            {
                let _guard = self.lock.lock();
                // SAFETY: under the lock.
                let inner = unsafe { &mut *self.inner.get() };
                while let Some(tried) = self.try_alloc(inner, pages, align, kind) {
                    if tried.is_some() {
                        return tried;
                    }
                    if more == 0 {
                        return None; // new chunks do not lie side by side: outside the reservation
                    }
                    more -= 1;
                    let chunk = MEMBLOCK.alloc_chunk(self.node, pages > Order::MAX.pages())?;
                    inner.present += Order::MAX.pages() as usize;
                    if crate::os::huge::dense() {
                        pressure::raise(Pressure::Pending); // for a look at what becomes of it
                    }
                    inner.buddy.add_chunk(chunk, kind);
                }
            }
            drop(self.purging.lock()); // what is away comes back first
        }
    }

    /// Looks once. Some(None): there is no such block; None: there may be one among those that are away.
    fn try_alloc(&self, inner: &mut Inner, pages: u32, align: u32, kind: MigrateType) -> Option<Option<Pages>> {
        let found = if pages <= Order::MAX.pages() {
            inner.buddy.alloc_exact(pages, align, kind)
        } else {
            inner.buddy.alloc_chunks(pages, align, kind)
        };
        let Some(start) = found else { return (inner.away == 0).then_some(None) };
        let dirty = dirty::mark(start, pages);
        inner.account(pages, dirty);
        Some(Some(Pages { start, zeroed: dirty == 0 }))
    }

    /// Grows a run in place by the `more` pages after it; None if they are not free. True inside: they read as zeroes.
    pub(crate) fn extend(&self, end: PageIndex, more: u32) -> Option<bool> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if !inner.buddy.take_range(end, more) {
            return None;
        }
        let dirty = dirty::mark(end, more);
        inner.account(more, dirty);
        Some(dirty == 0)
    }

    /// Gives `pages` pages back, all of which were given out by this zone. They stay dirty for now.
    pub(crate) fn free_exact(&self, start: PageIndex, pages: u32) {
        let too_many = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            let inner = unsafe { &mut *self.inner.get() };
            inner.buddy.free_range(start, pages);
            inner.dirty_free += pages as usize;
            inner.used.are(inner.used.now - pages as usize);
            inner.has_too_many()
        };
        pressure::raise(if too_many { Pressure::Urgent } else { Pressure::Pending });
    }

    /// Gives back what is owed. Returns what remains to be done.
    pub(crate) fn decay(&self, moment: Moment) -> Pressure {
        let due = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            let inner = unsafe { &mut *self.inner.get() };
            inner.idle.advance(moment, inner.dirty_free, TRIFLE, STEP);
            if moment != Moment::Step {
                inner.used.interval_over();
            }
            inner.idle.due().max(inner.used.beyond(inner.dirty_free, DIRTY_CAP.load(Relaxed)))
        };
        let gave_back = self.purge_pages(due);
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if gave_back < due {
            inner.idle.forgive(); // the rest is in pieces smaller than a page of the system, or the system refuses
            return Pressure::Quiet;
        }
        match (inner.idle.due(), inner.dirty_free) {
            (0, 0..=TRIFLE) => Pressure::Quiet,
            (0, _) => Pressure::Pending,
            _ => Pressure::Urgent,
        }
    }

    /// Gives the memory of free pages back to the system, all but `keep` bytes of it. Returns the bytes given back.
    pub(crate) fn purge(&self, keep: usize) -> usize {
        let dirty = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            unsafe { &*self.inner.get() }.dirty_free
        };
        self.purge_pages(dirty.saturating_sub(keep / PAGE_SIZE)) * PAGE_SIZE
    }

    /// Gives the memory of at least `target` dirty pages back, as far as there are so many. Returns of how many.
    fn purge_pages(&self, target: usize) -> usize {
        let mut gave_back = 0;
        while gave_back < target {
            match self.purge_batch(target - gave_back) {
                0 => break,
                n => gave_back += n,
            }
        }
        gave_back
    }

    /// Gives one batch of free blocks back. Returns how many dirty pages they had.
    fn purge_batch(&self, target: usize) -> usize {
        let os_pages = (map::os_page_size() / PAGE_SIZE) as u32;
        let _purging = self.purging.lock();
        let mut batch = [(PageIndex::NONE, Order::MAX); BATCH];
        let taken = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            let inner = unsafe { &mut *self.inner.get() };
            let mut dirty = 0;
            let taken = inner.buddy.take_free(&mut batch, |start, order| {
                if dirty >= target.min(BATCH_PAGES) || order.pages() < os_pages {
                    return false;
                }
                let n = dirty::count(start, order.pages());
                dirty += n as usize;
                n != 0
            });
            inner.dirty_free -= dirty;
            inner.away += batch[..taken].iter().map(|(_, order)| order.pages() as usize).sum::<usize>();
            taken
        };
        let mut clean = [false; BATCH];
        for (&(start, order), clean) in batch[..taken].iter().zip(&mut clean) {
            self.before_giving_back(start, order.pages());
            *clean = give_back(start, order, os_pages);
        }
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let mut gave_back = 0;
        for (&(start, order), clean) in batch[..taken].iter().zip(clean) {
            inner.away -= order.pages() as usize;
            if clean {
                gave_back += dirty::clear(start, order.pages()) as usize;
            } else {
                inner.dirty_free += dirty::count(start, order.pages()) as usize;
            }
            inner.buddy.free_pages_order(start, order);
        }
        inner.idle.gave_back(gave_back);
        gave_back
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
        let mut counts = ZoneCounts {
            present: self.present,
            free: self.buddy.free_pages() as usize + self.away,
            dirty_free: self.dirty_free,
            ..ZoneCounts::default()
        };
        for (order, row) in counts.free_blocks.iter_mut().enumerate() {
            for (kind, cell) in MigrateType::ALL.into_iter().zip(row) {
                *cell = self.buddy.free_blocks(Order::new(order as u8), kind);
            }
        }
        counts
    }

    fn has_too_many(&self) -> bool {
        self.dirty_free > self.used.cap(DIRTY_CAP.load(Relaxed))
    }

    /// Notes that `pages` pages were allocated, and that `dirty` of them were dirty.
    fn account(&mut self, pages: u32, dirty: u32) {
        self.dirty_free -= dirty as usize;
        self.idle.fell_to(self.dirty_free);
        self.used.are(self.used.now + pages as usize);
        if dirty != pages && self.has_too_many() {
            pressure::raise(Pressure::Urgent);
        }
    }
}

/// Gives the memory of a block that is away back, and of what describes it if it is a whole chunk. True if all of it went.
fn give_back(start: PageIndex, order: Order, os_pages: u32) -> bool {
    let mut all = true;
    dirty::for_each_run(start, order.pages(), |first, n| {
        // Widened to the kernel's pages: the block is at least as large as one and aligned to it.
        let from = PageIndex(first.0 & !(os_pages - 1));
        let to = (first.0 + n).next_multiple_of(os_pages);
        // SAFETY: free pages of ours that nobody else can have now.
        all &= unsafe { map::dontneed(MEMBLOCK.address_of(from), ((to - from.0) as usize) << PAGE_SHIFT) };
    });
    if all && order == Order::MAX {
        MEMBLOCK.give_back_tables(start);
    }
    all
}

const _: () = assert!(CHUNK == 4 << 20);
