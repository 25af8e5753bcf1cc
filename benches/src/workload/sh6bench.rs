//! Stands for programs that handle their data in batches of like objects: batches of up to a few hundred blocks of one size
//! (8 to 1,000 bytes, small ones more often) come and go, some newest block first, some oldest first, some left alive
//! among those that go. After MicroQuill's SmartHeap benchmark sh6bench (about 1997).

use super::Load;
use super::block::Block;
use super::random::Random;
use std::collections::VecDeque;

const BATCHES: usize = 50_000;
/// Blocks of the largest batch; batches of large blocks are smaller.
const LARGEST_BATCH: usize = 400;
/// Batches that live on.
const KEPT: usize = 64;
pub(super) const SMALLEST: usize = 8;
pub(super) const LARGEST: usize = 1000;

pub(super) fn run(load: &Load) -> u64 {
    let batches = load.scaled(BATCHES);
    load.in_threads(|mut random| {
        let mut kept: VecDeque<Vec<Block>> = VecDeque::with_capacity(KEPT + 1);
        let mut sum = 0_u64;
        for number in 0..batches {
            let batch = new_batch(&mut random);
            match number % 3 {
                0 => sum = free(sum, batch.into_iter().rev()),
                1 => sum = free(sum, batch),
                _ => kept.push_back(batch),
            }
            if kept.len() > KEPT {
                // Either the oldest or one from the middle, so that the living lie between the freed.
                let place = if number % 2 == 0 { 0 } else { KEPT / 2 };
                sum = free(sum, kept.remove(place).unwrap_or_default());
            }
        }
        free(sum, kept.into_iter().flatten())
    })
}

fn new_batch(random: &mut Random) -> Vec<Block> {
    let size = size(random);
    // As many bytes in each batch, roughly, as in the fullest one of 64-byte blocks.
    let count = random.between(1, (LARGEST_BATCH * 64 / size).clamp(1, LARGEST_BATCH));
    (0..count).map(|_| Block::allocate(size, random.next())).collect()
}

/// The least of three draws: about half of the sizes are below a fifth of the largest.
pub(super) fn size(random: &mut Random) -> usize {
    let mut draw = || random.between(SMALLEST, LARGEST);
    draw().min(draw()).min(draw())
}

pub(super) fn free(sum: u64, blocks: impl IntoIterator<Item = Block>) -> u64 {
    blocks.into_iter().fold(sum, |sum, block| sum.wrapping_add(block.release()))
}
