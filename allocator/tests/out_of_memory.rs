//! When memory runs out: null and `ENOMEM`, everything usable again after it was freed, and the program goes on.
//!
//! Limits of a process cannot be taken back, so every case runs in a process of its own: this program starts itself again
//! with the name of the case and the limit in its environment. `RLIMIT_AS` counts address space, reservations included;
//! `RLIMIT_DATA` counts private writable memory.

#[path = "support/blocks.rs"]
mod blocks;
mod support;

use blocks::Blocks;
use fairground_allocator::malloc::{calloc, free, malloc, memalign, realloc};
use std::process::ExitCode;
use support::{Case, errno, set_errno};

const MIB: usize = 1 << 20;

/// Sizes of every engine: small slabs, large slabs, bins, runs, extents.
const SIZES: [usize; 5] = [100, 5_000, 100_000, MIB, 10 * MIB];

/// Address space that a limit leaves to a process of this size must mostly be usable: at least this part of the limit.
const USABLE: f64 = 0.6;

/// The same if the tests are run with hardening on. What is behind a block of 1 MiB takes it a page more, so of a chunk of 4 MiB
/// three of them are had, not four.
const USABLE_HARDENED: f64 = 0.4;

/// Allocates blocks of `size` until null, linked through their first word; the last one and their number.
fn fill(size: usize) -> (*mut u8, usize) {
    let (mut last, mut count) = (std::ptr::null_mut::<u8>(), 0);
    loop {
        set_errno(0);
        let block = malloc(size);
        if block.is_null() {
            assert_eq!(errno(), libc::ENOMEM, "errno at the end of memory");
            return (last, count);
        }
        // SAFETY: a new block of at least two words.
        unsafe {
            block.cast::<*mut u8>().write(last);
            // The other end too: it must be memory.
            block.add(size - 1).write(1);
        }
        (last, count) = (block, count + 1);
    }
}

/// Frees a chain made by [`fill`].
fn free_all(mut last: *mut u8) {
    while !last.is_null() {
        // SAFETY: blocks of the chain, each freed once, its link read before.
        unsafe {
            let before = last.cast::<*mut u8>().read();
            set_errno(77);
            free(last);
            assert_eq!(errno(), 77, "free keeps errno");
            last = before;
        }
    }
}

/// Fills memory with blocks of one size, frees them, and does it again: the same amount fits.
fn exhaust(limit: usize, size: usize) {
    // As in every program, small blocks come first, and with them the reservation.
    // SAFETY: a new block, freed once.
    unsafe { free(malloc(1)) };
    let (last, first_count) = fill(size);
    // The program goes on with what it has: this test could not print otherwise.
    free_all(last);
    let (last, second_count) = fill(size);
    free_all(last);
    println!("{size}: {first_count}, {second_count}: {} MiB of {}", first_count * size / MIB, limit / MIB);
    let bytes = first_count * size;
    let hardened = std::env::var("FAIRGROUND_CONF").is_ok_and(|conf| conf.contains("hardened:true"));
    let usable = if hardened { USABLE_HARDENED } else { USABLE };
    assert!(bytes as f64 >= limit as f64 * usable, "{bytes} bytes in blocks of {size} under a limit of {limit}");
    // After the first round large blocks may be the zone's, in whole chunks of 4 MiB: 10 MiB take 12.
    let slack = (first_count / if size > 4 * MIB { 5 } else { 10 }).max(1);
    assert!(first_count.abs_diff(second_count) <= slack, "{size}: {first_count} blocks, then {second_count}");
}

