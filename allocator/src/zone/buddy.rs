//! The buddy system: power-of-two blocks of pages, orders 0 (4 KiB) to 10 (4 MiB), split in halves and merged with their
//! buddies (Linux `mm/page_alloc.c`).
//!
//! Free lists are kept per order and per migrate type. A 2 MiB *pageblock* belongs to one type, so that what lives long
//! does not sit in the middle of what comes and goes, and big blocks stay whole. When a type runs out it takes the largest
//! block of another and, if that covers at least half a pageblock, the pageblocks with it.
//!
//! Invariants (held between calls):
//! * a page's tag is `Buddy` exactly if it heads a free block; its order and type are in the tag; blocks are aligned to
//!   their size and disjoint;
//! * no two buddies of the same order below the largest are both free;
//! * a pageblock's type only decides where its free pages are listed.
//!
//! Besides power-of-two blocks there are exact counts: [`Buddy::alloc_exact`] gives the tail of the block back at once, so
//! a run of 257 pages costs 257 pages; [`Buddy::free_range`] takes any range apart into aligned blocks. Where runs of
//! all sizes come and go, holes between them are larger than the blocks they consist of: `hole.rs` finds those.
//!
//! This file is pure arithmetic on descriptors: no lock, no system call. The zone provides both.

use crate::memblock::GRANULE_SHIFT;
use crate::os::map::PAGE_SHIFT;
use crate::page::{Kind, PageIndex, PageList, PageMap, Tag};

/// log2 of a block's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Order(u8);

impl Order {
    /// The largest order: 1,024 pages, 4 MiB, one chunk of the reservation.
    pub(crate) const MAX: Order = Order(10);

    pub(crate) const fn new(order: u8) -> Order {
        assert!(order <= 10);
        Order(order)
    }

    /// The smallest order with at least `pages` pages, if there is one.
    pub(crate) fn for_pages(pages: u32) -> Option<Order> {
        let order = pages.max(1).next_power_of_two().trailing_zeros() as u8;
        (order <= Order::MAX.0).then_some(Order(order))
    }

    #[inline]
    pub(crate) const fn pages(self) -> u32 {
        1 << self.0
    }

    pub(crate) const fn get(self) -> u8 {
        self.0
    }
}

/// Number of orders.
pub(crate) const NR_ORDERS: usize = Order::MAX.0 as usize + 1;

/// Order of a pageblock: 2 MiB, the size of a huge page.
pub(crate) const PAGEBLOCK_ORDER: Order = Order(9);

/// Order of a granule: 64 KiB, which one engine owns as a whole.
const GRANULE_ORDER: Order = Order((GRANULE_SHIFT - PAGE_SHIFT) as u8);

/// What a block is for. Blocks of one kind are kept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MigrateType {
    /// Slabs of small objects.
    Slab = 0,
    /// Regions of the bins.
    Chunk = 1,
    /// Runs handed to the program directly.
    Direct = 2,
    /// Stacks of green threads and other things with a fixed life.
    Stack = 3,
}

/// Number of migrate types.
pub(crate) const NR_TYPES: usize = 4;

impl MigrateType {
    pub(crate) const ALL: [MigrateType; NR_TYPES] =
        [MigrateType::Slab, MigrateType::Chunk, MigrateType::Direct, MigrateType::Stack];

    fn from_byte(byte: u8) -> MigrateType {
        MigrateType::ALL[byte as usize & (NR_TYPES - 1)]
    }
}

/// The type of every pageblock, indexed by page >> 9.
#[derive(Clone, Copy)]
pub(crate) struct PageblockTypes(*mut u8);

// SAFETY: written only under the lock of the zone that owns the pageblock.
unsafe impl Send for PageblockTypes {}

impl PageblockTypes {
    /// # Safety
    /// `base` points to a byte for every pageblock ever asked for.
    pub(crate) const unsafe fn new(base: *mut u8) -> PageblockTypes {
        PageblockTypes(base)
    }

