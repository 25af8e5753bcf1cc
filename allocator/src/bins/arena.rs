//! Chunks: splitting, merging and finding them. Pure arithmetic on page descriptors; `mod.rs` adds lock and zone.
//!
//! Invariants (held between calls), for every region:
//! * its chunks follow each other without gaps; each is at least [`MIN_UNITS`] long, so no two start in one page;
//! * the descriptor of the page a chunk starts in has kind `Chunk` or `FreeChunk`, the unit in the page, the chunk's units
//!   (`n`) and those of the chunk before it (`before`, 0 for the first); no other page of a region has either kind;
//! * no two neighbours are both free;
//! * a free chunk is on exactly one list (a bin or unsorted) or is top;
//! * a free chunk is *clean* if the memory of all whole pages in it has been given back or was never used. Clean chunks go to
//!   the ends of their bins.
//!
//! A chunk whose pages are being given back is *away*: on no list, and of kind `Reserved`, so that neighbours do not merge
//! with it and nobody can free it.

use super::BadChunk;
use super::bin::{BinMap, NR_BINS, bin_of};
use crate::decay::Idle;
use crate::page::{Kind, Page, PageIndex, PageList, PageMap, Tag};
use crate::slab::size_class::Class;
use core::sync::atomic::Ordering::Relaxed;

/// Shortest chunk, in units: a page, so that each has a descriptor of its own. A shorter remainder stays with the chunk.
pub(crate) const MIN_UNITS: u32 = 16;

/// Chunks of a large bin that are looked at for the best fit.
const BEST_OF: usize = 8;

/// Stands for the unsorted bin among the numbers of bins.
const UNSORTED: usize = NR_BINS;

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

/// In place of the class of a free chunk: it is clean.
const CLEAN: u8 = 1;

