//! The buddy system against a model: a map of which page belongs to what.

use super::*;
use crate::page::Page;
use proptest::prelude::*;

const CHUNKS: u32 = 3;
const FIRST: u32 = 1024; // page 0 is 'none'; chunks start at a multiple of their size

/// Pages that occupy memory: for good, where a zone's change with use.
fn is_dirty(page: u32) -> bool {
    page % 100 < 20
}

struct Model {
    buddy: Buddy,
    map: PageMap,
    /// Allocated runs, and who has each page.
    runs: Vec<(u32, u32)>,
    used: Vec<bool>,
}

impl Model {
    fn new() -> Model {
        let pages: &'static [Page] = Box::leak((0..FIRST + (CHUNKS + 1) * 1024).map(|_| Page::default()).collect());
        let types: &'static mut [u8] = Box::leak(vec![0u8; 2 * CHUNKS as usize + 4].into());
        // SAFETY: both cover every page used, and live for good.
        let (map, types) = unsafe { (PageMap::new(pages.as_ptr()), PageblockTypes::new(types.as_mut_ptr())) };
        let mut buddy =
            Buddy::new(map, types, PageIndex(FIRST + CHUNKS * 1024), |start, n| (start.0..start.0 + n).any(is_dirty));
        for chunk in 0..CHUNKS {
            buddy.add_chunk(PageIndex(FIRST + chunk * 1024), MigrateType::ALL[chunk as usize % 2]);
        }
        Model { buddy, map, runs: Vec::new(), used: vec![false; (CHUNKS * 1024) as usize] }
    }

    fn mark(&mut self, start: u32, n: u32, used: bool) {
        for page in &mut self.used[(start - FIRST) as usize..(start - FIRST + n) as usize] {
            assert_ne!(*page, used, "a page was {} twice", if used { "given out" } else { "taken back" });
            *page = used;
        }
    }

    fn alloc(&mut self, pages: u32, align: u32, kind: MigrateType) {
        let got = self.buddy.alloc_exact(pages, align, kind);
        match got {
            Some(start) => {
                assert!(start.is_aligned(align));
                self.mark(start.0, pages, true);
                self.runs.push((start.0, pages));
            }
            None => {
                // Legitimate only if no aligned free block of that order exists anywhere.
                let order = Order::for_pages(pages.max(align)).unwrap();
                let free = |at: usize| self.used[at..at + order.pages() as usize].iter().all(|&used| !used);
                let exists = (0..self.used.len()).step_by(order.pages() as usize).any(free);
                assert!(!exists, "refused {pages} pages though a block of order {} is free", order.get());
            }
        }
    }

    fn alloc_chunks(&mut self, pages: u32, align: u32, kind: MigrateType) {
        match self.buddy.alloc_chunks(pages, align, kind) {
            Some(start) => {
                assert!(start.is_aligned(align));
                self.mark(start.0, pages, true);
                self.runs.push((start.0, pages));
            }
            None => {
                let whole = pages.next_multiple_of(1024) as usize;
                let free = |at: usize| self.used.get(at..at + whole).is_some_and(|p| p.iter().all(|&used| !used));
                assert!(!(0..self.used.len()).step_by(1024).any(free), "refused {pages} pages");
            }
        }
    }