    pub(crate) fn get(&self, index: PageIndex) -> MigrateType {
        // SAFETY: by `new`.
        MigrateType::from_byte(unsafe { *self.0.add((index.0 >> PAGEBLOCK_ORDER.0) as usize) })
    }

    fn set(&self, index: PageIndex, kind: MigrateType) {
        // SAFETY: by `new`.
        unsafe {
            let byte = self.0.add((index.0 >> PAGEBLOCK_ORDER.0) as usize);
            *byte = *byte & MARK | kind as u8;
        }
    }

    /// Whether a pageblock is marked (`huge.rs`).
    pub(crate) fn is_marked(&self, index: PageIndex) -> bool {
        // SAFETY: by `new`.
        unsafe { *self.0.add((index.0 >> PAGEBLOCK_ORDER.0) as usize) & MARK != 0 }
    }

    /// Marks a pageblock or takes its mark away; returns whether it was marked.
    pub(crate) fn mark(&self, index: PageIndex, marked: bool) -> bool {
        // SAFETY: by `new`.
        unsafe {
            let byte = self.0.add((index.0 >> PAGEBLOCK_ORDER.0) as usize);
            let before = *byte;
            *byte = if marked { before | MARK } else { before & !MARK };
            before & MARK != 0
        }
    }
}

/// Set in the byte of a pageblock that is marked.
const MARK: u8 = 0x80;

/// Blocks of a list among which the lowest is chosen.
const LOWEST_OF: usize = 16;

/// Whether any of so many pages from the first on may occupy memory.
type IsDirty = fn(PageIndex, u32) -> bool;

/// Set beside the type in the tag of a free block that occupies no memory.
const CLEAN: u8 = 0x10;

/// By type, blocks that may occupy memory first and then clean ones.
const NR_LISTS: usize = 2 * NR_TYPES;

struct FreeArea {
    lists: [PageList; NR_LISTS],
    blocks: [u32; NR_TYPES],
}

/// The list that blocks with such a tag are on.
fn list_of(kind: MigrateType, clean: bool) -> usize {
    kind as usize + if clean { NR_TYPES } else { 0 }
}

/// The free blocks of one zone.
pub(crate) struct Buddy {
    map: PageMap,
    pageblocks: PageblockTypes,
    is_dirty: IsDirty,
    areas: [FreeArea; NR_ORDERS],
    free_pages: u32,
    /// Chunks below this page that have neighbouring numbers have neighbouring addresses.
    contiguous_end: PageIndex,
    /// Start of the lowest and end of the highest chunk added below `contiguous_end`: descriptors outside may not be there yet.
    first: PageIndex,
    end: PageIndex,
}

impl Buddy {
    pub(crate) const fn new(
        map: PageMap,
        pageblocks: PageblockTypes,
        contiguous_end: PageIndex,
        is_dirty: IsDirty,
    ) -> Buddy {
        const AREA: FreeArea = FreeArea { lists: [const { PageList::new() }; NR_LISTS], blocks: [0; NR_TYPES] };
        Buddy {
            map,
            pageblocks,
            is_dirty,
            areas: [AREA; NR_ORDERS],
            free_pages: 0,
            contiguous_end,
            first: contiguous_end,
            end: PageIndex::NONE,
        }
    }

    /// Pages in free blocks.
    pub(crate) fn free_pages(&self) -> u32 {
        self.free_pages
    }

    /// Free blocks of an order and type, as in `/proc/pagetypeinfo`.
    pub(crate) fn free_blocks(&self, order: Order, kind: MigrateType) -> u32 {
        self.areas[order.0 as usize].blocks[kind as usize]
    }

    /// Adds a chunk (a block of the largest order) of pages never seen before.
    pub(crate) fn add_chunk(&mut self, start: PageIndex, kind: MigrateType) {
        self.pageblocks.set(start, kind);
        self.pageblocks.set(start.add(PAGEBLOCK_ORDER.pages()), kind);
        self.link(start, Order::MAX, kind, true);
        self.free_pages += Order::MAX.pages();
        if start < self.contiguous_end {
            self.first = self.first.min(start);
            self.end = self.end.max(start.add(Order::MAX.pages()));
        }
    }

