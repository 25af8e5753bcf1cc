//! Blocks of every engine whose contents are known: memory that is handed out twice, lost or moved wrongly shows.

// Each test binary compiles this module and uses a part of it.
#![allow(dead_code)]

use fairground_allocator::malloc::{calloc, free, malloc, memalign, realloc, trim};

/// Sizes of every engine and around their borders: small slabs, large slabs, bins, runs, extents; the last with a mapping
/// of its own whatever was freed before.
pub const SIZES: [usize; 16] = [
    16,
    100,
    1_000,
    5_000,
    8_192,
    8_193,
    20_000,
    100_000,
    262_144,
    262_145,
    1 << 20,
    (4 << 20) - 1,
    (4 << 20) + 1,
    5 << 20,
    10 << 20,
    33 << 20,
];

/// A random number, the same in every run (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// A block in use.
struct Block {
    start: *mut u8,
    size: usize,
    seed: u8,
}

/// Bytes of a block at each end that are looked at, and the distance of those between.
const ENDS: usize = 48;
const STRIDE: usize = 50_021;

impl Block {
    fn offsets(size: usize) -> impl Iterator<Item = usize> {
        let head = size.min(ENDS);
        let tail = size.saturating_sub(ENDS).max(head);
        (0..head).chain((head..tail).step_by(STRIDE)).chain(tail..size)
    }

    fn expected(&self, at: usize) -> u8 {
        (at as u8).wrapping_mul(31) ^ self.seed
    }

    fn fill(&self) {
        // SAFETY: offsets in the block.
        Block::offsets(self.size).for_each(|at| unsafe { self.start.add(at).write(self.expected(at)) });
    }

    /// Looks at what was filled and lies below `size`.
    fn check(&self, size: usize) {
        for at in Block::offsets(self.size).take_while(|&at| at < size) {
            // SAFETY: as above.
            let found = unsafe { self.start.add(at).read() };
            assert_eq!(found, self.expected(at), "byte {at} of {} at {:?}", self.size, self.start);
        }
    }
}

/// Some blocks, and random steps on them.
pub struct Blocks {
    held: Vec<Block>,
    /// Sizes that are asked for.
    sizes: Vec<usize>,
    /// Most blocks held.
    most: usize,
    random: Random,
    /// Requests that were answered with null.
    pub refused: usize,
}

impl Blocks {
    /// None yet; at most `most` at a time, of up to `largest` bytes.
    pub fn new(seed: u64, most: usize, largest: usize) -> Blocks {
        let sizes = SIZES.into_iter().filter(|&size| size <= largest).collect();
        Blocks { held: Vec::with_capacity(most), sizes, most, random: Random(seed | 1), refused: 0 }
    }

    fn size(&mut self) -> usize {
        let size = self.sizes[self.random.below(self.sizes.len())];
        // Between the borders too.
        size - self.random.below(1 + size / 4)
    }

    fn keep(&mut self, start: *mut u8, size: usize) {
        if start.is_null() {
            self.refused += 1;
            return;
        }
        let block = Block { start, size, seed: self.random.below(256) as u8 };
        block.fill();
        self.held.push(block);
    }

    /// One step: a block more, one less, or one of another size.
    pub fn step(&mut self) {
        let (what, size) = (self.random.below(100), self.size());
        if self.held.len() == self.most || (what >= 60 && !self.held.is_empty()) {
            let block = self.held.swap_remove(self.random.below(self.held.len()));
            block.check(block.size);
            if what < 85 {
                // SAFETY: ours, freed once.
                return unsafe { free(block.start) };
            }
            // SAFETY: ours; if it moves, only the new address is used.
            let moved = unsafe { realloc(block.start, size) };
            if moved.is_null() {
                block.check(block.size);
                self.refused += 1;
                self.held.push(block);
                return;
            }
            let moved = Block { start: moved, ..block };
            moved.check(size);
            return self.keep(moved.start, size);
        }
        match what % 8 {
            0 => {
                let zeroes = calloc(1, size);
                if !zeroes.is_null() {
                    // SAFETY: offsets in the new block.
                    assert!(Block::offsets(size).all(|at| unsafe { zeroes.add(at).read() } == 0), "zeroes of {size}");
                }
                self.keep(zeroes, size);
            }
            1 => {
                let align = 16 << self.random.below(18);
                let aligned = memalign(align, size);
                assert!(aligned.addr().is_multiple_of(align), "{size} bytes at a multiple of {align}");
                self.keep(aligned, size);
            }
            _ => self.keep(malloc(size), size),
        }
        if what == 2 {
            trim(0);
        }
    }

    /// A block of each size; all must be there.
    pub fn one_of_each(&mut self) {
        for size in self.sizes.clone() {
            let (before, start) = (self.refused, malloc(size));
            self.keep(start, size);
            assert_eq!(self.refused, before, "memory for {size} bytes");
        }
    }

    /// Looks at all and frees them.
    pub fn free_all(&mut self) {
        for block in self.held.drain(..) {
            block.check(block.size);
            // SAFETY: ours, freed once.
            unsafe { free(block.start) };
        }
    }
}

// SAFETY: the blocks belong to whoever has them.
unsafe impl Send for Blocks {}
