//! Chunks: splitting, merging and finding them. Pure arithmetic on page descriptors; `mod.rs` adds lock and zone.
//!
//! Invariants (held between calls), for every region:
//! * its chunks follow each other without gaps; each is at least [`MIN_UNITS`] long, so no two start in one page;
//! * the descriptor of the page a chunk starts in has kind `Chunk` or `FreeChunk`, the unit in the page, the chunk's units
//!   (`n`) and those of the chunk before it (`before`, 0 for the first); no other page of a region has either kind;
//! * no two neighbours are both free;
//! * a free chunk is on exactly one list (a bin or unsorted) or is top.

use super::BadChunk;
use super::bin::{BinMap, NR_BINS, bin_of};
use crate::page::{Kind, Page, PageIndex, PageList, PageMap, Tag};
use crate::slab::size_class::Class;
use core::sync::atomic::Ordering::Relaxed;

/// Shortest chunk, in units: a page, so that each has a descriptor of its own. A shorter remainder stays with the chunk.
pub(crate) const MIN_UNITS: u32 = 16;

/// Chunks of a large bin that are looked at for the best fit.
const BEST_OF: usize = 8;

/// Entries of the unsorted bin sorted by one allocation at most.
const SORT_AT_ONCE: usize = 64;

/// Number of a unit of 256 bytes, counted from the start of the reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Unit(pub(crate) u32);

impl Unit {
    const NONE: Unit = Unit(0);

    fn page(self) -> PageIndex {
        PageIndex(self.0 / 16)
    }

    fn in_page(self) -> u8 {
        (self.0 % 16) as u8
    }

    fn add(self, units: u32) -> Unit {
        Unit(self.0 + units)
    }
}

/// A stretch of memory the arena divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: Unit,
    pub(crate) units: u32,
}

/// Set in a tag's class field if no chunk follows in the region.
pub(super) const LAST: u8 = 0x80;

/// See the module's text.
pub(crate) struct Arena {
    map: PageMap,
    bins: [PageList; NR_BINS],
    binmap: BinMap,
    unsorted: PageList,
    /// The wilderness: a free chunk on no list; NONE if there is none.
    top: Unit,
    /// From here to the end of top, nothing has ever been handed out and everything reads as zeroes.
    fresh: Unit,
    total: u32,
    free: u32,
}

impl Arena {
    pub(crate) const fn new(map: PageMap) -> Arena {
        Arena {
            map,
            bins: [const { PageList::new() }; NR_BINS],
            binmap: BinMap::new(),
            unsorted: PageList::new(),
            top: Unit::NONE,
            fresh: Unit::NONE,
            total: 0,
            free: 0,
        }
    }

    pub(crate) fn total_units(&self) -> u32 {
        self.total
    }

    pub(crate) fn free_units(&self) -> u32 {
        self.free
    }

    /// Adds a region; it becomes top, and the old top an ordinary free chunk.
    pub(crate) fn add_region(&mut self, region: Region, zeroed: bool) {
        if self.top != Unit::NONE {
            let old = self.top;
            self.unsorted.push(self.map, old.page());
        }
        self.write(region.start, Kind::FreeChunk, LAST, region.units, 0);
        self.top = region.start;
        self.fresh = if zeroed { region.start } else { region.start.add(region.units) };
        self.total += region.units;
        self.free += region.units;
    }

    /// A chunk of at least `units` for a request of `class`, and whether it reads as zeroes. None if a region is needed.
    pub(crate) fn alloc(&mut self, units: u32, class: Class) -> Option<(Unit, bool)> {
        debug_assert!(units >= MIN_UNITS);
        let found = self.sort(units).or_else(|| self.find(units)).map(|unit| (unit, false));
        let (unit, zeroed) = found.or_else(|| self.find_top(units))?;
        self.split(unit, units);
        let page = self.page(unit);
        let last = page.tag().b() & LAST;
        page.set_tag(Tag::new(Kind::Chunk, unit.in_page(), class | last));
        self.free -= page.n.load(Relaxed) as u32;
        Some((unit, zeroed))
    }

    /// Takes a chunk back; returns its region if all of it is free now, for the caller to give back.
    pub(crate) fn free(&mut self, unit: Unit) -> Result<Option<Region>, BadChunk> {
        self.check_in_use(unit)?;
        let page = self.page(unit);
        let tag = page.tag();
        self.free += page.n.load(Relaxed) as u32;
        page.set_tag(Tag::new(Kind::FreeChunk, tag.a(), tag.b() & LAST));
        let mut unit = unit;
        let mut joins_top = false;
        if let Some(next) = self.next(unit).filter(|&next| self.is_free(next)) {
            joins_top = next == self.top;
            self.take_off(next);
            self.merge(unit, next);
        }
        if let Some(prev) = self.prev(unit).filter(|&prev| self.is_free(prev)) {
            self.take_off(prev); // never top: top has no successor
            self.merge(prev, unit);
            unit = prev;
        }
        if joins_top {
            self.top = unit; // what is fresh lies higher still
        } else if self.is_last(unit) && self.top == Unit::NONE {
            self.top = unit;
            self.fresh = self.end(unit);
        } else if self.is_last(unit) && self.prev(unit).is_none() {
            return Ok(Some(self.forget_region(unit)));
        } else {
            self.unsorted.push(self.map, unit.page());
        }
        Ok(None)
    }

