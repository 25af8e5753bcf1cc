//! Bins: medium blocks, 8 KiB to 256 KiB, after ptmalloc, with its boundary tags out of line.
//!
//! A *region* is 1 or 4 MiB from the zone, divided into *chunks* measured in units of 256 bytes. A chunk is described by the
//! page descriptor of the page it starts in: no chunk is shorter than a page, so at most one starts in each. The descriptor
//! holds the chunk's size, the size of the chunk before it (both neighbours are found in constant time: Knuth's boundary
//! tags), whether it is free, and the links of its bin. Nothing is written into the memory itself.
//!
//! * *fast bins* are the sheaves of these classes in the heaps, above this layer;
//! * *small bins* hold free chunks of exactly one size, *large bins* an eighth of a doubling (`bin.rs`);
//! * the *unsorted bin* takes what is freed; the next allocation sorts it, taking a perfect fit at once;
//! * *top* is the wilderness of the newest region: used when no bin has anything.
//!
//! Free neighbours are merged at once. A region that is one free chunk goes back to the zone; one is kept as top, so that a
//! program at the boundary does not map and unmap in turn. Whole pages inside free chunks go back to the system when they
//! have been idle (`decay.rs`): a batch of chunks is taken away (`arena.rs`), the lock released for the system calls, and
//! what is away brought back. An allocation that finds nothing meanwhile makes a region more; only top is never away.

pub(crate) mod arena;
pub(crate) mod bin;

use crate::decay::Moment;
use crate::lock::{Lock, Patience};
use crate::memblock::{MEMBLOCK, granule};
use crate::os::map;
use crate::page::{Kind, PageIndex, Tag};
use crate::pressure::{self, Pressure};
use crate::slab::size_class::{Class, size_of_class};
use crate::zone::Zone;
use crate::zone::buddy::{MigrateType, Order};
use arena::{Arena, Region, Unit};
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{Relaxed, Release};

/// Bytes of a unit.
pub(crate) const UNIT: usize = 256;
const UNITS_PER_PAGE: u32 = 16;

/// Orders of regions: small ones while a process is small, so that a few blocks do not tie up a chunk.
const FIRST_REGION: Order = Order::new(8);
const REGION: Order = Order::new(10);
/// Regions of the first size before larger ones are made.
const SMALL_REGIONS: u32 = 4;

/// Dirty units that are never worth a purge: 1 MiB.
const TRIFLE: usize = (1 << 20) / UNIT;

/// Units given back in one step of decay at least: 64 MiB, as in the zone.
const STEP: usize = (64 << 20) / UNIT;

/// Chunks that are away at once: few, so that little is missing meanwhile.
const BATCH: usize = 16;

/// The bins of one arena: each node has as many as are configured, and each heap keeps to one of them. The lock comes before
/// the zone's.
pub(crate) struct Bins {
    lock: Lock,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    arena: Arena,
    regions: u32,
    /// What the granule bytes of its regions say.
    granule: u8,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Bins {}

/// What a wrong pointer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadChunk {
    /// A chunk starts there, and it is free already.
    Free,
    /// No chunk starts there.
    Inside,
}

/// A chunk of the bins, and whether it reads as zeroes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) address: *mut u8,
    pub(crate) zeroed: bool,
}

impl Bins {
    /// Empty bins of a node's n-th arena.
    pub(crate) fn new(nth: usize) -> Bins {
        debug_assert!(nth < granule::MAX_ARENAS);
        let arena = Arena::new(MEMBLOCK.page_map());
        let inner = Inner { arena, regions: 0, granule: granule::BINS + nth as u8 };
        Bins { lock: Lock::new(), inner: UnsafeCell::new(inner) }
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Allocates up to `want` chunks of a class and passes each to `take`. Returns how many there were memory for.
    pub(crate) fn alloc(&self, zone: &Zone, class: Class, want: usize, mut take: impl FnMut(Chunk)) -> usize {
        let units = (size_of_class(class) / UNIT) as u32;
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        for got in 0..want {
            let found = inner.arena.alloc(units, class).or_else(|| {
                // A chunk more than was asked for is not worth a region.
                (got == 0 && inner.add_region(zone)).then(|| inner.arena.alloc(units, class)).flatten()
            });
            let Some((unit, zeroed)) = found else { return got };
            take(Chunk { address: address_of(unit), zeroed });
        }
        want
    }

    /// Gives a chunk in use back.
    pub(crate) fn free(&self, zone: &Zone, address: usize, index: PageIndex) -> Result<(), BadChunk> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let unit = unit_of(address, index).ok_or(BadChunk::Inside)?;
        if let Some(region) = inner.arena.free(unit)? {
            inner.remove_region(zone, region);
        }
        pressure::raise(Pressure::Pending);
        Ok(())
    }

