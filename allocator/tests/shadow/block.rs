//! A live block: what was asked for it, and the pattern it is filled with.
//!
//! The pattern is cut from one table of random bytes, piece by piece, at places that depend on the block and on the piece. So a
//! byte that changed, contents that moved, and the pattern of another block (or of the same address at another time) all show;
//! and it is written and compared by the C library, as fast as memory goes even where our own code is instrumented.

use super::map::Owner;

/// Whose calls gave a block and take it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// C's family: `malloc`, `free`, sizes are optional.
    C,
    /// Rust's `GlobalAlloc`: every call has the layout.
    Rust,
}

/// A block of the allocator under test, in the hands of whoever has this value.
pub struct Block {
    pub owner: Owner,
    pub interface: Interface,
    /// Bytes with the pattern: those asked for, or all that are usable.
    pub filled: usize,
}

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}

/// Bytes of the table: they stay in the processor's second cache, and give small blocks a hundred thousand patterns.
const TABLE_BYTES: usize = 128 << 10;

/// Bytes cut out at a time.
const PIECE: usize = 4 << 10;

/// 2^64 / golden ratio: neighbouring numbers lie far apart after a multiplication.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

static TABLE: [u8; TABLE_BYTES] = {
    let mut table = [0; TABLE_BYTES];
    let (mut state, mut at) = (1u64, 0);
    while at < TABLE_BYTES {
        // Knuth's linear congruential generator; the high byte is the good one.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        table[at] = (state >> 56) as u8;
        at += 1;
    }
    table
};

impl Block {
    pub fn start(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.owner.start)
    }

    /// The first `size` bytes of the pattern, in pieces, each with its offset.
    fn pattern(&self, size: usize) -> impl Iterator<Item = (usize, &'static [u8])> {
        let mut seed = self.owner.serial ^ (self.owner.size as u64).rotate_left(40);
        seed = (seed ^ self.owner.start as u64).wrapping_mul(STEP);
        (0..size).step_by(PIECE).map(move |at| {
            let place = (seed ^ seed >> 29).wrapping_add(at as u64).wrapping_mul(STEP) >> 32;
            let place = place as usize % (TABLE_BYTES - PIECE);
            (at, &TABLE[place..place + PIECE.min(size - at)])
        })
    }

    /// Fills the block with its pattern.
    pub fn fill(&self) {
        // SAFETY: ours; `filled` is at most what is usable.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start(), self.filled) };
        for (at, piece) in self.pattern(self.filled) {
            bytes[at..at + piece.len()].copy_from_slice(piece);
        }
    }

    /// Checks that the first `size` bytes, as far as they were filled, are as this block's pattern has them. They may have
    /// moved to `at` since.
    pub fn check(&self, at: *const u8, size: usize, when: &str) {
        let size = size.min(self.filled);
        // SAFETY: the caller has a block of this size there.
        let bytes = unsafe { std::slice::from_raw_parts(at, size) };
        if self.pattern(size).any(|(from, piece)| bytes[from..from + piece.len()] != *piece) {
            self.differs(at, bytes, when);
        }
    }

    #[cold]
    fn differs(&self, at: *const u8, bytes: &[u8], when: &str) -> ! {
        let pattern: Vec<u8> = self.pattern(bytes.len()).flat_map(|(_, piece)| piece).copied().collect();
        let wrong: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != pattern[at]).collect();
        let Some((&first, &last)) = wrong.first().zip(wrong.last()) else {
            panic!("{when}: contents of {} changed while they were compared", self.owner);
        };
        let some = first..bytes.len().min(first + 16);
        let (found, expected) = (&bytes[some.clone()], &pattern[some]);
        panic!(
            "{when}: {} of {} bytes differ, from byte {first} to {last}:\n  block: {}\n  read at: {at:?}\n  expected: \
             {expected:02x?}\n  found:    {found:02x?}",
            wrong.len(),
            bytes.len(),
            self.owner
        );
    }
}
