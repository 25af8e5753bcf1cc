//! Every alignment from 8 bytes to 1 GiB, with sizes around each engine's borders.
//!
//! A block keeps its contents while neighbours of the same alignment come, grow, shrink and go; both ends and some bytes
//! between are looked at. (Random steps with usual alignments: `alignment_and_contents`.)

use fairground_allocator::{Fairground, malloc};
use std::alloc::{GlobalAlloc, Layout};

/// The last size of an engine or of a way to find a class, in each case; the sizes beside it are tried too.
const BORDERS: [usize; 11] = [8, 16, 128, 1_024, 4_096, 8_192, 65_536, 262_144, 1 << 20, 4 << 20, 16 << 20];

/// Exponents of the alignments.
const FIRST: u32 = 3;
const LAST: u32 = 30;

fn sizes() -> impl Iterator<Item = usize> {
    BORDERS.into_iter().flat_map(|border| [border - 1, border, border + 1])
}

/// How a block is asked for, resized and freed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// As C does it: `realloc` promises nothing about alignment, and `free` is told nothing.
    Memalign,
    /// As Rust does it: `realloc` keeps the alignment, and the layout comes with every call.
    Layout,
}

#[derive(Debug)]
struct Block {
    start: *mut u8,
    size: usize,
    align: usize,
    way: Way,
    seed: usize,
}

impl Block {
    fn new(way: Way, align: usize, size: usize, seed: usize) -> Block {
        let start = match way {
            Way::Memalign => malloc::memalign(align, size),
            // SAFETY: sizes are not zero.
            Way::Layout => unsafe { Fairground.alloc(layout(size, align)) },
        };
        let block = Block { start, size, align, way, seed };
        block.look_at();
        assert!(start.addr().is_multiple_of(align), "{block:?}");
        block.fill();
        block
    }

    fn look_at(&self) {
        assert!(!self.start.is_null(), "{self:?}");
        // SAFETY: a block.
        assert!(unsafe { malloc::usable_size(self.start) } >= self.size, "{self:?}");
    }

    fn offsets(&self) -> impl Iterator<Item = usize> + use<> {
        let size = self.size;
        let (head, tail) = (size.min(64), size.saturating_sub(64).max(size.min(64)));
        (0..head).chain((head..tail).step_by(60_013)).chain(tail..size)
    }

    fn expected(&self, at: usize) -> u8 {
        ((at ^ (self.seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
    }

    fn fill(&self) {
        // SAFETY: offsets in the block.
        self.offsets().for_each(|at| unsafe { self.start.add(at).write(self.expected(at)) });
    }

    /// Looks at the bytes that were filled and lie below `size`.
    fn check(&self, size: usize) {
        for at in self.offsets().take_while(|&at| at < size) {
            // SAFETY: as above.
            let found = unsafe { self.start.add(at).read() };
            assert_eq!(found, self.expected(at), "byte {at} of {self:?}");
        }
    }

    fn resize(&mut self, size: usize) {
        self.check(self.size);
        // SAFETY: ours; if it moves, only the new address is used.
        let moved = unsafe {
            match self.way {
                Way::Memalign => malloc::realloc(self.start, size),
                Way::Layout => Fairground.realloc(self.start, layout(self.size, self.align), size),
            }
        };
        self.start = moved;
        // What was filled is known by the old size.
        self.check(size);
        self.size = size;
        self.look_at();
        assert!(matches!(self.way, Way::Memalign) || moved.addr().is_multiple_of(self.align), "{self:?}");
        self.fill();
    }

    fn free(self) {
        self.check(self.size);
        // SAFETY: ours, freed once, with the layout it has.
        unsafe {
            match self.way {
                Way::Memalign => malloc::free(self.start),
                Way::Layout => Fairground.dealloc(self.start, layout(self.size, self.align)),
            }
        }
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// All sizes at once with one alignment; every block grown and shrunk to another border; freed out of order.
fn all_sizes(way: Way, align: usize) {
    let mut blocks: Vec<_> = sizes().enumerate().map(|(n, size)| Block::new(way, align, size, n)).collect();
    let mut ends: Vec<_> = blocks.iter().map(|block| (block.start.addr(), block.start.addr() + block.size)).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|two| two[0].1 <= two[1].0), "blocks overlap: {way:?}, {align} bytes");
    let others: Vec<_> = sizes().collect();
    for step in [3, 20] {
        for (n, block) in blocks.iter_mut().enumerate() {
            block.resize(others[(n + step) % others.len()]);
        }
    }
    while !blocks.is_empty() {
        blocks.swap_remove(blocks.len() * 5 / 8).free();
    }
    malloc::check_at_exit();
}

#[test]
fn memalign_of_every_alignment() {
    (FIRST..=LAST).for_each(|shift| all_sizes(Way::Memalign, 1 << shift));
}

#[test]
fn layouts_of_every_alignment() {
    (FIRST..=LAST).for_each(|shift| all_sizes(Way::Layout, 1 << shift));
}
