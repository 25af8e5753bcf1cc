//! The `GlobalAlloc` interface against a model: alignment, disjointness, contents over `realloc`, zeroes that are zero.
//!
//! Random steps over all engines' sizes and alignments. The model keeps what every block must contain: each block is filled
//! with bytes of its own, so two that overlap cannot both be right.

use fairground_allocator::{Fairground, malloc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::alloc::{GlobalAlloc, Layout};

/// One step; `which` chooses among the live blocks.
#[derive(Clone, Debug)]
enum Step {
    Alloc(Layout),
    AllocZeroed(Layout),
    Realloc { which: prop::sample::Index, size: usize },
    Free { which: prop::sample::Index },
    Trim,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        40 => 1..256usize,
        20 => 256..8_400usize,
        20 => 8_000..270_000usize,
        6 => 260_000..4_300_000usize,
        2 => 4_000_000..8_400_000usize,
    ]
}

fn layout() -> impl Strategy<Value = Layout> {
    let align = prop_oneof![
        50 => 0..=4u32,
        30 => 5..=12u32,
        10 => 13..=16u32,
        1 => Just(20u32),
    ];
    (size(), align).prop_map(|(size, shift)| Layout::from_size_align(size, 1 << shift).expect("a layout"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => layout().prop_map(Step::Alloc),
        20 => layout().prop_map(Step::AllocZeroed),
        30 => (any::<prop::sample::Index>(), size()).prop_map(|(which, size)| Step::Realloc { which, size }),
        30 => any::<prop::sample::Index>().prop_map(|which| Step::Free { which }),
        1 => Just(Step::Trim),
    ]
}

struct Block {
    start: *mut u8,
    layout: Layout,
    /// What its bytes are made of.
    seed: u64,
}

impl Block {
    fn expected(&self, at: usize) -> u8 {
        ((at as u64 ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
    }

    /// The offsets looked at: all of a small block; of a large one both ends, and one byte in some hundred between.
    fn offsets(size: usize) -> impl Iterator<Item = usize> {
        let (head, tail) = (size.min(600), size.saturating_sub(600).max(600.min(size)));
        (0..head).chain((head..tail).step_by(509)).chain(tail..size)
    }

    fn fill(&self) {
        // SAFETY: the offsets lie in the block.
        Block::offsets(self.layout.size()).for_each(|at| unsafe { self.start.add(at).write(self.expected(at)) });
    }

    /// Checks the bytes that were filled and lie below `size` too.
    fn check(&self, size: usize) {
        for at in Block::offsets(self.layout.size()).take_while(|&at| at < size) {
            // SAFETY: the offset lies in the block.
            let found = unsafe { self.start.add(at).read() };
            assert_eq!(found, self.expected(at), "byte {at} of {:?} at {:?}", self.layout, self.start);
        }
    }
}

#[derive(Default)]
struct Model {
    blocks: Vec<Block>,
    seeds: u64,
}

impl Model {
    fn add(&mut self, start: *mut u8, layout: Layout) {
        assert!(!start.is_null(), "{layout:?}");
        assert!(start.addr().is_multiple_of(layout.align()), "{layout:?} at {start:?}");
        // SAFETY: a block.
        assert!(unsafe { malloc::usable_size(start) } >= layout.size(), "{layout:?}");
        let (from, to) = (start.addr(), start.addr() + layout.size());
        for other in &self.blocks {
            let (first, end) = (other.start.addr(), other.start.addr() + other.layout.size());
            assert!(to <= first || end <= from, "{layout:?} at {start:?} overlaps {:?} at {first:#x}", other.layout);
        }
        self.seeds += 1;
        let block = Block { start, layout, seed: self.seeds << 32 };
        block.fill();
        self.blocks.push(block);
    }

    fn take(&mut self, which: &prop::sample::Index) -> Option<Block> {
        (!self.blocks.is_empty()).then(|| self.blocks.swap_remove(which.index(self.blocks.len())))
    }

    fn step(&mut self, step: &Step) {
        // SAFETY: the model frees and reallocates live blocks only, with their own layouts.
        unsafe {
            match step {
                Step::Alloc(layout) => self.add(Fairground.alloc(*layout), *layout),
                Step::AllocZeroed(layout) => {
                    let start = Fairground.alloc_zeroed(*layout);
                    assert!(!start.is_null());
                    let bytes = std::slice::from_raw_parts(start, layout.size());
                    let (before, words, after) = bytes.align_to::<u64>();
                    let clean = words.iter().all(|&w| w == 0) && before.iter().chain(after).all(|&b| b == 0);
                    assert!(clean, "not zero: {layout:?}");
                    self.add(start, *layout);
                }
                Step::Realloc { which, size } => {
                    let Some(block) = self.take(which) else { return };
                    block.check(usize::MAX);
                    let start = Fairground.realloc(block.start, block.layout, *size);
                    assert!(!start.is_null());
                    let moved = Block { start, ..block };
                    moved.check(*size);
                    self.add(start, Layout::from_size_align(*size, block.layout.align()).expect("a layout"));
                }
                Step::Free { which } => {
                    let Some(block) = self.take(which) else { return };
                    block.check(usize::MAX);
                    Fairground.dealloc(block.start, block.layout);
                }
                Step::Trim => drop(malloc::trim(0)),
            }
        }
    }

    fn end(mut self) {
        for block in self.blocks.drain(..) {
            block.check(usize::MAX);
            // SAFETY: live, freed once.
            unsafe { Fairground.dealloc(block.start, block.layout) };
        }
        malloc::check_at_exit();
    }
}

/// `PROPTEST_CASES` sets another number, for longer runs.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn blocks_are_aligned_disjoint_and_keep_their_contents(steps in prop::collection::vec(step(), 1..250)) {
        let mut model = Model::default();
        for step in &steps {
            model.step(step);
        }
        model.end();
    }
}

/// Every class and engine once, with every alignment: grown and shrunk through all of them.
#[test]
fn realloc_passes_through_all_engines() {
    const SIZES: [usize; 12] =
        [1, 16, 100, 1_000, 8_192, 8_193, 40_000, 262_144, 262_145, 2_000_000, 4_194_305, 6_000_000];
    for shift in [0, 4, 5, 6, 8, 9, 12, 13, 16, 20, 22, 23] {
        let mut model = Model::default();
        for (from, to) in SIZES.iter().flat_map(|&from| SIZES.map(|to| (from, to))) {
            let layout = Layout::from_size_align(from, 1 << shift).expect("a layout");
            model.step(&Step::Alloc(layout));
            let mut runner = proptest::test_runner::TestRunner::deterministic();
            let tree = any::<prop::sample::Index>().new_tree(&mut runner).expect("an index");
            model.step(&Step::Realloc { which: tree.current(), size: to });
            model.step(&Step::Free { which: tree.current() });
        }
        model.end();
    }
}

/// The largest alignment a program may ask for in practice.
#[test]
fn a_gigabyte_of_alignment() {
    for size in [1, 5_000, 10 << 20] {
        let layout = Layout::from_size_align(size, 1 << 30).expect("a layout");
        let mut model = Model::default();
        model.step(&Step::AllocZeroed(layout));
        model.end();
    }
}