    /// Grows or shrinks a chunk in use to hold `size` bytes where it is. False if what follows is in use.
    pub(crate) fn resize(&self, address: usize, index: PageIndex, size: usize, class: Class) -> bool {
        let Some(unit) = unit_of(address, index) else { return false };
        let units = size.div_ceil(UNIT) as u32;
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { &mut *self.inner.get() }.arena.resize(unit, units, class)
    }

    /// Gives back the region kept as top, if it is empty.
    pub(crate) fn trim(&self, zone: &Zone) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if let Some(region) = inner.arena.take_empty_top() {
            inner.remove_region(zone, region);
        }
    }

    /// Gives back what is owed. Returns what remains to be done.
    pub(crate) fn decay(&self, zone: &Zone, moment: Moment) -> Pressure {
        let due = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            let arena = &mut unsafe { &mut *self.inner.get() }.arena;
            let dirty = arena.dirty_units() as usize;
            arena.idle().advance(moment, dirty, TRIFLE, STEP);
            arena.idle().due()
        };
        let gave_back = self.purge_units(zone, due);
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let arena = &mut unsafe { &mut *self.inner.get() }.arena;
        if gave_back < due {
            arena.idle().forgive(); // the rest has no whole pages in it, or the system refuses
            return Pressure::Quiet;
        }
        match (arena.idle().due(), arena.dirty_units() as usize) {
            (0, 0..=TRIFLE) => Pressure::Quiet,
            (0, _) => Pressure::Pending,
            _ => Pressure::Urgent,
        }
    }

    /// Gives the memory of whole pages inside free chunks back to the system. Returns the bytes.
    pub(crate) fn purge(&self, zone: &Zone) -> usize {
        self.purge_units(zone, usize::MAX) * UNIT
    }

    /// Gives the memory of at least `target` dirty units back, as far as there are so many. Returns of how many.
    fn purge_units(&self, zone: &Zone, target: usize) -> usize {
        let least = (map::os_page_size() / UNIT) as u32 - 1;
        let mut gave_back = 0;
        while gave_back < target {
            let mut batch = [(unit_at(PageIndex::NONE), 0); BATCH];
            let taken = {
                let _guard = self.lock.lock();
                // SAFETY: under the lock.
                unsafe { &mut *self.inner.get() }.arena.take_away(&mut batch, least)
            };
            let mut clean = [false; BATCH];
            for (&(unit, units), clean) in batch[..taken].iter().zip(&mut clean) {
                *clean = give_back(zone, unit, units);
            }
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            let inner = unsafe { &mut *self.inner.get() };
            let before = gave_back;
            for (&(unit, units), clean) in batch[..taken].iter().zip(clean) {
                gave_back += if clean { units as usize } else { 0 };
                if let Some(region) = inner.arena.bring_back(unit, clean) {
                    inner.remove_region(zone, region);
                }
            }
            if taken == 0
                && let Some((top, units)) = inner.arena.dirty_top()
                && units > least
                && give_back(zone, top, units)
            {
                inner.arena.top_is_clean();
                gave_back += units as usize;
            }
            inner.arena.idle().gave_back(gave_back - before);
            if gave_back == before {
                break;
            }
        }
        gave_back
    }

    /// Regions, bytes in them, and free bytes of those.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.counts_if(Patience::Wait).unwrap_or_default()
    }

    /// The same; None if the lock is taken and may not be waited for.
    pub(crate) fn counts_if(&self, patience: Patience) -> Option<(usize, usize)> {
        let _guard = self.lock.lock_if(patience)?;
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        Some((inner.arena.total_units() as usize * UNIT, inner.arena.free_units() as usize * UNIT))
    }
}