    /// A block of `order` for `kind`, or None if no free block is large enough. Its head's tag is `Inside`; the caller
    /// gives it a meaning.
    #[inline(never)]
    pub(crate) fn alloc_pages(&mut self, order: Order, kind: MigrateType) -> Option<PageIndex> {
        let (found, list) = self.find(order, kind).or_else(|| self.find_fallback(order, kind))?;
        let mut index = self.lowest(found, list);
        let (from, clean) = (MigrateType::from_byte(list as u8), list >= NR_TYPES);
        self.unlink(index, found);
        self.free_pages -= order.pages();
        let kind = if from == kind || !self.steal(index, found, kind) { from } else { kind };
        // expand(): give back the upper halves, or the lower ones where those alone are clean.
        let mut at = found;
        while at > order {
            at = Order(at.0 - 1);
            let upper = index.add(at.pages());
            let clean_halves = [index, upper].map(|half| clean || !(self.is_dirty)(half, at.pages()));
            if clean_halves == [true, false] {
                self.link(index, at, kind, true);
                index = upper;
            } else {
                self.link(upper, at, kind, clean_halves[1]);
            }
        }
        Some(index)
    }

    /// Exactly `pages` pages, starting at a multiple of `align` pages (a power of two).
    pub(crate) fn alloc_exact(&mut self, pages: u32, align: u32, kind: MigrateType) -> Option<PageIndex> {
        if align == 1
            && let Some(start) = self.find_hole(pages, kind)
            && self.take_range(start, pages)
        {
            return Some(start);
        }
        let order = Order::for_pages(pages.max(align))?;
        let index = self.alloc_pages(order, kind)?;
        self.free_range(index.add(pages), order.pages() - pages);
        Some(index)
    }

    /// Exactly `pages` pages, more than a chunk, at a multiple of `align` pages (a chunk at most): a hole, or whole free chunks that follow each other, at the lowest address
    /// there is, and the tail of the last given back.
    pub(crate) fn alloc_chunks(&mut self, pages: u32, align: u32, kind: MigrateType) -> Option<PageIndex> {
        if align == 1
            && let Some(start) = self.find_hole(pages, kind)
            && self.take_range(start, pages)
        {
            return Some(start);
        }
        let chunk = Order::MAX.pages();
        let whole = pages.next_multiple_of(chunk);
        let mut best = None;
        for list in &self.areas[Order::MAX.0 as usize].lists {
            let mut at = list.first();
            while !at.is_none() {
                let fits = at.0 + whole <= self.end.0
                    && (at.0..at.0 + whole).step_by(chunk as usize).all(|i| self.is_free_chunk(PageIndex(i)));
                if fits && best.is_none_or(|least| at < least) {
                    best = Some(at);
                }
                at = PageList::after(self.map, at);
            }
        }
        let start = best?;
        for index in (start.0..start.0 + whole).step_by(chunk as usize).map(PageIndex) {
            self.unlink(index, Order::MAX);
            self.steal(index, Order::MAX, kind);
        }
        self.free_pages -= whole;
        self.free_range(start.add(pages), whole - pages);
        Some(start)
    }

    fn is_free_chunk(&self, index: PageIndex) -> bool {
        let tag = self.map.page(index).tag();
        tag.kind() == Kind::Buddy && tag.a() == Order::MAX.0
    }

    /// Grows a run in place: takes the `more` pages from `start` on, if all of them are free.
    pub(crate) fn take_range(&mut self, start: PageIndex, more: u32) -> bool {
        // First look, then take: a failed attempt must change nothing.
        let mut at = start;
        let end = start.0 + more;
        while at.0 < end {
            let Some((_, order)) = self.free_block_from(at) else { return false };
            at = at.add(order.pages());
        }
        let mut at = start;
        while at.0 < end {
            let Some((_, order)) = self.free_block_from(at) else { return false }; // cannot be: looked at above
            self.unlink(at, order);
            self.free_pages -= order.pages();
            at = at.add(order.pages());
        }
        if at.0 > end {
            self.free_range(PageIndex(end), at.0 - end);
        }
        true
    }

