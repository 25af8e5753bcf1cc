//! Huge pages where memory is dense (`huge_pages:dense`, see `os/huge.rs`).
//!
//! A pageblock, 2 MiB, is *dense* if nine tenths of its pages are in memory. The dirty table tells which may be, and the
//! kernel, asked about those, which are: then a huge page in their place makes memory grow by a tenth of it at most. Pageblocks
//! for which one was asked are marked. Before any memory in a marked pageblock is given back, huge pages are refused
//! for it again: a part of a huge page given back would not be free for others, and the kernel might fill the hole.
//! So giving back has the last word, and memory never grows by asking again and again.
//!
//! Each marked pageblock may split a mapping in three, and a process has 65,530 at most, so the marks are limited.
//!
//! Everything here happens in a pass (`reclaim.rs`) or in `malloc_trim`, one at a time.

use super::{Zone, dirty};
use crate::lock::Patience;
use crate::memblock::MEMBLOCK;
use crate::os::huge;
use crate::page::PageIndex;
use crate::pressure::Pressure;
use crate::zone::buddy::PAGEBLOCK_ORDER;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGES: u32 = PAGEBLOCK_ORDER.pages();

/// Pages of a dense pageblock at least: nine tenths.
const DENSE: usize = PAGES as usize * 9 / 10 + 1;

/// Huge pages asked for in one pass: the kernel copies 2 MiB for each, a few tenths of a millisecond.
const AT_ONCE: usize = 16;

/// Most pageblocks marked at a time: 8 GiB, and an eighth of the mappings a process may have.
const MOST: usize = 4096;

/// Pageblocks that are marked, of all zones.
static MARKED: AtomicUsize = AtomicUsize::new(0);

impl Zone {
    /// Asks for huge pages in place of dense pageblocks that have none. Returns whether there may be more of them.
    pub(crate) fn ask_where_dense(&self) -> Pressure {
        let mut asked = 0;
        if !huge::dense() {
            return Pressure::Quiet;
        }
        let _ = MEMBLOCK.for_each_chunk(self.node, Patience::Try, |chunk| {
            for block in [chunk, chunk.add(PAGES)] {
                if asked < AT_ONCE && MARKED.load(Relaxed) < MOST && self.mark_if_dense(block) {
                    huge::ask(MEMBLOCK.address_of(block));
                    asked += 1;
                }
            }
        });
        if asked == AT_ONCE { Pressure::Pending } else { Pressure::Quiet }
    }

    fn mark_if_dense(&self, block: PageIndex) -> bool {
        let types = MEMBLOCK.pageblock_types();
        {
            let _guard = self.lock.lock();
            if types.is_marked(block) || (dirty::count(block, PAGES) as usize) < DENSE {
                return false;
            }
        }
        if huge::resident_pages(MEMBLOCK.address_of(block)) < DENSE {
            return false;
        }
        let _guard = self.lock.lock();
        types.mark(block, true);
        MARKED.fetch_add(1, Relaxed);
        true
    }

    /// Memory in these pages is about to be given back.
    pub(crate) fn before_giving_back(&self, start: PageIndex, pages: u32) {
        if MARKED.load(Relaxed) == 0 {
            return;
        }
        let types = MEMBLOCK.pageblock_types();
        let first = start.0 & !(PAGES - 1);
        for block in (first..start.0 + pages).step_by(PAGES as usize).map(PageIndex) {
            let was_marked = {
                let _guard = self.lock.lock();
                types.mark(block, false)
            };
            if was_marked {
                MARKED.fetch_sub(1, Relaxed);
                huge::refuse(MEMBLOCK.address_of(block), huge::HUGE_PAGE);
            }
        }
    }
}
