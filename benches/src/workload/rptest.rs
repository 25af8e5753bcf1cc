//! Stands for a game engine: in each frame a thread fills its slots with blocks of random sizes up to 16,000 bytes, the small
//! ones more often, replaces some of them again and again with a stride, and at the frame's end hands half of what it holds
//! to the next thread, which frees it. After M. Jansson's benchmark for rpmalloc (rpmalloc-benchmark, 2017), with the sizes
//! that the mimalloc-bench suite runs it with.

use super::Load;
use super::block::Block;
use super::random::Random;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const FRAMES: usize = 500;
const SLOTS: usize = 1000;
/// Rounds of replacements in a frame, and how many blocks each replaces.
const ROUNDS: usize = 20;
const REPLACED: usize = 100;
/// Prime, and no divisor of [`SLOTS`]: the replaced slots spread over all, in an order unlike that of the allocations.
const STRIDE: usize = 331;
const SMALLEST: usize = 8;
const LARGEST: usize = 16_000;

pub(super) fn run(load: &Load) -> u64 {
    let frames = load.scaled(FRAMES);
    // A ring. Each thread sends once and receives once in a frame, so a capacity of one batch never blocks all of them, and
    // no thread can run ahead: what is in flight, and with it the peak, does not depend on who is scheduled.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..load.threads).map(|_| sync_channel(1)).unzip();
    let successors = senders.iter().cycle().skip(1).cloned();
    std::thread::scope(|scope| {
        let threads: Vec<_> = receivers
            .into_iter()
            .zip(successors)
            .enumerate()
            .map(|(thread, (from_predecessor, to_successor))| {
                let random = load.random(thread);
                scope.spawn(move || player(random, frames, &to_successor, &from_predecessor))
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a thread panicked")).fold(0, u64::wrapping_add)
    })
}

fn player(
    mut random: Random,
    frames: usize,
    to_successor: &SyncSender<Vec<Block>>,
    from_predecessor: &Receiver<Vec<Block>>,
) -> u64 {
    let mut sum = 0_u64;
    let mut slots: Vec<Block> = Vec::with_capacity(SLOTS);
    for _ in 0..frames {
        slots.extend((0..SLOTS).map(|_| new(&mut random)));
        for round in 0..ROUNDS {
            for step in 0..REPLACED {
                let slot = (round + step * STRIDE) % SLOTS;
                sum = sum.wrapping_add(slots[slot].release());
                slots[slot] = new(&mut random);
            }
        }
        to_successor.send(slots.split_off(SLOTS / 2)).expect("the successor lives as long");
        let handed = from_predecessor.recv().expect("the predecessor sends as often");
        sum = slots.drain(..).chain(handed).fold(sum, |sum, block| sum.wrapping_add(block.release()));
    }
    sum
}

/// The lesser of two draws: the density of sizes falls in a straight line.
fn new(random: &mut Random) -> Block {
    let size = random.between(SMALLEST, LARGEST).min(random.between(SMALLEST, LARGEST));
    Block::allocate(size, random.next())
}