    /// The free block that starts at `index`, if one does.
    pub(super) fn free_block_from(&self, index: PageIndex) -> Option<(MigrateType, Order)> {
        if index.is_aligned(Order::MAX.pages()) && index >= self.end {
            return None; // another chunk, elsewhere or not there yet
        }
        let tag = self.map.page(index).tag();
        (tag.kind() == Kind::Buddy).then(|| (MigrateType::from_byte(tag.b()), Order(tag.a())))
    }

    /// The free block that ends before `index`, the first page of a free block, if there is one. At the start of a granule only those that
    /// are at least a granule: what the descriptors of smaller ones are may be another engine's record (`page.rs`).
    pub(super) fn free_block_before(&self, index: PageIndex) -> Option<(MigrateType, Order)> {
        if index.is_aligned(Order::MAX.pages()) && !(self.first < index && index <= self.end) {
            return None; // another chunk, elsewhere or not there yet
        }
        let least = if index.is_aligned(GRANULE_ORDER.pages()) { GRANULE_ORDER.0 } else { 0 };
        (least..NR_ORDERS as u8).map(Order).take_while(|order| index.is_aligned(order.pages())).find_map(|order| {
            self.free_block_from(PageIndex(index.0 - order.pages())).filter(|&(_, found)| found == order)
        })
    }

    /// Gives a block back and merges it with its buddies as far as they are free (`__free_one_page`).
    pub(crate) fn free_pages_order(&mut self, mut index: PageIndex, mut order: Order) {
        debug_assert!(index.is_aligned(order.pages()));
        let mut clean = !(self.is_dirty)(index, order.pages());
        self.free_pages += order.pages();
        self.map.page(index).set_tag(Tag::INSIDE);
        while order < Order::MAX {
            let buddy = PageIndex(index.0 ^ order.pages());
            let tag = self.map.page(buddy).tag();
            if tag.kind() != Kind::Buddy || tag.a() != order.0 {
                break;
            }
            self.unlink(buddy, order);
            clean &= tag.b() & CLEAN != 0;
            index = PageIndex(index.0 & !order.pages());
            order = Order(order.0 + 1);
        }
        self.link(index, order, self.pageblocks.get(index), clean);
    }

    /// Takes up to as many free blocks that may occupy memory off their lists as `out` has room for, those that are `wanted`,
    /// largest orders first. Returns how many.
    pub(crate) fn take_free(
        &mut self,
        out: &mut [(PageIndex, Order)],
        mut wanted: impl FnMut(PageIndex, Order) -> bool,
    ) -> usize {
        let mut taken = 0;
        for order in (0..NR_ORDERS as u8).rev().map(Order) {
            for kind in MigrateType::ALL {
                let mut at = self.areas[order.0 as usize].lists[kind as usize].first();
                while !at.is_none() && taken < out.len() {
                    let next = PageList::after(self.map, at);
                    if wanted(at, order) {
                        self.unlink(at, order);
                        self.free_pages -= order.pages();
                        out[taken] = (at, order);
                        taken += 1;
                    }
                    at = next;
                }
            }
        }
        taken
    }

    /// Gives any range of pages back, as the aligned blocks it consists of.
    pub(crate) fn free_range(&mut self, mut start: PageIndex, mut pages: u32) {
        while pages != 0 {
            let fits = 31 - pages.leading_zeros();
            let aligned = start.0.trailing_zeros();
            let order = Order(fits.min(aligned).min(Order::MAX.0 as u32) as u8);
            self.free_pages_order(start, order);
            start = start.add(order.pages());
            pages -= order.pages();
        }
    }

