//! A Rust program on the allocator: containers and strings of all sizes, in one thread and in many, with their contents
//! checked when they are dropped.

use fairground_allocator::Fairground;
use std::collections::HashMap;

#[global_allocator]
static GLOBAL: Fairground = Fairground;

/// xorshift64: the same sequence in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) as usize % end
    }
}

/// Mostly small sizes, some medium, few large.
fn some_size(random: &mut Random) -> usize {
    match random.below(1000) {
        0..800 => random.below(600),
        800..950 => random.below(20_000),
        950..998 => random.below(300_000),
        _ => random.below(6 << 20),
    }
}

#[test]
fn vectors_of_all_sizes_keep_their_contents() {
    let mut random = Random(88_172_645_463_325_252);
    let mut live: Vec<(Vec<u8>, u8)> = Vec::new();
    for i in 0..200_000 {
        if live.len() > 2000 || (!live.is_empty() && random.below(2) == 0) {
            let (vec, byte) = live.swap_remove(random.below(live.len()));
            assert!(vec.iter().step_by(97).all(|&b| b == byte), "a vector of {} bytes changed", vec.len());
        }
        live.push((vec![i as u8; some_size(&mut random)], i as u8));
    }
}

#[test]
fn maps_and_strings_keep_their_contents() {
    let mut random = Random(1);
    let mut map: HashMap<String, Vec<usize>> = HashMap::new();
    for i in 0..200_000 {
        map.entry(format!("key {}", random.below(5000))).or_default().push(i);
    }
    let mut all: Vec<usize> = map.into_values().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..200_000));
}

#[test]
fn what_threads_allocate_is_whole_after_they_are_gone() {
    for _ in 0..10 {
        let threads: Vec<_> = (0..8u8)
            .map(|t| {
                std::thread::spawn(move || {
                    let mut kept = Vec::new();
                    for i in 0..20_000 {
                        kept.push(vec![t; i % 700]);
                        if i % 3 == 0 {
                            kept.swap_remove(i % kept.len());
                        }
                    }
                    kept
                })
            })
            .collect();
        for (t, thread) in threads.into_iter().enumerate() {
            let kept = thread.join().expect("the thread ends well");
            assert!(kept.iter().flatten().all(|&b| b == t as u8));
        }
    }
}