    /// Makes a chunk in use `units` long where it is. False if it must grow and what follows is in use or too short.
    pub(crate) fn resize(&mut self, unit: Unit, units: u32, class: Class) -> bool {
        let units = units.max(MIN_UNITS);
        if self.check_in_use(unit).is_err() {
            return false;
        }
        let old = self.page(unit).n.load(Relaxed) as u32;
        if units > old {
            let Some(next) = self.next(unit).filter(|&next| self.is_free(next)) else { return false };
            if old + (self.page(next).n.load(Relaxed) as u32) < units {
                return false;
            }
            let was_top = self.top == next;
            self.take_off(next);
            self.free -= self.page(next).n.load(Relaxed) as u32;
            self.merge(unit, next);
            self.cut(unit, units, was_top);
        } else if old - units >= MIN_UNITS {
            self.cut(unit, units, false);
        }
        let page = self.page(unit);
        let last = page.tag().b() & LAST;
        page.set_tag(Tag::new(Kind::Chunk, unit.in_page(), class | last));
        true
    }

    /// Takes top away if it is a whole region; for giving it back.
    pub(crate) fn take_empty_top(&mut self) -> Option<Region> {
        let top = self.top;
        if top == Unit::NONE || self.prev(top).is_some() {
            return None;
        }
        self.top = Unit::NONE;
        self.fresh = Unit::NONE;
        Some(self.forget_region(top))
    }

    /// Calls `each` with every free chunk.
    pub(crate) fn for_each_free(&self, mut each: impl FnMut(Unit, u32)) {
        for list in self.bins.iter().chain([&self.unsorted]) {
            let mut at = list.first();
            while !at.is_none() {
                let unit = self.unit_starting_in(at);
                each(unit, self.page(unit).n.load(Relaxed) as u32);
                at = PageList::after(self.map, at);
            }
        }
        if self.top != Unit::NONE {
            each(self.top, self.page(self.top).n.load(Relaxed) as u32);
        }
    }

    /// Sorts the unsorted bin; stops at a perfect fit, which it takes.
    fn sort(&mut self, units: u32) -> Option<Unit> {
        for _ in 0..SORT_AT_ONCE {
            let page = self.unsorted.first();
            if page.is_none() {
                return None;
            }
            self.unsorted.remove(self.map, page);
            let unit = self.unit_starting_in(page);
            let has = self.page(unit).n.load(Relaxed) as u32;
            if has == units {
                return Some(unit);
            }
            let bin = bin_of(has);
            self.bins[bin].push(self.map, page);
            self.binmap.set(bin);
        }
        None
    }

    /// The best of the bins: the smallest chunk that fits from the request's own bin, else any from the next one up.
    fn find(&mut self, units: u32) -> Option<Unit> {
        let own = bin_of(units);
        let mut bin = self.binmap.first_from(own)?;
        if bin == own {
            if let Some(unit) = self.best_of(own, units) {
                self.remove_from_bin(unit, own);
                return Some(unit);
            }
            bin = self.binmap.first_from(own + 1)?;
        }
        let unit = self.best_of(bin, units)?;
        self.remove_from_bin(unit, bin);
        Some(unit)
    }

    fn best_of(&self, bin: usize, units: u32) -> Option<Unit> {
        let mut best = None;
        let mut at = self.bins[bin].first();
        for _ in 0..BEST_OF {
            if at.is_none() {
                break;
            }
            let has = self.map.page(at).n.load(Relaxed) as u32;
            if has >= units && best.is_none_or(|(least, _)| has < least) {
                best = Some((has, at));
            }
            at = PageList::after(self.map, at);
        }
        best.map(|(_, page)| self.unit_starting_in(page))
    }

    /// A piece off the lower end of top.
    fn find_top(&mut self, units: u32) -> Option<(Unit, bool)> {
        let top = self.top;
        if top == Unit::NONE {
            return None;
        }
        let has = self.page(top).n.load(Relaxed) as u32;
        if has < units {
            return None;
        }
        let zeroed = self.fresh <= top;
        self.top = if has - units >= MIN_UNITS { self.divide(top, units) } else { Unit::NONE };
        self.fresh = self.fresh.max(self.end(top));
        Some((top, zeroed))
    }

    /// Cuts a free chunk on no list down to `units`; the rest goes to the unsorted bin.
    fn split(&mut self, unit: Unit, units: u32) {
        let has = self.page(unit).n.load(Relaxed) as u32;
        if has - units >= MIN_UNITS {
            let rest = self.divide(unit, units);
            self.unsorted.push(self.map, rest.page());
        }
    }