/// Clean chunks in a row after which a bin is not searched further for dirty ones: those come first, but for pieces of clean
/// ones.
const CLEAN_IN_A_ROW: u32 = 32;

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
    /// Units in clean chunks.
    clean: u32,
    idle: Idle,
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
            clean: 0,
            idle: Idle::new(),
        }
    }

    pub(crate) fn total_units(&self) -> u32 {
        self.total
    }

    pub(crate) fn free_units(&self) -> u32 {
        self.free
    }

    /// Free units that may occupy memory.
    pub(crate) fn dirty_units(&self) -> u32 {
        self.free - self.clean
    }

    /// What of the dirty units is idle.
    pub(crate) fn idle(&mut self) -> &mut Idle {
        &mut self.idle
    }

    /// Adds a region; it becomes top, and the old top an ordinary free chunk.
    pub(crate) fn add_region(&mut self, region: Region, zeroed: bool) {
        if self.top != Unit::NONE {
            let old = self.top;
            self.unsorted.push(self.map, old.page());
        }
        self.write(region.start, Kind::FreeChunk, if zeroed { LAST | CLEAN } else { LAST }, region.units, 0);
        self.clean += if zeroed { region.units } else { 0 };
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
        self.forget_free(unit);
        let page = self.page(unit);
        let last = page.tag().b() & LAST;
        page.set_tag(Tag::new(Kind::Chunk, unit.in_page(), class | last));
        self.idle.fell_to(self.dirty_units() as usize);
        Some((unit, zeroed))
    }

    /// Takes a chunk back; returns its region if all of it is free now, for the caller to give back.
    pub(crate) fn free(&mut self, unit: Unit) -> Result<Option<Region>, BadChunk> {
        self.check_in_use(unit)?;
        Ok(self.insert_free(unit, false))
    }

    /// Makes a chunk on no list free, merging it; returns its region if all of that is free now.
    fn insert_free(&mut self, mut unit: Unit, clean: bool) -> Option<Region> {
        let page = self.page(unit);
        let (tag, units) = (page.tag(), page.n.load(Relaxed) as u32);
        self.free += units;
        self.clean += if clean { units } else { 0 };
        page.set_tag(Tag::new(Kind::FreeChunk, tag.a(), tag.b() & LAST | if clean { CLEAN } else { 0 }));
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
            return Some(self.forget_region(unit));
        } else if self.is_clean(unit) {
            let bin = bin_of(self.page(unit).n.load(Relaxed) as u32);
            self.bins[bin].push_back(self.map, unit.page());
            self.binmap.set(bin);
        } else {
            self.unsorted.push(self.map, unit.page());
        }
        None
    }

    /// Takes up to as many dirty chunks away as `out` has room for, the largest first, in order to give their memory back;
    /// returns how many. Chunks that may have no whole page in them, `least` units or less, stay.
    pub(crate) fn take_away(&mut self, out: &mut [(Unit, u32)], least: u32) -> usize {
        let mut taken = 0;
        for bin in (0..NR_BINS).rev().chain([UNSORTED]) {
            let (mut at, mut clean_in_a_row) = (self.list(bin).first(), 0);
            while !at.is_none() && taken < out.len() && clean_in_a_row < CLEAN_IN_A_ROW {
                let unit = self.unit_starting_in(at);
                at = PageList::after(self.map, at);
                let units = self.page(unit).n.load(Relaxed) as u32;
                if self.is_clean(unit) || units <= least {
                    clean_in_a_row += 1;
                    continue;
                }
                clean_in_a_row = 0;
                self.take_off(unit);
                self.forget_free(unit);
                let page = self.page(unit);
                page.set_tag(Tag::new(Kind::Reserved, unit.in_page(), page.tag().b() & LAST));
                out[taken] = (unit, units);
                taken += 1;
            }
        }
        taken
    }

    /// Brings a chunk back that was away, clean or not; returns its region if all of it is free now.
    pub(crate) fn bring_back(&mut self, unit: Unit, clean: bool) -> Option<Region> {
        debug_assert_eq!(self.page(unit).tag().kind(), Kind::Reserved);
        self.insert_free(unit, clean)
    }

    /// Top, if it is dirty, and its units. For giving its memory back where it is: an allocation must not find it away.
    pub(crate) fn dirty_top(&self) -> Option<(Unit, u32)> {
        (self.top != Unit::NONE && !self.is_clean(self.top))
            .then(|| (self.top, self.page(self.top).n.load(Relaxed) as u32))
    }

    /// The memory of top has been given back.
    pub(crate) fn top_is_clean(&mut self) {
        let page = self.page(self.top);
        let tag = page.tag();
        page.set_tag(Tag::new(tag.kind(), tag.a(), tag.b() | CLEAN));
        self.clean += page.n.load(Relaxed) as u32;
    }

    fn list(&self, bin: usize) -> &PageList {
        if bin == UNSORTED { &self.unsorted } else { &self.bins[bin] }
    }

    fn is_clean(&self, unit: Unit) -> bool {
        let tag = self.page(unit).tag();
        tag.kind() == Kind::FreeChunk && tag.b() & CLEAN != 0
    }

    /// A free chunk is going to be something else: it counts as free no longer.
    fn forget_free(&mut self, unit: Unit) {
        let units = self.page(unit).n.load(Relaxed) as u32;
        self.free -= units;
        self.clean -= if self.is_clean(unit) { units } else { 0 };
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
            self.forget_free(next);
            self.merge(unit, next);
            self.cut(unit, units, was_top);
            self.idle.fell_to(self.dirty_units() as usize);
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
    #[cfg(test)]
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
            if self.is_clean(unit) {
                self.bins[bin].push_back(self.map, page);
            } else {
                self.bins[bin].push(self.map, page);
            }
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
        let clean = if self.is_clean(unit) { CLEAN } else { 0 };
        self.write(rest, Kind::FreeChunk, tag.b() & LAST | clean, has - units, units);
        self.tell_next(rest);
        rest
    }

    /// Makes one chunk of two neighbours; the second vanishes. What was free and half of it clean is dirty now.
    fn merge(&mut self, first: Unit, second: Unit) {
        let (page, gone) = (self.page(first), self.page(second));
        let last = gone.tag().b() & LAST;
        if self.is_free(first) && self.is_clean(first) != self.is_clean(second) {
            let clean = if self.is_clean(first) { page } else { gone };
            self.clean -= clean.n.load(Relaxed) as u32;
            let tag = page.tag();
            page.set_tag(Tag::new(tag.kind(), tag.a(), tag.b() & !CLEAN));
        }
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
        // In the middle of a list its ends do not matter; a chunk at an end is at one of its bin, or else of the unsorted bin.
        let page = unit.page();
        if self.unsorted.first() == page || self.unsorted.last() == page {
            self.unsorted.remove(self.map, page);
        } else {
            self.remove_from_bin(unit, bin_of(self.page(unit).n.load(Relaxed) as u32));
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
        self.forget_free(unit);
        self.page(unit).set_tag(Tag::INSIDE);
        self.total -= units;
        self.idle.fell_to(self.dirty_units() as usize);
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