    fn check(&self) {
        let free = self.used.iter().filter(|&&used| !used).count() as u32;
        assert_eq!(self.buddy.free_pages(), free);
        let mut seen = vec![false; self.used.len()];
        let mut blocks = Vec::new();
        self.buddy.for_each_free(|start, order| blocks.push((start, order)));
        for &(start, order) in &blocks {
            assert!(start.is_aligned(order.pages()));
            for page in start.0 - FIRST..start.0 - FIRST + order.pages() {
                assert!(!self.used[page as usize] && !seen[page as usize]);
                seen[page as usize] = true;
            }
            // No two free buddies.
            if order < Order::MAX {
                let buddy = PageIndex(start.0 ^ order.pages());
                assert!(!blocks.contains(&(buddy, order)), "buddies {start:?} and {buddy:?} are both free");
            }
        }
        for page in 0..self.used.len() as u32 {
            let heads = blocks.iter().any(|&(start, _)| start.0 == page + FIRST);
            assert_eq!(self.map.page(PageIndex(page + FIRST)).tag().kind() == Kind::Buddy, heads);
        }
        let counted: u32 = (0..NR_ORDERS as u8)
            .flat_map(|o| MigrateType::ALL.map(|t| self.buddy.free_blocks(Order::new(o), t) << o))
            .sum();
        assert_eq!(counted, free);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::test_cases(48), ..ProptestConfig::default() })]
    #[test]
    fn pages_are_given_out_once_and_merge_again(
        steps in prop::collection::vec((0u8..11, 1u32..1025, 0u8..11, 0usize..4, any::<prop::sample::Index>()), 1..120)
    ) {
        let mut model = Model::new();
        for (what, pages, align, kind, which) in steps {
            match what {
                0..=3 => model.alloc(pages % 40 + 1, 1 << (align % 4), MigrateType::ALL[kind]),
                4 => model.alloc(pages, 1, MigrateType::ALL[kind]),
                5 if which.index(4) == 0 => model.alloc_chunks(pages + 1024, 1 << align, MigrateType::ALL[kind]),
                5 => model.alloc(1 << align, 1 << align, MigrateType::ALL[kind]),
                6 if !model.runs.is_empty() => {
                    // Grow a run in place.
                    let at = which.index(model.runs.len());
                    let (start, n) = model.runs[at];
                    let end = start + n;
                    let more = (pages % 16 + 1).min(FIRST + CHUNKS * 1024 - end);
                    let free = more != 0
                        && (end..end + more).all(|p| !model.used[(p - FIRST) as usize]);
                    if more != 0 && model.buddy.take_range(PageIndex(end), more) {
                        prop_assert!(free);
                        model.mark(end, more, true);
                        model.runs[at].1 += more;
                    } else {
                        prop_assert!(!free, "could not grow into free pages");
                    }
                }
                7 => {
                    // Blocks are taken in order to give their memory back, and come back in any order.
                    let mut blocks = [(PageIndex::NONE, Order::MAX); 4];
                    let before = model.buddy.free_pages();
                    let taken = model.buddy.take_free(&mut blocks, |start, order| (start.0 >> order.get()) % 3 != pages % 3);
                    for &(start, order) in &blocks[..taken] {
                        model.mark(start.0, order.pages(), true);
                    }
                    let held: u32 = blocks[..taken].iter().map(|(_, order)| order.pages()).sum();
                    prop_assert_eq!(model.buddy.free_pages(), before - held);
                    blocks[..taken].reverse();
                    for &(start, order) in &blocks[..taken] {
                        model.mark(start.0, order.pages(), false);
                        model.buddy.free_pages_order(start, order);
                    }
                    model.check();
                }
                _ if !model.runs.is_empty() => {
                    let (start, n) = model.runs.swap_remove(which.index(model.runs.len()));
                    // Sometimes only the tail.
                    let keep = if what == 8 { n / 2 } else { 0 };
                    model.mark(start + keep, n - keep, false);
                    model.buddy.free_range(PageIndex(start + keep), n - keep);
                    if keep != 0 {
                        model.runs.push((start, keep));
                    }
                }
                _ => {}
            }
        }
        model.check();
        for (start, n) in std::mem::take(&mut model.runs) {
            model.mark(start, n, false);
            model.buddy.free_range(PageIndex(start), n);
        }
        model.check();
        let largest: u32 = MigrateType::ALL.iter().map(|&t| model.buddy.free_blocks(Order::MAX, t)).sum();
        prop_assert_eq!(largest, CHUNKS, "everything is free, so every chunk is whole");
    }
}

#[test]
fn a_type_keeps_to_its_own_pageblocks_while_it_can() {
    let mut model = Model::new();
    let block = |index: PageIndex| index.0 >> PAGEBLOCK_ORDER.get();
    let slab = model.buddy.alloc_pages(Order::new(4), MigrateType::Slab).unwrap();
    let direct = model.buddy.alloc_pages(Order::new(4), MigrateType::Direct).unwrap();
    let slab2 = model.buddy.alloc_pages(Order::new(4), MigrateType::Slab).unwrap();
    assert_eq!(block(slab), block(slab2));
    assert_ne!(block(slab), block(direct));
}

#[test]
fn exact_counts_waste_nothing() {
    let mut model = Model::new();
    let before = model.buddy.free_pages();
    model.buddy.alloc_exact(257, 1, MigrateType::Direct).unwrap();
    assert_eq!(before - model.buddy.free_pages(), 257);
}

#[test]
fn a_hole_of_small_blocks_serves_a_large_run() {
    let mut model = Model::new();
    let start = model.buddy.alloc_exact(1024, 1, MigrateType::Direct).unwrap();
    // None of the 420 pages in the middle head a block of 256.
    model.buddy.free_range(start.add(304), 420);
    let free: Vec<_> = (0..=10).map(|o| model.buddy.free_blocks(Order::new(o), MigrateType::Direct)).collect();
    assert_eq!(free[8], 0);
    assert_eq!(model.buddy.alloc_exact(400, 1, MigrateType::Direct), Some(start.add(304)));
    assert_eq!(model.buddy.free_blocks(Order::new(10), MigrateType::Direct), free[10], "no chunk was split");
}

#[test]
fn records_of_slabs_are_not_taken_for_free_blocks() {
    let mut model = Model::new();
    let start = model.buddy.alloc_exact(1024, 1, MigrateType::Direct).unwrap();
    // In the granule before the hole lies a slab, whose record may look like anything: like free blocks that end at the hole.
    for order in 0..4 {
        let page = model.map.page(start.add(16 - (1 << order)));
        page.set_tag(Tag::new(Kind::Buddy, order, MigrateType::Direct as u8));
    }
    model.buddy.free_range(start.add(16), 40);
    assert_eq!(model.buddy.alloc_exact(36, 1, MigrateType::Direct), Some(start.add(16)));
}
