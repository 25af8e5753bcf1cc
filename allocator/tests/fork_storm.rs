//! A storm of forks: one thread forks while four others allocate and free blocks of every engine.
//!
//! At the moment of a fork the others are anywhere: in a slab, in the bins, under the zone's lock, half-way through a mapping.
//! A child has to find every lock free and every table whole. It frees blocks of threads that it does not have, allocates,
//! now and then forks again, and now and then becomes another program.
//!
//! The blocks of the other threads are in a table that both sides read: whoever takes a pointer out of it has the block.
//! A block that its thread held at the fork is lost to the child, as in any program that forks among threads.

#[path = "support/blocks.rs"]
mod blocks;
mod support;

use blocks::{Random, SIZES};
use fairground_allocator::malloc::{check_at_exit, free, malloc, realloc, trim};
use std::process::ExitCode;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use support::Case;

const THREADS: usize = 4;
/// Blocks a thread keeps in the table.
const SLOTS: usize = 24;
/// Blocks of a child.
const MINE: usize = 80;
/// Of so many children one forks again; of so many one becomes another program.
const AGAIN: usize = 50;
const EXEC: usize = 100;
/// Seconds after which a child counts as hanging: the alarm ends it, and its status says so.
const PATIENCE: u32 = 60;

static TABLE: [[AtomicPtr<u8>; SLOTS]; THREADS] = [const { [const { AtomicPtr::new(null_mut()) }; SLOTS] }; THREADS];
static STOP: AtomicBool = AtomicBool::new(false);
/// Turns of the other threads, so that one that stands still shows.
static TURNS: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

/// Writes size and address to both ends of a block; few of its pages, for a fork copies the tables of all that were touched.
fn mark(start: *mut u8, size: usize) {
    assert!(!start.is_null(), "{size} bytes");
    // SAFETY: a block of that size, at least 16 bytes.
    unsafe {
        start.cast::<usize>().write_unaligned(size);
        start.add(size - 8).cast::<usize>().write_unaligned(start.addr() ^ size);
    }
}

/// Looks at what `mark` wrote.
fn check(start: *mut u8) {
    // SAFETY: a marked block.
    unsafe {
        let size = start.cast::<usize>().read_unaligned();
        assert!(size >= 16 && size <= SIZES[SIZES.len() - 1], "{size} bytes at {start:?}");
        assert_eq!(start.add(size - 8).cast::<usize>().read_unaligned(), start.addr() ^ size, "{size} at {start:?}");
    }
}

/// Every engine's sizes: most often the small ones, for they are most calls of a program.
fn size(random: &mut Random) -> usize {
    let border = match random.below(16) {
        0..8 => SIZES[random.below(6)],
        8..14 => SIZES[random.below(12)],
        _ => SIZES[random.below(SIZES.len())],
    };
    (border - random.below(1 + border / 4)).max(16)
}

fn allocate_and_free(me: usize, seed: u64) {
    let mut random = Random(seed ^ ((me as u64 + 1) << 8));
    while !STOP.load(Ordering::Relaxed) {
        let slot = &TABLE[me][random.below(SLOTS)];
        let old = slot.swap(null_mut(), Ordering::AcqRel);
        let size = size(&mut random);
        // SAFETY: what came out of the table is this thread's own.
        unsafe {
            if !old.is_null() {
                check(old);
            }
            let new = if random.below(8) == 0 {
                realloc(old, size)
            } else {
                free(old);
                malloc(size)
            };
            mark(new, size);
            slot.store(new, Ordering::Release);
        }
        TURNS[me].fetch_add(1, Ordering::Relaxed);
    }
}

/// What every child does; nothing of std that takes a lock.
fn child(n: usize, random: &mut Random) {
    // SAFETY: a system call.
    unsafe { libc::alarm(PATIENCE) };
    let mut mine = [null_mut::<u8>(); MINE];
    for (i, block) in mine.iter_mut().enumerate() {
        if i % 2 == 0 {
            let slot = &TABLE[i / 2 % THREADS][i / 2 / THREADS % SLOTS];
            let other = slot.swap(null_mut(), Ordering::AcqRel);
            if !other.is_null() {
                check(other);
                // SAFETY: a block of a thread that is not here; the child's copy has it alone.
                unsafe { free(other) };
            }
        }
        let size = size(random);
        *block = malloc(size);
        mark(*block, size);
    }
    for (i, &block) in mine.iter().enumerate() {
        check(block);
        if i % 5 != n % 5 {
            // SAFETY: ours, freed once; the others stay, as in a program that ends.
            unsafe { free(block) };
        }
    }
    if n.is_multiple_of(7) {
        trim(0);
    }
    check_at_exit();
}

/// Forks; the child does its part and ends there.
fn fork(n: usize, forks_again: bool, random: &mut Random) -> libc::pid_t {
    // SAFETY: the child calls nothing of std that takes a lock, and ends.
    unsafe {
        let child_id = libc::fork();
        assert!(child_id >= 0, "{}", std::io::Error::last_os_error());
        if child_id != 0 {
            return child_id;
        }
        child(n, random);
        if forks_again {
            wait(fork(n + 1, false, random), n);
            child(n + 2, random);
        }
        if n.is_multiple_of(EXEC) {
            let arguments = [c"true".as_ptr(), std::ptr::null()];
            libc::execv(c"/bin/true".as_ptr(), arguments.as_ptr());
            libc::_exit(126);
        }
        libc::_exit(0)
    }
}

fn wait(child: libc::pid_t, n: usize) {
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_ne!(status, libc::SIGALRM, "child {n} hangs");
    assert_eq!(status, 0, "the status of child {n}");
}

fn storm(forks: usize, seed: u64) {
    let threads: Vec<_> = (0..THREADS).map(|me| std::thread::spawn(move || allocate_and_free(me, seed))).collect();
    let mut random = Random(seed);
    for n in 1..=forks {
        wait(fork(n, n.is_multiple_of(AGAIN), &mut random), n);
    }
    STOP.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    assert!(TURNS.iter().all(|turns| turns.load(Ordering::Relaxed) != 0), "all threads allocate: {TURNS:?}");
    for slot in TABLE.iter().flatten() {
        let block = slot.load(Ordering::Relaxed);
        if !block.is_null() {
            check(block);
            // SAFETY: its thread is gone; freed once.
            unsafe { free(block) };
        }
    }
    check_at_exit();
}

/// How often to fork: `FAIRGROUND_TEST_FORKS` sets another number, for emulators and for longer runs.
fn forks(usual: usize) -> usize {
    std::env::var("FAIRGROUND_TEST_FORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn main() -> ExitCode {
    // In four parts, each with a process and a seed of its own: the patience of the support is for one.
    let part = |seed| Case::new(&format!("a storm of forks, seed {seed}"), None, move || storm(forks(2_000) / 4, seed));
    support::run((1..=4).map(part).collect())
}
