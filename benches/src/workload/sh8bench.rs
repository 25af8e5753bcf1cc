//! Stands for servers whose threads pass work on: like sh6bench, but each batch has blocks of many sizes, and most batches go
//! to a place shared by all threads, from where whoever comes next takes and frees them: so most blocks die far from home and
//! in batches, not one by one. After MicroQuill's SmartHeap benchmark sh8bench (2001), with which allocators that lock the
//! owner for each remote free fall behind tenfold.

use super::Load;
use super::block::Block;
use super::random::Random;
use super::sh6bench::{free, size};
use std::collections::VecDeque;
use std::sync::Mutex;

const BATCHES: usize = 40_000;
const BATCH: usize = 100;
/// Batches that wait in the shared place, for each thread: it bounds what is alive.
const WAITING: usize = 8;

pub(super) fn run(load: &Load) -> u64 {
    let batches = load.scaled(BATCHES);
    let shared = Mutex::new(VecDeque::new());
    let sum = load.in_threads(|mut random| {
        (0..batches).fold(0, |sum, number| {
            let batch = new_batch(&mut random);
            match number % 4 {
                // Every fourth stays with its thread.
                0 => free(sum, batch.into_iter().rev()),
                _ => match exchange(&shared, batch, WAITING * load.threads) {
                    Some(other) => free(sum, other),
                    None => sum,
                },
            }
        })
    });
    let rest = shared.into_inner().expect("no holder of the lock panics");
    free(sum, rest.into_iter().flatten())
}

/// Leaves `batch` in the shared place and takes the oldest, once `waiting` are there.
fn exchange(shared: &Mutex<VecDeque<Vec<Block>>>, batch: Vec<Block>, waiting: usize) -> Option<Vec<Block>> {
    let mut shared = shared.lock().expect("no holder of the lock panics");
    shared.push_back(batch);
    if shared.len() > waiting { shared.pop_front() } else { None }
}

fn new_batch(random: &mut Random) -> Vec<Block> {
    (0..BATCH).map(|_| Block::allocate(size(random), random.next())).collect()
}
