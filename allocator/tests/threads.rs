//! Threads: objects that others free, threads that come and go, thread-local destructors, and fork among threads.
//!
//! Each case runs in a process of its own: fork wants one without a harness, and the totals of memory want one without
//! neighbours. Blocks carry a pattern made of their address, so that memory handed out twice shows.

mod support;

use fairground_allocator::malloc::{calloc, free, malloc, realloc, totals, trim, usable_size};
use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, mpsc};
use support::Case;

/// A block of ours, filled with its pattern; freed when dropped.
struct Block {
    start: *mut u8,
    size: usize,
}

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}

impl Block {
    fn new(size: usize) -> Block {
        let start = malloc(size);
        assert!(!start.is_null());
        let block = Block { start, size };
        // SAFETY: a new block of this size.
        unsafe { start.write_bytes(block.pattern(), size) };
        block
    }

    fn pattern(&self) -> u8 {
        (self.start.addr() >> 4) as u8 | 1
    }

    fn check(&self) {
        // SAFETY: our block.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, self.size) };
        let ends = bytes.iter().take(64).chain(bytes.iter().rev().take(64));
        assert!(ends.into_iter().all(|&byte| byte == self.pattern()), "somebody else wrote into a block");
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.check();
        // SAFETY: ours; freed once.
        unsafe { free(self.start) };
    }
}

/// Sizes for the n-th block: mostly small, now and then from each larger engine.
fn nth_size(n: usize) -> usize {
    match n % 100 {
        98 => 20_000 + n % 5_000,
        97 => 300_000,
        90..=96 => 1_000 + n % 7_000,
        rest => 1 + rest * 7 % 600,
    }
}

/// One thread allocates, others only free.
fn threads_that_only_free() {
    let (senders, threads): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let (sender, receiver) = mpsc::sync_channel::<Block>(256);
            (sender, std::thread::spawn(move || receiver.iter().for_each(drop)))
        })
        .unzip();
    for n in 0..60_000 {
        senders[n % 3].send(Block::new(nth_size(n))).expect("the other thread listens");
    }
    drop(senders);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    // What the consumers freed is there for the producer: it did not pile up.
    let mapped = totals().mapped;
    assert!(mapped < 64 << 20, "{mapped} bytes for at most 768 blocks at a time");
}

