//! One error in the use of memory, by name, for the debuggers' features: `docs/debugging.md` shows what they say of each.
//!
//! Run as it is, the program does the wrong thing and mostly gets away with it.

use fairground_allocator::Fairground;
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: Fairground = Fairground;

fn block(size: usize) -> (*mut u8, Layout) {
    let layout = Layout::from_size_align(size, 8).expect("a size and alignment");
    // SAFETY: the size is not 0.
    let start = unsafe { GLOBAL.alloc(layout) };
    // SAFETY: a new block.
    unsafe { start.write_bytes(1, size) };
    (start, layout)
}

#[inline(never)]
fn use_after_free() {
    let (start, layout) = block(100);
    // SAFETY: none. This is the error.
    unsafe {
        GLOBAL.dealloc(start, layout);
        black_box(start.add(8).read_volatile());
    }
}

#[inline(never)]
fn overrun() {
    let (start, layout) = block(100);
    // SAFETY: the write is one byte behind the block. This is the error.
    unsafe {
        start.add(100).write_volatile(1);
        GLOBAL.dealloc(start, layout);
    }
}

#[inline(never)]
fn uninitialised() {
    let layout = Layout::from_size_align(64, 8).expect("a size and alignment");
    // SAFETY: what a new block holds is not known. This is the error.
    unsafe {
        let start = GLOBAL.alloc(layout);
        if start.cast::<u64>().read_volatile() == 12_345 {
            println!("a rare number");
        }
        GLOBAL.dealloc(start, layout);
    }
}

#[inline(never)]
fn double_free() {
    let (start, layout) = block(100);
    // SAFETY: the second one is the error.
    unsafe {
        GLOBAL.dealloc(start, layout);
        GLOBAL.dealloc(start, layout);
    }
}

#[inline(never)]
fn leak() {
    for _ in 0..10 {
        black_box(block(1234));
    }
}

#[inline(never)]
fn correct() {
    // All engines, all ways to change a size, threads, and zeroes over what was freed before.
    for size in [1, 24, 100, 5_000, 20_000, 200_000, 1 << 20, 9 << 20] {
        let mut bytes = vec![1u8; size];
        bytes.extend(std::iter::repeat_n(2, size / 2 + 1));
        bytes.truncate(size);
        bytes.shrink_to_fit();
        assert!(bytes.iter().all(|&byte| byte == 1));
        drop(bytes);
        assert!(vec![0u8; size].iter().all(|&byte| byte == 0));
    }
    let threads: Vec<_> =
        (0..3).map(|n| std::thread::spawn(move || (0..2_000).map(|i| vec![n; i % 300]).collect::<Vec<_>>())).collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert!(thread.join().expect("the thread ends well").iter().flatten().all(|&m| m == n));
    }
    println!("correct");
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("use-after-free") => use_after_free(),
        Some("overrun") => overrun(),
        Some("uninitialised") => uninitialised(),
        Some("double-free") => double_free(),
        Some("leak") => leak(),
        Some("correct") => correct(),
        _ => {
            eprintln!("usage: memory_errors use-after-free|overrun|uninitialised|double-free|leak|correct");
            std::process::exit(2);
        }
    }
}
