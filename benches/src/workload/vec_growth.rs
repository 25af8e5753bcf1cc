//! Stands for programs that sort what they read into many lists (histograms, join tables, buckets of a mesh): a few hundred
//! vectors of elements of unlike sizes grow by `push` in turn, so that each growth finds its neighbour occupied; now and then
//! one is cut back or starts anew. After the growth by doubling that all of Rust's `Vec` have; where `realloc-growth` takes
//! steps of C programs, here the blocks come by the global allocator's `realloc`. Our own.

use super::Load;

const PUSHES: usize = 50_000_000;
const LISTS: usize = 300;
/// Elements pushed at a time: as one record of the input brings some.
const MOST_AT_ONCE: usize = 24;

/// A list; the kinds differ in the size of their elements, and so in the sizes that doubling goes through.
enum List {
    Words(Vec<u64>),
    Points(Vec<[u64; 3]>),
    Bytes(Vec<u8>),
}

pub(super) fn run(load: &Load) -> u64 {
    let pushes = load.scaled(PUSHES);
    load.in_threads(|mut random| {
        let mut lists: Vec<List> = (0..LISTS).map(List::new).collect();
        let mut sum = 0_u64;
        let mut pushed = 0;
        while pushed < pushes {
            // The product favours some lists: a few become long.
            let index = random.below(LISTS) * random.below(LISTS) / LISTS;
            let count = random.between(1, MOST_AT_ONCE);
            pushed += count;
            lists[index].push(count, random.next());
            match random.below(4096) {
                0 => lists[index].cut_back(),
                1..8 => sum = sum.wrapping_add(std::mem::replace(&mut lists[index], List::new(index)).digest()),
                _ => {}
            }
        }
        lists.iter().fold(sum, |sum, list| sum.wrapping_add(list.digest()))
    })
}

impl List {
    fn new(index: usize) -> Self {
        match index % 3 {
            0 => Self::Words(Vec::new()),
            1 => Self::Points(Vec::new()),
            _ => Self::Bytes(Vec::new()),
        }
    }

    fn push(&mut self, count: usize, value: u64) {
        for step in 0..count as u64 {
            let value = value.wrapping_add(step);
            match self {
                Self::Words(words) => words.push(value),
                Self::Points(points) => points.push([value, !value, value << 1]),
                Self::Bytes(bytes) => bytes.push(value as u8),
            }
        }
    }

    /// Down to a third, and the rest of the block given back.
    fn cut_back(&mut self) {
        match self {
            Self::Words(words) => cut_back(words),
            Self::Points(points) => cut_back(points),
            Self::Bytes(bytes) => cut_back(bytes),
        }
    }

    fn digest(&self) -> u64 {
        let add = |sum: u64, word: u64| sum.wrapping_mul(31).wrapping_add(word);
        match self {
            Self::Words(words) => words.iter().fold(1, |sum, &word| add(sum, word)),
            Self::Points(points) => points.iter().flatten().fold(2, |sum, &word| add(sum, word)),
            Self::Bytes(bytes) => bytes.iter().fold(3, |sum, &byte| add(sum, u64::from(byte))),
        }
    }
}

fn cut_back<T>(list: &mut Vec<T>) {
    list.truncate(list.len() / 3);
    list.shrink_to_fit();
}
