//! Holes: free pages that follow each other, whatever blocks they consist of.
//!
//! A buddy block of 512 pages is free only if all of its pages are; 400 free pages in a row may consist of blocks of 128 and less.
//! A request of 300 would split a block of 512, though the hole would do, and where runs of all sizes come and go a quarter of
//! the memory would lie in such holes. So a request that is no power of two looks at some blocks that are a little too small, and at
//! what is free beside them (file systems that keep a buddy bitmap, as ext4, find extents likewise).

use super::buddy::{Buddy, MigrateType, Order};
use crate::page::PageIndex;

/// Fewer pages than these are found by order alone: what they leave unused is small.
const LEAST: u32 = 16;

/// Blocks looked at in each of the two orders. The lists begin with what was freed last.
const LOOK_AT: usize = 16;

impl Buddy {
    /// The start of the lowest hole of `pages` pages among some of this type; None if there is none, or if a block of just this
    /// size may be there.
    ///
    /// The lowest, not the one that fits best: it keeps what is in use together, and what is free at the other end stays whole.
    pub(super) fn find_hole(&self, pages: u32, kind: MigrateType) -> Option<PageIndex> {
        if pages < LEAST {
            return None;
        }
        let order = pages.ilog2().min(Order::MAX.get() as u32) as u8;
        if pages == Order::new(order).pages() && self.free_blocks(Order::new(order), kind) != 0 {
            return None;
        }
        let mut lowest: Option<PageIndex> = None;
        for order in [order, order - 1].map(Order::new) {
            self.for_first_free(order, kind, LOOK_AT, |block| {
                let hole = self.hole_around(block, order, kind, pages);
                lowest = lowest.into_iter().chain(hole).min();
            });
        }
        lowest
    }

    /// Where the free pages around a free block begin, if they are at least `wanted`. Twice as many are enough to look at.
    fn hole_around(&self, block: PageIndex, order: Order, kind: MigrateType, wanted: u32) -> Option<PageIndex> {
        let (mut start, mut pages) = (block, order.pages());
        while pages < 2 * wanted
            && let Some((found, order)) = self.free_block_from(start.add(pages))
            && found == kind
        {
            pages += order.pages();
        }
        while pages < 2 * wanted
            && let Some((found, order)) = self.free_block_before(start)
            && found == kind
        {
            start = PageIndex(start.0 - order.pages());
            pages += order.pages();
        }
        (pages >= wanted).then_some(start)
    }
}
