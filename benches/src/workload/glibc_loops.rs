//! The two loops by which the GNU C library judges its own malloc (`benchtests`).
//!
//! `simple` stands for the plainest program: many blocks of one size, half of them freed oldest first, the rest newest first;
//! once while the process has a single thread and once in a second thread, since glibc goes other ways in the two cases.
//! After bench-malloc-simple (W. Dijkstra, 2019).
//!
//! `thread` stands for worker threads that have nothing to do with each other: each replaces blocks at random in a small
//! working set, sizes 8 bytes to 32 KiB, each doubling equally likely. After bench-malloc-thread (W. Newton, 2013).

use super::Load;
use super::block::Block;
use super::medium::churn;
use super::random::Random;

/// What the library's own bench asks for.
const SIZES: [usize; 6] = [16, 64, 256, 512, 1024, 4096];
const COUNTS: [usize; 4] = [25, 100, 400, 1600];
/// Blocks of each size and count, so that each pair of them weighs the same.
const BLOCKS: usize = 50_000;

/// As many slots as the library's bench has.
const WORKING_SET: usize = 1024;
const REPLACEMENTS: usize = 2_500_000;

pub(super) fn simple(load: &Load) -> u64 {
    let blocks = load.scaled(BLOCKS);
    let alone = loops(load.random(0), blocks);
    let random = load.random(1);
    let beside = std::thread::scope(|scope| scope.spawn(|| loops(random, blocks)).join());
    alone.wrapping_add(beside.expect("the thread panicked"))
}

fn loops(mut random: Random, blocks: usize) -> u64 {
    let mut sum = 0_u64;
    for size in SIZES {
        for count in COUNTS {
            for _ in 0..blocks.div_ceil(count) {
                let mut held: Vec<Block> = (0..count).map(|_| Block::allocate(size, random.next())).collect();
                let newer = held.split_off(count / 2);
                let order = held.into_iter().chain(newer.into_iter().rev());
                sum = order.fold(sum, |sum, block| sum.wrapping_add(block.release()));
            }
        }
    }
    sum
}

pub(super) fn thread(load: &Load) -> u64 {
    churn(load, WORKING_SET, load.scaled(REPLACEMENTS), |random| random.log_uniform(3, 15))
}