impl Inner {
    fn add_region(&mut self, zone: &Zone) -> bool {
        let wanted = if self.regions < SMALL_REGIONS { FIRST_REGION } else { REGION };
        let Some((order, pages)) =
            [wanted, FIRST_REGION].into_iter().find_map(|o| Some((o, zone.alloc_pages(o, MigrateType::Chunk)?)))
        else {
            return false;
        };
        for granule_in_region in 0..order.pages() / 16 {
            // Release: whoever sees the byte, through a pointer or not, sees descriptors that make sense.
            MEMBLOCK.granule(pages.start.add(granule_in_region * 16)).store(self.granule, Release);
        }
        self.regions += 1;
        self.arena
            .add_region(Region { start: unit_at(pages.start), units: order.pages() * UNITS_PER_PAGE }, pages.zeroed);
        true
    }

    fn remove_region(&mut self, zone: &Zone, region: Region) {
        let start = PageIndex(region.start.0 / UNITS_PER_PAGE);
        let pages = region.units / UNITS_PER_PAGE;
        for granule_in_region in 0..pages / 16 {
            MEMBLOCK.granule(start.add(granule_in_region * 16)).store(granule::NONE, Relaxed);
        }
        self.regions -= 1;
        zone.free_exact(start, pages);
    }
}

/// Class of the chunk in use that starts at `address`, by its descriptor alone; the fast path of `free`.
#[inline(always)]
pub(crate) fn chunk_class(address: usize, index: PageIndex) -> Option<Class> {
    class_by_tag(address, MEMBLOCK.page_map().page(index).tag())
}

/// As [`chunk_class`], with the tag at hand.
#[inline(always)]
pub(crate) fn class_by_tag(address: usize, tag: Tag) -> Option<Class> {
    // Kind, unit and alignment in one comparison: see `Tag`.
    let expected = (address % 4096) as u16 | (Kind::Chunk as u16) << 12;
    (tag.0 as u16 == expected).then(|| tag.b() & !arena::LAST)
}

/// Class of the chunk in use that starts in this page, which [`chunk_class`] has recognised.
pub(crate) fn class_at(index: PageIndex) -> Class {
    MEMBLOCK.page_map().page(index).tag().b() & !arena::LAST
}

/// Bytes of the chunk in use that starts at `address`, which [`chunk_class`] has recognised.
pub(crate) fn chunk_size(index: PageIndex) -> usize {
    MEMBLOCK.page_map().page(index).n.load(Relaxed) as usize * UNIT
}

/// What an address lies in; for reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) start: usize,
    pub(crate) size: usize,
    pub(crate) free: bool,
}

/// The chunk an address in a region lies in. Read without the lock, for reports.
pub(crate) fn chunk_around(address: usize, index: PageIndex) -> Option<Around> {
    let region = index.0 & !(REGION.pages() - 1);
    (region..=index.0).rev().map(PageIndex).find_map(|i| {
        let tag = MEMBLOCK.page_map().page(i).tag();
        let start = MEMBLOCK.address_of(i).addr() + tag.a() as usize * UNIT;
        let starts_here = matches!(tag.kind(), Kind::Chunk | Kind::FreeChunk) && start <= address;
        starts_here.then(|| Around { start, size: chunk_size(i), free: tag.kind() == Kind::FreeChunk })
    })
}

/// Gives the whole pages in a free chunk back that nobody else can have now. False if the system refuses.
fn give_back(zone: &Zone, unit: Unit, units: u32) -> bool {
    let page = map::os_page_size();
    zone.before_giving_back(PageIndex(unit.0 / UNITS_PER_PAGE), units.div_ceil(UNITS_PER_PAGE));
    let start = address_of(unit);
    let skip = start.addr().wrapping_neg() % page;
    let len = (units as usize * UNIT).saturating_sub(skip) / page * page;
    // SAFETY: whole pages inside a free chunk.
    len == 0 || unsafe { map::dontneed(start.wrapping_add(skip), len) }
}

fn unit_at(index: PageIndex) -> Unit {
    Unit(index.0 * UNITS_PER_PAGE)
}

fn unit_of(address: usize, index: PageIndex) -> Option<Unit> {
    address.is_multiple_of(UNIT).then(|| Unit(index.0 * UNITS_PER_PAGE + (address % 4096 / UNIT) as u32))
}

fn address_of(unit: Unit) -> *mut u8 {
    let offset = (unit.0 % UNITS_PER_PAGE) as usize * UNIT;
    MEMBLOCK.address_of(PageIndex(unit.0 / UNITS_PER_PAGE)).wrapping_add(offset)
}
