//! Stands for programs that start a thread for each small task (old servers, test runners, `-j` tools): a thread lives for
//! some thousand allocations, frees half, leaves the rest to others and ends. Costs: setting up and tearing down what the
//! allocator keeps per thread, and what becomes of a dead thread's memory. Our own, after the abandoned-heap bugs that the
//! field's issue trackers are full of.

use super::Load;
use super::block::Block;
use super::random::Random;
use std::collections::VecDeque;

const WAVES: usize = 1_000;
const BLOCKS: usize = 1_500;
/// Waves whose blocks stay alive.
const KEPT_WAVES: usize = 6;

pub(super) fn run(load: &Load) -> u64 {
    let waves = load.scaled(WAVES);
    let mut left: VecDeque<Vec<Block>> = VecDeque::new();
    let mut sum = 0_u64;
    for wave in 0..waves {
        // What an earlier wave left is freed by the threads of this one, the remainder by the main thread.
        let mut inherited = if left.len() >= KEPT_WAVES { left.pop_front().unwrap_or_default() } else { Vec::new() };
        let share = inherited.len() / (load.threads + 1);
        let mut left_now = Vec::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..load.threads)
                .map(|thread| {
                    let random = load.random(wave * load.threads + thread);
                    let mine = inherited.split_off(inherited.len() - share);
                    scope.spawn(move || task(random, mine))
                })
                .collect();
            for thread in threads {
                let (part, blocks) = thread.join().expect("a thread panicked");
                sum = sum.wrapping_add(part);
                left_now.extend(blocks);
            }
        });
        sum = inherited.into_iter().fold(sum, |sum, block| sum.wrapping_add(block.release()));
        left.push_back(left_now);
    }
    left.into_iter().flatten().fold(sum, |sum, block| sum.wrapping_add(block.release()))
}

fn task(mut random: Random, inherited: Vec<Block>) -> (u64, Vec<Block>) {
    let mut sum = inherited.into_iter().fold(0_u64, |sum, block| sum.wrapping_add(block.release()));
    let mut held: Vec<Block> = Vec::new();
    for step in 0..BLOCKS {
        let size = random.log_uniform(4, 11);
        held.push(Block::allocate(size, random.next()));
        if step % 2 == 1 {
            let victim = random.below(held.len());
            sum = sum.wrapping_add(held.swap_remove(victim).release());
        }
    }
    (sum, held)
}
