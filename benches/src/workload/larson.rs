//! Stands for a server: objects of 8 to 1,000 bytes are replaced at random in an array, and every so often the array is
//! handed to a new thread while the old one ends. So most objects are freed by a thread other than the one that allocated
//! them, often after that thread is gone. After P. Larson and M. Krishnan, 'Memory Allocation for Long-Running Server
//! Applications' (ISMM 1998).

use super::block::Block;
use super::random::Random;
use super::{Load, block};
use std::sync::mpsc::{Sender, channel};

const OBJECTS: usize = 10_000;
const SMALLEST: usize = 8;
const LARGEST: usize = 1000;
const GENERATIONS: usize = 50;
const REPLACEMENTS: usize = 80_000;

/// What one thread hands to its successor.
struct Lane {
    objects: Vec<Block>,
    random: Random,
    sum: u64,
    generations_left: usize,
    replacements: usize,
    finished: Sender<u64>,
}

pub(super) fn run(load: &Load) -> u64 {
    let (finished, results) = channel();
    for thread in 0..load.threads {
        let mut random = load.random(thread);
        let objects = (0..OBJECTS).map(|_| new_object(&mut random)).collect();
        let finished = finished.clone();
        let lane = Lane {
            objects,
            random,
            sum: 0,
            generations_left: GENERATIONS,
            replacements: load.scaled(REPLACEMENTS),
            finished,
        };
        std::thread::spawn(move || lane.generation());
    }
    drop(finished);
    results.iter().fold(0, u64::wrapping_add)
}

impl Lane {
    fn generation(mut self) {
        for _ in 0..self.replacements {
            let victim = self.random.below(OBJECTS);
            self.sum = self.sum.wrapping_add(self.objects[victim].release());
            self.objects[victim] = new_object(&mut self.random);
        }
        self.generations_left -= 1;
        if self.generations_left > 0 {
            // The handle is dropped: nobody waits for a predecessor, as in a server with a thread per session.
            std::thread::spawn(move || self.generation());
        } else {
            let rest = self.objects.iter().fold(self.sum, |sum, object| sum.wrapping_add(object.release()));
            // The receiver lives until every sender is gone.
            let _ = self.finished.send(rest);
        }
    }
}

fn new_object(random: &mut Random) -> block::Block {
    let size = random.between(SMALLEST, LARGEST);
    Block::allocate(size, random.next())
}