fn exhaust_in_threads(size: usize) {
    // The system's allocator, which std uses here, would take 64 MiB of address space for every thread.
    // SAFETY: no other thread yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // All are started before one takes what a thread's start needs.
    let start = std::sync::Arc::new(std::sync::Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let start = start.clone();
            std::thread::spawn(move || {
                start.wait();
                for _ in 0..2 {
                    free_all(fill(size).0);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread fails");
    }
    let block = malloc(size);
    assert!(!block.is_null(), "all is free again");
    // SAFETY: a new block, freed once.
    unsafe { free(block) };
}

/// The kernel puts chunks outside the reservation wherever there is room: here right above it, in the window in which the
/// fast path of `free` believes a table at first. It once took another chunk's entry there for the block's own.
fn chunks_above_the_reservation() {
    let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, unmapped before anybody uses it.
    unsafe {
        let hole = libc::mmap(std::ptr::null_mut(), 64 * MIB, access, flags, -1, 0);
        free(malloc(1));
        libc::munmap(hole, 64 * MIB);
        let (mut lists, mut above) = ([std::ptr::null_mut::<u8>(); 2], 0);
        // Two sizes in turn, so that neighbouring chunks are not all alike.
        for (list, size) in [(0, 100), (1, 5_000)].into_iter().cycle() {
            let mut block = std::ptr::null_mut();
            for _ in 0..(4 * MIB / size) {
                block = malloc(size);
                if block.is_null() {
                    break;
                }
                above += usize::from(block.addr().wrapping_sub(hole.addr()) < 64 * MIB);
                block.cast::<*mut u8>().write(lists[list]);
                lists[list] = block;
            }
            if block.is_null() {
                break;
            }
        }
        assert!(above > 1000, "{above} blocks lie where the test wants them");
        // In turn, so that the sheaves of both sizes are open and their slabs are there to the end.
        while lists.iter().any(|list| !list.is_null()) {
            for list in lists.iter_mut().filter(|list| !list.is_null()) {
                let block = std::mem::replace(list, list.cast::<*mut u8>().read());
                free(block);
            }
        }
    }
    fairground_allocator::malloc::trim(0);
    let left = fairground_allocator::malloc::totals();
    assert!(left.in_use < 2 * MIB, "{left:?}");
}

/// Requests that no limit allows.
fn absurd_requests() {
    const MOST: usize = isize::MAX as usize;
    let none = |what: &str, block: *mut u8| {
        assert!(block.is_null(), "{what}");
        assert_eq!(errno(), libc::ENOMEM, "{what}");
        set_errno(0);
    };
    set_errno(0);
    // SAFETY: one block, alive until the end.
    unsafe {
        let block = malloc(100);
        block.write_bytes(7, 100);
        set_errno(0);
        for size in [MOST - 4096, MOST - 16, MOST - 1, MOST, MOST + 1, usize::MAX - 4096, usize::MAX - 15, usize::MAX] {
            none("malloc", malloc(size));
            none("realloc of a small block", realloc(block, size));
            none("calloc", calloc(1, size));
            none("calloc, the other way", calloc(size, 1));
            for align in [32, 4096, 65_536, 1 << 30] {
                none("memalign", memalign(align, size));
            }
            let large = malloc(20 * MIB);
            if !large.is_null() {
                large.write(9);
                set_errno(0);
                none("realloc of a large block", realloc(large, size));
                assert_eq!(large.read(), 9);
                free(large);
            }
        }
        none("a product that overflows", calloc(1 << 32, 1 << 32));
        none("a product that overflows to little", calloc(usize::MAX / 2 + 1, 2));
        for shift in 47..64 {
            none("an alignment beyond the address space", memalign(1 << shift, 100));
        }
        assert!((0..100).all(|i| block.add(i).read() == 7), "the old block is as it was");
        free(block);
    }
}

/// The kernel's limit of mappings reached: neighbours of different access, so that none can be merged. No mapping can be made
/// or split any more; what is there goes on, and null is the answer to the rest. With room again all is as before.
fn mapping_limit(before_the_first_allocation: bool) {
    const LEAST: usize = 1_000;
    let mut blocks = Blocks::new(3, 80, usize::MAX);
    if !before_the_first_allocation {
        (0..500).for_each(|_| blocks.step());
    }
    // Every second page of it becomes a mapping by itself, until the kernel refuses.
    let bytes = (1 << 20) * 4096;
    let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping that is never used as memory.
    let area = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) }.cast::<u8>();
    assert!(area.addr() != usize::MAX, "address space for the mappings");
    // SAFETY: pages of the area.
    let split = |at: usize| unsafe { libc::mprotect(area.add(at * 8192).cast(), 4096, libc::PROT_READ) == 0 };
    let made = (0..bytes / 8192).take_while(|&at| split(at)).count();
    assert!((LEAST..bytes / 8192).contains(&made), "{made} mappings, and no limit reached");
    (0..3_000).for_each(|_| blocks.step());
    println!("{made} mappings; {} requests refused", blocks.refused);
    assert!(before_the_first_allocation || blocks.refused > 0, "the limit was not felt");
    // SAFETY: the area again.
    assert_eq!(unsafe { libc::munmap(area.cast(), bytes) }, 0, "what the test has mapped goes");
    blocks.free_all();
    blocks.one_of_each();
    let refused = blocks.refused;
    (0..3_000).for_each(|_| blocks.step());
    assert_eq!(blocks.refused, refused, "with room again nothing is refused");
    blocks.free_all();
    fairground_allocator::malloc::trim(0);
    let left = fairground_allocator::malloc::totals();
    assert!(left.in_use < 4 * MIB, "in use though all is freed: {left:?}");
}

/// Limits in MiB: the smallest reservation, of 256 MiB, fits only under the last.
const LIMITS: [usize; 3] = [128, 256, 512];

fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("absurd requests", None, absurd_requests)];
    for limit in LIMITS {
        let address_space = Some((libc::RLIMIT_AS, limit * MIB));
        for size in SIZES {
            let name = format!("{limit} MiB of address space, blocks of {size}");
            cases.push(Case::new(&name, address_space, move || exhaust(limit * MIB, size)));
        }
        for size in SIZES {
            let name = format!("{limit} MiB of address space, 4 threads, blocks of {size}");
            cases.push(Case::new(&name, address_space, move || exhaust_in_threads(size)));
        }
        cases.push(Case::new(
            &format!("{limit} MiB of address space, absurd requests"),
            address_space,
            absurd_requests,
        ));
    }
    let limit = Some((libc::RLIMIT_AS, 440 * MIB));
    for (name, first) in [("", false), (" before the first allocation", true)] {
        cases.push(Case::new(&format!("the mapping limit reached{name}"), None, move || mapping_limit(first)).plain());
    }
    cases.push(Case::new("chunks above the reservation", limit, chunks_above_the_reservation));
    for size in SIZES {
        let limit = 256 * MIB;
        let name = format!("256 MiB of data, blocks of {size}");
        cases.push(Case::new(&name, Some((libc::RLIMIT_DATA, limit)), move || exhaust(limit, size)));
    }
    cases
}

fn main() -> ExitCode {
    support::run(cases())
}
