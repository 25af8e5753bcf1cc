//! `arenas:N` spreads threads over N sets of bins. Configured by the program's own symbol, which is tested by that too.

use fairground_allocator::malloc::{free, malloc};
use std::collections::BTreeSet;
use std::sync::Barrier;

fairground_allocator::configure!("arenas:3");

/// The bins of an arena take regions of 1 MiB, at multiples of that; no two arenas share one.
fn region(address: usize) -> usize {
    address >> 20
}

// The symbol is found by assembly, which the portable build does without (`arch/portable.rs`).
#[test]
#[cfg_attr(fairground_portable, ignore = "a program's symbol is not read in the portable build")]
fn six_threads_use_three_arenas() {
    const THREADS: usize = 6;
    let all_alive = Barrier::new(THREADS);
    let work = || {
        let block = malloc(20_000);
        assert!(!block.is_null());
        all_alive.wait(); // heaps of threads that are gone are used again
        // SAFETY: allocated above; nobody else has it.
        unsafe { free(block) };
        region(block.addr())
    };
    let regions: BTreeSet<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that allocates once")).collect()
    });
    assert_eq!(regions.len(), 3, "{regions:x?}");
}