    /// Cuts a chunk in use down to `units`; the rest becomes free, and top again if it was.
    fn cut(&mut self, unit: Unit, units: u32, was_top: bool) {
        let has = self.page(unit).n.load(Relaxed) as u32;
        if has - units < MIN_UNITS {
            return;
        }
        let rest = self.divide(unit, units);
        self.free += self.page(rest).n.load(Relaxed) as u32;
        let mut is_top = was_top;
        if let Some(next) = self.next(rest).filter(|&next| self.is_free(next)) {
            is_top = next == self.top;
            self.take_off(next);
            self.merge(rest, next);
        }
        if is_top {
            self.top = rest;
            self.fresh = self.fresh.max(rest);
        } else {
            self.unsorted.push(self.map, rest.page());
        }
    }

    /// Makes two chunks of one: the first `units` long and as it was, the second free and on no list.
    fn divide(&mut self, unit: Unit, units: u32) -> Unit {
        let page = self.page(unit);
        let has = page.n.load(Relaxed) as u32;
        let tag = page.tag();
        let rest = unit.add(units);
        page.n.store(units as u16, Relaxed);
        page.set_tag(Tag::new(tag.kind(), tag.a(), tag.b() & !LAST));
        self.write(rest, Kind::FreeChunk, tag.b() & LAST, has - units, units);
        self.tell_next(rest);
        rest
    }

    /// Makes one chunk of two neighbours; the second vanishes.
    fn merge(&mut self, first: Unit, second: Unit) {
        let (page, gone) = (self.page(first), self.page(second));
        let last = gone.tag().b() & LAST;
        gone.set_tag(Tag::INSIDE);
        page.n.store(page.n.load(Relaxed) + gone.n.load(Relaxed), Relaxed);
        let tag = page.tag();
        page.set_tag(Tag::new(tag.kind(), tag.a(), tag.b() & !LAST | last));
        self.tell_next(first);
    }

    /// Writes a chunk's size into its successor's tag.
    fn tell_next(&self, unit: Unit) {
        if let Some(next) = self.next(unit) {
            self.page(next).before.store(self.page(unit).n.load(Relaxed), Relaxed);
        }
    }

    /// Takes a free chunk off the list it is on, or from being top.
    fn take_off(&mut self, unit: Unit) {
        if unit == self.top {
            self.top = Unit::NONE;
            return;
        }
        // In the middle of a list its head does not matter; a first chunk heads its bin, or else the unsorted bin.
        let page = unit.page();
        let bin = bin_of(self.page(unit).n.load(Relaxed) as u32);
        if self.bins[bin].first() == page || self.page(unit).prev.load(Relaxed) != 0 {
            self.remove_from_bin(unit, bin);
        } else {
            self.unsorted.remove(self.map, page);
        }
    }

    fn remove_from_bin(&mut self, unit: Unit, bin: usize) {
        self.bins[bin].remove(self.map, unit.page());
        if self.bins[bin].first().is_none() {
            self.binmap.clear(bin);
        }
    }

    fn forget_region(&mut self, unit: Unit) -> Region {
        let units = self.page(unit).n.load(Relaxed) as u32;
        self.page(unit).set_tag(Tag::INSIDE);
        self.total -= units;
        self.free -= units;
        Region { start: unit, units }
    }

    fn write(&self, unit: Unit, kind: Kind, class: u8, units: u32, before: u32) {
        let page = self.page(unit);
        page.n.store(units as u16, Relaxed);
        page.before.store(before as u16, Relaxed);
        page.set_tag(Tag::new(kind, unit.in_page(), class));
    }

    fn check_in_use(&self, unit: Unit) -> Result<(), BadChunk> {
        let tag = self.page(unit).tag();
        match tag.kind() {
            Kind::Chunk if tag.a() == unit.in_page() => Ok(()),
            Kind::FreeChunk if tag.a() == unit.in_page() => Err(BadChunk::Free),
            _ => Err(BadChunk::Inside),
        }
    }

    fn page(&self, unit: Unit) -> &'static Page {
        self.map.page(unit.page())
    }

    fn unit_starting_in(&self, page: PageIndex) -> Unit {
        Unit(page.0 * 16 + self.map.page(page).tag().a() as u32)
    }

    fn end(&self, unit: Unit) -> Unit {
        unit.add(self.page(unit).n.load(Relaxed) as u32)
    }

    fn is_last(&self, unit: Unit) -> bool {
        self.page(unit).tag().b() & LAST != 0
    }

    fn next(&self, unit: Unit) -> Option<Unit> {
        (!self.is_last(unit)).then(|| self.end(unit))
    }

    fn prev(&self, unit: Unit) -> Option<Unit> {
        let before = self.page(unit).before.load(Relaxed) as u32;
        (before != 0).then(|| Unit(unit.0 - before))
    }

    fn is_free(&self, unit: Unit) -> bool {
        self.page(unit).tag().kind() == Kind::FreeChunk
    }
}

#[cfg(test)]
#[path = "arena_tests.rs"]
mod tests;