/// Everybody allocates, and frees what its neighbour allocated.
fn everybody_frees_what_another_allocated() {
    const THREADS: usize = 4;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Vec<Block>>()).unzip();
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(me, receiver)| {
            let (to, barrier) = (senders[(me + 1) % THREADS].clone(), barrier.clone());
            std::thread::spawn(move || {
                for round in 0..40 {
                    to.send((0..300).map(|n| Block::new(nth_size(n * THREADS + me + round))).collect()).expect("sent");
                    let mut blocks = receiver.recv().expect("the neighbour sends");
                    while !blocks.is_empty() {
                        drop(blocks.swap_remove(blocks.len() * 7 / 11));
                    }
                    barrier.wait();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
}

/// Threads leave with blocks alive; others free those later.
fn blocks_outlive_their_thread() {
    let mut kept = Vec::new();
    for round in 0..50 {
        let thread = std::thread::spawn(move || (0..200).map(|n| Block::new(nth_size(n + round))).collect::<Vec<_>>());
        kept.push(thread.join().expect("no thread fails"));
        if kept.len() > 5 {
            drop(kept.remove(round % 5));
        }
    }
    std::thread::spawn(move || drop(kept)).join().expect("no thread fails");
}

/// Allocates and frees while its thread ends.
struct Late(&'static str, RefCell<Vec<Block>>);

static LATE: AtomicUsize = AtomicUsize::new(0);

impl Drop for Late {
    fn drop(&mut self) {
        self.1.get_mut().iter().for_each(Block::check);
        let mut blocks: Vec<_> = (0..150).map(|n| Block::new(nth_size(n))).collect();
        blocks.drain(..100);
        assert!(!self.0.is_empty());
        LATE.fetch_add(1, Relaxed);
    }
}

thread_local! {
    static FIRST: Late = const { Late("first", RefCell::new(Vec::new())) };
    static SECOND: Late = const { Late("second", RefCell::new(Vec::new())) };
}

/// The same in a key's destructor, round after round: by then the thread's heap has been taken down.
unsafe extern "C" fn key_destructor(rounds: *mut libc::c_void) {
    let left = rounds.addr() - 1;
    drop((0..150).map(|n| Block::new(nth_size(n))).collect::<Vec<_>>());
    // SAFETY: blocks of ours; grown, and freed once.
    unsafe {
        let zeroed = calloc(30, 30);
        assert!((0..900).all(|i| zeroed.add(i).read() == 0));
        let grown = realloc(zeroed, 20_000);
        assert!(usable_size(grown) >= 20_000);
        free(grown);
    }
    LATE.fetch_add(1, Relaxed);
    if left > 1 {
        // SAFETY: the key exists.
        unsafe { libc::pthread_setspecific(KEY.load(Relaxed) as u32, std::ptr::without_provenance(left)) };
    }
}

static KEY: AtomicUsize = AtomicUsize::new(0);

fn destructors_allocate_while_a_thread_ends() {
    let mut key = 0;
    // SAFETY: makes a key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(key_destructor)) }, 0);
    KEY.store(key as usize, Relaxed);
    const ROUNDS: usize = 30;
    const THREADS: usize = 4;
    let mut mapped = 0;
    for round in 0..ROUNDS {
        // Several at once: a heap that two threads use shows in the blocks' patterns.
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                std::thread::spawn(move || {
                    // SAFETY: the key exists.
                    unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(4)) };
                    FIRST.with(|late| late.1.borrow_mut().push(Block::new(100)));
                    SECOND.with(|late| late.1.borrow_mut().extend((0..100).map(|n| Block::new(nth_size(n)))));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
        if round == ROUNDS / 2 {
            mapped = totals().mapped;
        }
    }
    assert_eq!(LATE.load(Relaxed), ROUNDS * THREADS * 5, "two thread-locals, and three rounds of the key's destructor");
    let now = totals().mapped;
    assert!(now <= mapped + (8 << 20), "{mapped} bytes half-way, {now} at the end");
    trim(0);
    let left = totals();
    assert!(left.in_use < 4 << 20, "in use though all is freed: {left:?}");
}

/// Threads that come and go leave nothing behind.
fn short_threads_leave_nothing_behind() {
    let mut mapped = 0;
    for round in 0..200 {
        let threads: Vec<_> = (0..4)
            .map(|me| {
                std::thread::spawn(move || {
                    let mut blocks = Vec::new();
                    for n in 0..400 {
                        blocks.push(Block::new(nth_size(n + me)));
                        if n % 3 == 0 {
                            blocks.swap_remove(n / 3 * 5 % blocks.len());
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
        if round == 20 {
            mapped = totals().mapped;
        }
    }
    // A chunk more or less by the order in which threads ran.
    let now = totals().mapped;
    assert!(now <= mapped + (8 << 20), "{mapped} bytes after 20 rounds, {now} after 200");
    trim(0);
    let left = totals();
    assert!(left.in_use < 4 << 20, "in use though all is freed: {left:?}");
}

/// How often to fork: `FAIRGROUND_TEST_FORKS` sets another number, for emulators and for longer runs.
fn forks(usual: usize) -> usize {
    std::env::var("FAIRGROUND_TEST_FORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Forks while others allocate and free. The child allocates, and frees what the parent's threads had.
fn fork_among_threads(forks: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|me| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut blocks = Vec::new();
                let mut n = me;
                while !stop.load(Relaxed) {
                    n += 1;
                    blocks.push(Block::new(nth_size(n)));
                    if blocks.len() > 500 {
                        blocks.drain(100..400);
                    }
                }
            })
        })
        .collect();
    let others: Vec<Block> =
        std::thread::spawn(|| (0..300).map(|n| Block::new(nth_size(n))).collect()).join().expect("ok");
    for _ in 0..forks {
        // SAFETY: the child calls nothing of std that takes a lock.
        match unsafe { libc::fork() } {
            0 => {
                others.iter().for_each(Block::check);
                // SAFETY: blocks of the child's copy, freed once; and the child ends here.
                unsafe {
                    others.iter().for_each(|block| free(block.start));
                    let mut blocks = [std::ptr::null_mut::<u8>(); 2000];
                    for (n, block) in blocks.iter_mut().enumerate() {
                        *block = malloc(nth_size(n));
                        block.write_bytes(7, nth_size(n));
                    }
                    blocks.iter().for_each(|&block| free(block));
                    trim(0);
                    fairground_allocator::malloc::check_at_exit();
                    libc::_exit(0)
                }
            }
            child => {
                assert!(child > 0);
                let mut status = 0;
                // SAFETY: our child.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0, "the child ended well");
            }
        }
    }
    stop.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
}

fn main() -> ExitCode {
    support::run(vec![
        Case::new("threads that only free", None, threads_that_only_free),
        Case::new("everybody frees what another allocated", None, everybody_frees_what_another_allocated),
        Case::new("blocks outlive their thread", None, blocks_outlive_their_thread),
        Case::new("destructors allocate while a thread ends", None, destructors_allocate_while_a_thread_ends),
        Case::new("short threads leave nothing behind", None, short_threads_leave_nothing_behind),
        Case::new("fork among threads", None, || fork_among_threads(forks(300))),
        Case::new("fork among threads, under a limit of address space", Some((libc::RLIMIT_AS, 240 << 20)), || {
            // The system's allocator, which std uses here, would take 64 MiB of it for every thread.
            // SAFETY: no other thread yet.
            unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
            fork_among_threads(forks(50))
        }),
    ])
}
