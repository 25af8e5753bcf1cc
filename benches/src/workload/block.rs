//! A block from malloc that knows its own contents.
//!
//! The first word is the block's *identity*: 40 random bits and its size in the low 24. All other words that are stamped
//! follow from the identity, so a block can be verified by any thread with nothing but its address. Two live blocks that
//! overlap, a block handed out twice and a write by the allocator into a live block all show as a wrong word.
//!
//! How densely a block is stamped depends on its size: filling every word of a large one would measure memset, not the
//! allocator. Up to 1 KiB every word is stamped, up to 32 KiB one word in each cache line, above that one in each page.
//! The last word is stamped in all. Sizes stay below 16 MiB (24 bits).
//!
//! A `Block` is a plain address: it may be sent to another thread, and whoever holds it frees it. It is not freed when it
//! is dropped, since most workloads hold blocks in arrays as a C program would.

use std::hint::black_box;
use std::ptr::NonNull;

/// Exit status of a workload that found a wrong word.
pub const CORRUPTION: i32 = 86;
/// Exit status of a workload that was refused memory.
pub const REFUSED: i32 = 87;

const SIZE_BITS: u32 = 24;
const SMALL: usize = 1 << 10;
const MEDIUM: usize = 32 << 10;
const WORD: usize = size_of::<u64>();

/// A live, stamped block; see the module's text.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Block(NonNull<u64>);

// SAFETY: a Block is an address whose memory belongs to whoever holds the value; workloads hand it on and forget it.
unsafe impl Send for Block {}

impl Block {
    /// A new block of `size` bytes (8 bytes to 16 MiB) by malloc, stamped with the identity made of `tag`.
    #[inline]
    pub fn allocate(size: usize, tag: u64) -> Self {
        // SAFETY: malloc may be called with any size.
        Self::from_raw(unsafe { libc::malloc(size) }, size, tag)
    }

    /// The same by calloc; that the memory is zero is verified at the places that are stamped.
    #[inline]
    pub fn allocate_zeroed(size: usize, tag: u64) -> Self {
        // SAFETY: calloc may be called with any sizes.
        let raw = black_box(unsafe { libc::calloc(1, size) });
        let start = received(raw, size);
        for word in stamped_words(size) {
            // SAFETY: `stamped_words` stays within `size` bytes, which were just allocated.
            if unsafe { start.add(word).read() } != 0 {
                corrupt(start.as_ptr(), word, "calloc gave a word that is not zero");
            }
        }
        Self::from_raw(raw, size, tag)
    }

    #[inline]
    fn from_raw(raw: *mut libc::c_void, size: usize, tag: u64) -> Self {
        debug_assert!((WORD..1 << SIZE_BITS).contains(&size));
        // black_box: otherwise the compiler may prove that a block is freed unread and drop the pair of calls.
        let start = received(black_box(raw), size);
        let identity = (tag << SIZE_BITS) | size as u64;
        for word in stamped_words(size) {
            // SAFETY: `stamped_words` stays within `size` bytes, which were just allocated; malloc aligns to 16 (to 8
            // for sizes below 16 in some allocators), enough for a word.
            unsafe { start.add(word).write(pattern(identity, word)) };
        }
        Self(start)
    }

    /// Verifies every stamped word and returns the identity.
    #[inline]
    pub fn verify(self) -> u64 {
        // SAFETY: the block is live (the holder has not freed it) and at least a word long.
        let identity = unsafe { self.0.read() };
        let size = (identity & ((1 << SIZE_BITS) - 1)) as usize;
        if size < WORD {
            corrupt(self.0.as_ptr(), 0, "the identity is damaged");
        }
        let mut wrong = 0;
        for word in stamped_words(size) {
            // SAFETY: the words of a block of this size; if the identity was damaged the read may fault, which is as
            // good an end as the message.
            wrong |= unsafe { self.0.add(word).read() } ^ pattern(identity, word);
        }
        if wrong != 0 {
            corrupt(self.0.as_ptr(), 0, "a word is not what was written");
        }
        identity
    }

    /// Verifies the block, frees it and returns its identity, the contribution to the checksum.
    #[inline]
    pub fn release(self) -> u64 {
        let identity = self.verify();
        // SAFETY: the block came from malloc, is live, and the holder gives it up here.
        unsafe { libc::free(self.0.as_ptr().cast()) };
        identity
    }

    /// The address, for slots that are atomic pointers.
    pub fn into_raw(self) -> *mut u64 {
        self.0.as_ptr()
    }

    /// The block at an address from [`Block::into_raw`]; `None` for null.
    ///
    /// # Safety
    /// The address is null or that of a live block that nobody else holds.
    pub unsafe fn from_address(address: *mut u64) -> Option<Self> {
        NonNull::new(address).map(Self)
    }
}

fn received(raw: *mut libc::c_void, size: usize) -> NonNull<u64> {
    NonNull::new(raw.cast::<u64>()).unwrap_or_else(|| {
        eprintln!("workload: no memory for {size} bytes");
        std::process::exit(REFUSED)
    })
}

#[inline]
fn pattern(identity: u64, word: usize) -> u64 {
    identity ^ (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Indices of the words that are stamped in a block of `size` bytes; the first is 0, the last may come twice.
#[inline]
fn stamped_words(size: usize) -> impl Iterator<Item = usize> {
    let words = size / WORD;
    let step = if size <= SMALL {
        1
    } else if size <= MEDIUM {
        64 / WORD
    } else {
        4096 / WORD
    };
    (0..words).step_by(step).chain(std::iter::once(words - 1))
}

#[cold]
#[inline(never)]
fn corrupt(block: *const u64, word: usize, what: &str) -> ! {
    eprintln!("workload: memory corruption in the block at {block:p}, word {word}: {what}");
    std::process::exit(CORRUPTION)
}

#[cfg(test)]
mod tests {
    use super::{Block, stamped_words};

    #[test]
    fn stamps_cover_first_and_last_word() {
        for size in [8, 9, 15, 16, 1000, 1024, 1025, 32 << 10, 40_000, 8 << 20] {
            let words: Vec<usize> = stamped_words(size).collect();
            assert_eq!(words[0], 0);
            assert_eq!(*words.last().unwrap(), size / 8 - 1);
        }
    }

    #[test]
    fn release_returns_the_identity() {
        for size in [8, 100, 5000, 100_000] {
            assert_eq!(Block::allocate(size, 3).release(), (3 << 24) | size as u64);
            assert_eq!(Block::allocate_zeroed(size, 5).release(), (5 << 24) | size as u64);
        }
    }
}
