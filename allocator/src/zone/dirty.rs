//! The dirty table: a bit for each page that may hold data, and so may occupy memory.
//!
//! A bit is set when its page is given out and cleared when the page's memory has been given back to the system. Words are
//! changed under the zone's lock only. They are atomic because whoever gives pages back reads the bits of those pages
//! without it: the pages are his alone then, so their bits stay as they are, but neighbours in the same word do not.

use super::buddy::Order;
use crate::memblock::MEMBLOCK;
use crate::page::PageIndex;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Marks a range as dirty; returns how many pages of it were already. Under the zone's lock.
pub(super) fn mark(start: PageIndex, pages: u32) -> u32 {
    let mut before = 0;
    for_each_word(start, pages, |word, mask| {
        let bits = word.load(Relaxed);
        before += (bits & mask).count_ones();
        word.store(bits | mask, Relaxed);
    });
    before
}

/// Marks a range as clean; returns how many pages of it were dirty. Under the zone's lock.
pub(super) fn clear(start: PageIndex, pages: u32) -> u32 {
    let mut before = 0;
    for_each_word(start, pages, |word, mask| {
        let bits = word.load(Relaxed);
        before += (bits & mask).count_ones();
        word.store(bits & !mask, Relaxed);
    });
    before
}

/// How many pages of a range are dirty.
pub(super) fn count(start: PageIndex, pages: u32) -> u32 {
    let mut dirty = 0;
    for_each_word(start, pages, |word, mask| dirty += (word.load(Relaxed) & mask).count_ones());
    dirty
}

/// Whether any page of a range is dirty.
pub(super) fn any(start: PageIndex, pages: u32) -> bool {
    count(start, pages) != 0
}

/// Calls `each` for every maximal run of dirty pages in a range.
pub(super) fn for_each_run(start: PageIndex, pages: u32, mut each: impl FnMut(PageIndex, u32)) {
    let dirty = |at: u32| count(start.add(at), 1) != 0;
    let mut at = 0;
    while at < pages {
        if !dirty(at) {
            at += 1;
            continue;
        }
        let run = (at..pages).take_while(|&page| dirty(page)).count() as u32;
        each(start.add(at), run);
        at += run;
    }
}

/// Splits a range into words of the table. The words of neighbouring chunks follow each other.
fn for_each_word(start: PageIndex, pages: u32, mut each: impl FnMut(&AtomicU64, u64)) {
    let bits = MEMBLOCK.dirty_bits(start);
    let mut at = start.0 % Order::MAX.pages();
    let end = at + pages;
    while at < end {
        let n = (64 - at % 64).min(end - at);
        let mask = (u64::MAX >> (64 - n)) << (at % 64);
        // SAFETY: the table has a word for every 64 pages that were ever handed out, for good.
        each(unsafe { AtomicU64::from_ptr(bits.add(at as usize / 64)) }, mask);
        at += n;
    }
}
