//! Stands for programs that read input of unknown length into buffers: several buffers grow in turn by realloc, by a
//! constant step or by half of their size, from some bytes to megabytes. An allocator that can grow in place, or move pages
//! instead of bytes (mremap), wins. Our own; after what string builders, `getline` and `Vec` do.

use super::Load;
use super::random::Random;
use std::hint::black_box;
use std::ptr::NonNull;

const BUFFERS: usize = 8;
const ROUNDS: usize = 60;

/// A growing array of words, each of which is known from its index.
struct Buffer {
    words: Option<NonNull<u64>>,
    length: usize,
    seed: u64,
}

pub(super) fn run(load: &Load) -> u64 {
    let rounds = load.scaled(ROUNDS);
    load.in_threads(|mut random| (0..rounds).fold(0_u64, |sum, _| sum.wrapping_add(round(&mut random))))
}

fn round(random: &mut Random) -> u64 {
    let mut buffers: [Buffer; BUFFERS] =
        std::array::from_fn(|_| Buffer { words: None, length: 0, seed: random.next() });
    // Small steps: 64 bytes to 32 KiB by constant increments, all buffers in turn, so that none can stay on top.
    for step in 1..=512 {
        for buffer in &mut buffers {
            buffer.grow_to(step * 8);
        }
    }
    // Growth by half: to about 2 MiB, as most vectors do.
    for _ in 0..10 {
        for buffer in &mut buffers {
            buffer.grow_to(buffer.length * 3 / 2);
        }
    }
    // Constant steps of 16 KiB at large sizes, one buffer at a time: quadratic for who copies.
    for buffer in &mut buffers[..2] {
        for _ in 0..64 {
            buffer.grow_to(buffer.length + 2048);
        }
    }
    // Half of them are cut back before they go: what shrinks in place, and is it still intact?
    for buffer in &mut buffers[..BUFFERS / 2] {
        buffer.grow_to(buffer.length / 3);
    }
    buffers.into_iter().fold(0, |sum, buffer| sum.wrapping_add(buffer.finish()))
}

impl Buffer {
    /// Changes the length; what is new is filled, the words beside the old end are verified.
    fn grow_to(&mut self, length: usize) {
        let old = self.words.map_or(std::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: `old` is null or our live block, which is replaced by the result.
        let new = black_box(unsafe { libc::realloc(old.cast(), length * size_of::<u64>()) }).cast::<u64>();
        let words = NonNull::new(new).expect("no memory for a growing buffer");
        let kept = self.length.min(length);
        if kept > 0 {
            for index in [0, kept / 2, kept - 1] {
                // SAFETY: `index` is below both lengths, so the word was filled and kept by realloc.
                let word = unsafe { words.add(index).read() };
                assert_eq!(word, self.word(index), "realloc lost word {index} of {length}");
            }
        }
        for index in kept..length {
            // SAFETY: the block now has `length` words.
            unsafe { words.add(index).write(self.word(index)) };
        }
        self.words = Some(words);
        self.length = length;
    }

    fn word(&self, index: usize) -> u64 {
        self.seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Verifies every word, frees the buffer and returns a digest of what was read.
    fn finish(self) -> u64 {
        let Some(words) = self.words else { return 0 };
        let mut sum = 0_u64;
        for index in 0..self.length {
            // SAFETY: all `length` words were filled.
            let word = unsafe { words.add(index).read() };
            assert_eq!(word, self.word(index), "word {index} of {} is wrong", self.length);
            sum = sum.wrapping_mul(31).wrapping_add(word);
        }
        // SAFETY: our live block, given up here.
        unsafe { libc::free(words.as_ptr().cast()) };
        sum
    }
}