    /// Calls `each` with the first `most` free blocks of an order and type, those that may occupy memory before others.
    pub(super) fn for_first_free(&self, order: Order, kind: MigrateType, most: usize, mut each: impl FnMut(PageIndex)) {
        let mut left = most;
        for list in [false, true].map(|clean| list_of(kind, clean)) {
            let mut at = self.areas[order.0 as usize].lists[list].first();
            while !at.is_none() && left != 0 {
                each(at);
                at = PageList::after(self.map, at);
                left -= 1;
            }
        }
    }

    /// Calls `each` with every free block, largest orders first.
    #[cfg(test)]
    pub(crate) fn for_each_free(&self, mut each: impl FnMut(PageIndex, Order)) {
        for order in (0..NR_ORDERS).rev() {
            for list in &self.areas[order].lists {
                let mut at = list.first();
                while !at.is_none() {
                    each(at, Order(order as u8));
                    at = PageList::after(self.map, at);
                }
            }
        }
    }

    /// The smallest free block of this type that is large enough, with its list: one that occupies memory already if there is
    /// one.
    fn find(&self, order: Order, kind: MigrateType) -> Option<(Order, usize)> {
        [false, true].into_iter().find_map(|clean| {
            let list = list_of(kind, clean);
            (order.0..NR_ORDERS as u8).find(|&o| !self.is_empty(Order(o), list)).map(|o| (Order(o), list))
        })
    }

    fn is_empty(&self, order: Order, list: usize) -> bool {
        self.areas[order.0 as usize].lists[list].first().is_none()
    }

    /// The lowest of the first few blocks of a list: keeps what is in use together, and what is free whole.
    fn lowest(&self, order: Order, list: usize) -> PageIndex {
        let mut lowest = self.areas[order.0 as usize].lists[list].first();
        let mut at = lowest;
        for _ in 1..LOWEST_OF {
            at = PageList::after(self.map, at);
            if at.is_none() {
                break;
            }
            lowest = lowest.min(at);
        }
        lowest
    }

    /// The largest free block of any other type (`__rmqueue_fallback`): large, because what remains of it becomes ours.
    fn find_fallback(&self, order: Order, kind: MigrateType) -> Option<(Order, usize)> {
        (order.0..NR_ORDERS as u8).rev().find_map(|o| {
            let list =
                (0..NR_LISTS).find(|&list| list % NR_TYPES != kind as usize && !self.is_empty(Order(o), list))?;
            Some((Order(o), list))
        })
    }

    /// Moves the pageblocks of a block over to another type, if it covers at least half of one.
    fn steal(&mut self, index: PageIndex, found: Order, to: MigrateType) -> bool {
        if found.0 + 1 < PAGEBLOCK_ORDER.0 {
            return false;
        }
        let blocks = (found.pages() / PAGEBLOCK_ORDER.pages()).max(1);
        for block in 0..blocks {
            self.pageblocks.set(index.add(block * PAGEBLOCK_ORDER.pages()), to);
        }
        true
    }

    /// Like `unlink` and `alloc_pages` never inlined: all are called from many places, and what is loaded of the library counts in every
    /// process (`ffi/text.ld`).
    #[inline(never)]
    fn link(&mut self, index: PageIndex, order: Order, kind: MigrateType, clean: bool) {
        self.map.page(index).set_tag(Tag::new(Kind::Buddy, order.0, kind as u8 | if clean { CLEAN } else { 0 }));
        let area = &mut self.areas[order.0 as usize];
        area.blocks[kind as usize] += 1;
        area.lists[list_of(kind, clean)].push(self.map, index);
    }

    #[inline(never)]
    fn unlink(&mut self, index: PageIndex, order: Order) {
        let b = self.map.page(index).tag().b();
        self.map.page(index).set_tag(Tag::INSIDE);
        let (kind, area) = (MigrateType::from_byte(b), &mut self.areas[order.0 as usize]);
        area.lists[list_of(kind, b & CLEAN != 0)].remove(self.map, index);
        area.blocks[kind as usize] -= 1;
    }
}

#[cfg(test)]
#[path = "buddy_tests.rs"]
mod tests;
