//! Stands for a long-running program with phases: each phase starts new threads that allocate mixed sizes (mostly small,
//! some medium, now and then a large one), trade blocks with each other through a shared array, free most of what they hold
//! and leave a part to be freed in a later phase. It shows what is kept by dead threads and how well memory of one phase
//! serves the next. The idea is that of D. Leijen's stress test for mimalloc.

use super::Load;
use super::block::Block;
use super::random::Random;
use std::sync::atomic::{AtomicPtr, Ordering};

const PHASES: usize = 24;
const STEPS: usize = 60_000;
const TRANSFER_SLOTS: usize = 1_000;
/// One allocation in so many outlives its phase.
const RETAINED: u64 = 16;

pub(super) fn run(load: &Load) -> u64 {
    let transfer: Vec<AtomicPtr<u64>> = (0..TRANSFER_SLOTS).map(|_| AtomicPtr::default()).collect();
    let steps = load.scaled(STEPS);
    let mut retained: Vec<Vec<Block>> = vec![Vec::new(); load.threads];
    let mut sum = 0_u64;
    for phase in 0..PHASES {
        std::thread::scope(|scope| {
            let transfer = &transfer;
            let workers: Vec<_> = retained
                .iter_mut()
                .enumerate()
                .map(|(thread, retained)| {
                    let random = load.random(thread + phase * load.threads);
                    scope.spawn(move || worker(random, steps, transfer, retained))
                })
                .collect();
            for worker in workers {
                sum = sum.wrapping_add(worker.join().expect("a worker panicked"));
            }
        });
        // The oldest half of what each thread left is freed here, by the main thread.
        for retained in &mut retained {
            let oldest = retained.len() / 2;
            sum = retained.drain(..oldest).fold(sum, |sum, block| sum.wrapping_add(block.release()));
        }
        // Now and then everything in transit goes, so that phases differ.
        if phase % 8 == 7 {
            sum = sum.wrapping_add(empty(&transfer));
        }
    }
    sum = sum.wrapping_add(empty(&transfer));
    retained.into_iter().flatten().fold(sum, |sum, block| sum.wrapping_add(block.release()))
}

/// One thread of one phase. Which block it holds in a slot depends on the others, how many random numbers it draws does
/// not: so the set of blocks allocated is the same in every run.
fn worker(mut random: Random, steps: usize, transfer: &[AtomicPtr<u64>], retained: &mut Vec<Block>) -> u64 {
    let mut held: Vec<Option<Block>> = Vec::new();
    let mut sum = 0_u64;
    for _ in 0..steps {
        let dice = random.next();
        let block = allocate(&mut random);
        if (dice >> 8).is_multiple_of(RETAINED) {
            retained.push(block);
        } else {
            held.push(Some(block));
        }
        // Free with a probability a little under that of allocating: the live set grows through the phase.
        if dice % 8 < 7 && !held.is_empty() {
            let slot = random.below(held.len());
            if let Some(block) = held[slot].take() {
                sum = sum.wrapping_add(block.release());
            }
        }
        if (dice >> 16).is_multiple_of(4) && !held.is_empty() {
            let (slot, other) = (random.below(held.len()), random.below(transfer.len()));
            let mine = held[slot].map_or(std::ptr::null_mut(), Block::into_raw);
            let theirs = transfer[other].swap(mine, Ordering::AcqRel);
            // SAFETY: an address in the transfer array is a live block; the swap made us its only holder, and ours is
            // overwritten in the same statement.
            held[slot] = unsafe { Block::from_address(theirs) };
        }
    }
    held.into_iter().flatten().fold(sum, |sum, block| sum.wrapping_add(block.release()))
}

fn allocate(random: &mut Random) -> Block {
    let word = random.next();
    let size = match word % 1000 {
        0 => random.log_uniform(18, 20),
        1..20 => random.log_uniform(12, 16),
        20..150 => random.log_uniform(9, 12),
        _ => random.log_uniform(3, 9),
    };
    if (word >> 32).is_multiple_of(8) { Block::allocate_zeroed(size, word) } else { Block::allocate(size, word) }
}

fn empty(transfer: &[AtomicPtr<u64>]) -> u64 {
    transfer.iter().fold(0, |sum, slot| {
        let address = slot.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: as in `worker`; the swap made us the only holder.
        let block = unsafe { Block::from_address(address) };
        block.map_or(sum, |block| sum.wrapping_add(block.release()))
    })
}
