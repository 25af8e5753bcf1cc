//! Stands for programs that live on buffers between small objects and mappings: network and image buffers, database pages,
//! compiler arenas. Blocks of 1 to 256 KiB replace each other at random; most allocators leave their fast path somewhere in
//! this range (mimalloc at 1 KiB, jemalloc at 32 KiB). Our own, after that observation.

use super::Load;
use super::block::Block;
use super::random::Random;

const SLOTS: usize = 400;
const REPLACEMENTS: usize = 1_000_000;

pub(super) fn run(load: &Load) -> u64 {
    let replacements = load.scaled(REPLACEMENTS);
    churn(load, SLOTS, replacements, |random| random.log_uniform(10, 18))
}

/// In each thread: fill `slots` slots with blocks, replace one at random `replacements` times, free all.
pub(super) fn churn(load: &Load, slots: usize, replacements: usize, size: fn(&mut Random) -> usize) -> u64 {
    load.in_threads(|mut random| {
        let new = |random: &mut Random| {
            let size = size(random);
            Block::allocate(size, random.next())
        };
        let mut held: Vec<Block> = (0..slots).map(|_| new(&mut random)).collect();
        let mut sum = 0_u64;
        for _ in 0..replacements {
            let victim = random.below(slots);
            sum = sum.wrapping_add(held[victim].release());
            held[victim] = new(&mut random);
        }
        held.into_iter().fold(sum, |sum, block| sum.wrapping_add(block.release()))
    })
}
