//! Stands for an object-oriented program of no particular kind: a large table of slots, each visit frees what is in a slot or
//! fills it; which slot and which size follow Pareto's rule, a few slots are visited again and again and a few sizes, the
//! small ones, make up most of the blocks. After S. Ignatchenko, D. Ligum and others, 'Testing Memory Allocators: ptmalloc2
//! vs tcmalloc vs hoard vs jemalloc While Trying to Simulate Real-World Loads' (alloc-test, 2018).

use super::Load;
use super::block::Block;
use super::random::Random;

const SLOTS: usize = 1 << 16;
const VISITS: usize = 8_000_000;
/// Sizes from `2^LEAST` bytes; each doubling is half as likely as the one before, the last is `2^(LEAST + DOUBLINGS)`.
const LEAST: u32 = 4;
const DOUBLINGS: u32 = 8;

pub(super) fn run(load: &Load) -> u64 {
    let visits = load.scaled(VISITS);
    load.in_threads(|mut random| {
        let mut slots: Vec<Option<Block>> = vec![None; SLOTS];
        let mut sum = 0_u64;
        for _ in 0..visits {
            let slot = &mut slots[place(&mut random)];
            match slot.take() {
                Some(block) => sum = sum.wrapping_add(block.release()),
                None => *slot = Some(Block::allocate(size(&mut random), random.next())),
            }
        }
        slots.into_iter().flatten().fold(sum, |sum, block| sum.wrapping_add(block.release()))
    })
}

/// The same with one thread, whatever the load says: most programs have no more.
pub(super) fn run_single(load: &Load) -> u64 {
    run(&Load { threads: 1, ..*load })
}

/// The product of three draws: half of the visits go to a fourteenth of the slots.
fn place(random: &mut Random) -> usize {
    (0..2).fold(random.below(SLOTS), |place, _| (place * random.below(SLOTS)) / SLOTS)
}

fn size(random: &mut Random) -> usize {
    let doublings = random.next().trailing_ones().min(DOUBLINGS - 1);
    random.log_uniform(LEAST + doublings, LEAST + doublings + 1)
}
