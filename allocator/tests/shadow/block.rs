//! A live block: what was asked for it, and the pattern it is filled with.
//!
//! The words of a block count up from a start of its own by a large odd step. So a byte that changed, contents that moved, and
//! the pattern of another block (or of the same address at another time) all show.

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

/// Bytes are made a word at a time.
const WORD: usize = 8;

/// 2^64 / golden ratio: neighbouring words, and blocks with neighbouring starts, have no byte in common for long.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Block {
    pub fn start(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.owner.start)
    }

    /// The first word, from address, size and serial number.
    fn seed(&self) -> u64 {
        let mut seed = self.owner.serial ^ (self.owner.size as u64).rotate_left(40);
        seed = (seed ^ self.owner.start as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        seed ^ seed >> 29
    }

    fn word(seed: u64, number: usize) -> [u8; WORD] {
        seed.wrapping_add((number as u64 + 1).wrapping_mul(STEP)).to_le_bytes()
    }

    /// Fills the block with its pattern.
    pub fn fill(&self) {
        // SAFETY: ours; `filled` is at most what is usable.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start(), self.filled) };
        let seed = self.seed();
        let mut words = bytes.chunks_exact_mut(WORD);
        let mut number = 0;
        for word in &mut words {
            word.copy_from_slice(&Block::word(seed, number));
            number += 1;
        }
        let rest = words.into_remainder();
        rest.copy_from_slice(&Block::word(seed, number)[..rest.len()]);
    }

    /// Checks that the first `size` bytes, as far as they were filled, are as this block's pattern has them. They may have
    /// moved to `at` since.
    pub fn check(&self, at: *const u8, size: usize, when: &str) {
        let size = size.min(self.filled);
        // SAFETY: the caller has a block of this size there.
        let bytes = unsafe { std::slice::from_raw_parts(at, size) };
        let seed = self.seed();
        let mut same = true;
        let words = bytes.chunks_exact(WORD);
        let rest = words.remainder();
        let whole = size / WORD;
        for (number, word) in words.enumerate() {
            same &= word == Block::word(seed, number);
        }
        same &= rest == &Block::word(seed, whole)[..rest.len()];
        if !same {
            self.differs(at, bytes, when);
        }
    }

    #[cold]
    fn differs(&self, at: *const u8, bytes: &[u8], when: &str) -> ! {
        let seed = self.seed();
        let expected = |at: usize| Block::word(seed, at / WORD)[at % WORD];
        let wrong: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != expected(at)).collect();
        let Some((&first, &last)) = wrong.first().zip(wrong.last()) else {
            panic!("{when}: contents of {} changed while they were compared", self.owner);
        };
        let found = &bytes[first..bytes.len().min(first + 16)];
        let wanted: Vec<u8> = (first..first + found.len()).map(expected).collect();
        panic!(
            "{when}: {} of {} bytes differ, from byte {first} to {last}:\n  block: {}\n  read at: {at:?}\n  expected: \
             {wanted:02x?}\n  found:    {found:02x?}",
            wrong.len(),
            bytes.len(),
            self.owner
        );
    }
}
