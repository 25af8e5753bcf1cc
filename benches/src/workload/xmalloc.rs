//! Stands for a pipeline: half of the threads only allocate, the other half only free, and batches of blocks pass between
//! them through one queue. An allocator that keeps freed blocks with the thread that freed them bleeds its memory to the
//! consumers; one that returns each block to its owner pays for every return. After C. Lever and D. Boreham, 'malloc()
//! Performance in a Multithreaded Linux Environment' (USENIX 2000).

use super::Load;
use super::block::Block;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

const BATCH: usize = 1024;
/// Batches that may wait. It bounds the live set, which would otherwise depend on who is scheduled.
const QUEUE: usize = 16;
const BATCHES: usize = 8_000;
/// What small programs ask for most; larger ones are rare here by design, `medium` covers them.
const SIZES: [usize; 12] = [8, 16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 400];

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    not_empty: Condvar,
    not_full: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Vec<Block>>,
    producers_done: usize,
}

pub(super) fn run(load: &Load) -> u64 {
    let pairs = load.threads.div_ceil(2);
    let batches = load.scaled(BATCHES);
    let queue = Queue::default();
    std::thread::scope(|scope| {
        let queue = &queue;
        for producer in 0..pairs {
            let mut random = load.random(producer);
            scope.spawn(move || {
                for _ in 0..batches {
                    let batch = (0..BATCH)
                        .map(|_| {
                            let word = random.next();
                            Block::allocate(SIZES[(word >> 48) as usize % SIZES.len()], word)
                        })
                        .collect();
                    queue.push(batch);
                }
                queue.producer_done();
            });
        }
        let consumers: Vec<_> = (0..pairs)
            .map(|_| {
                scope.spawn(move || {
                    let mut sum = 0_u64;
                    while let Some(batch) = queue.pop(pairs) {
                        for block in batch {
                            sum = sum.wrapping_add(block.release());
                        }
                    }
                    sum
                })
            })
            .collect();
        consumers.into_iter().map(|c| c.join().expect("a consumer panicked")).fold(0, u64::wrapping_add)
    })
}

impl Queue {
    fn push(&self, batch: Vec<Block>) {
        let mut state = self.state.lock().expect("no holder of the lock panics");
        while state.batches.len() >= QUEUE {
            state = self.not_full.wait(state).expect("no holder of the lock panics");
        }
        state.batches.push_back(batch);
        self.not_empty.notify_one();
    }

    fn producer_done(&self) {
        self.state.lock().expect("no holder of the lock panics").producers_done += 1;
        self.not_empty.notify_all();
    }

    /// The next batch; `None` when all producers are done and the queue is empty.
    fn pop(&self, producers: usize) -> Option<Vec<Block>> {
        let mut state = self.state.lock().expect("no holder of the lock panics");
        loop {
            if let Some(batch) = state.batches.pop_front() {
                self.not_full.notify_one();
                return Some(batch);
            }
            if state.producers_done == producers {
                return None;
            }
            state = self.not_empty.wait(state).expect("no holder of the lock panics");
        }
    }
}
