//! Driver of the instruction counts for Rust's calls: `hot_layout CALLS`.
//!
//! Fairground is the global allocator here and is linked with fat LTO, so what is counted is what a Rust program gets. See
//! `fairground_benches::instruction_counts`.

use fairground_allocator::Fairground;
use std::alloc::Layout;
use std::hint::black_box;

#[global_allocator]
static GLOBAL: Fairground = Fairground;

/// The layout that is known to the compiler.
const KNOWN: Layout = match Layout::from_size_align(81, 1) {
    Ok(layout) => layout,
    Err(_) => panic!("81 bytes are a valid layout"),
};

/// A free as in the drop of a `Vec`: address and size come in registers, the alignment is known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_dealloc(block: *mut u8, size: usize) {
    // SAFETY: the caller passes a live block that was allocated with this layout, whose size is not 0.
    unsafe { std::alloc::dealloc(block, Layout::from_size_align_unchecked(size, 1)) };
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn loop_with_pair(turns: usize) {
    for _ in 0..turns {
        // SAFETY: the layout's size is not 0; the block is freed with the layout it was allocated with. A null pointer
        // would end the driver in `warm_up`.
        unsafe { std::alloc::dealloc(black_box(std::alloc::alloc(KNOWN)), KNOWN) };
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn loop_without_pair(turns: usize) {
    for _ in 0..turns {
        black_box(std::ptr::null_mut::<u8>());
    }
}

fn main() {
    let Some(calls) = std::env::args().nth(1).and_then(|text| text.parse::<usize>().ok()) else {
        eprintln!("usage: hot_layout CALLS");
        std::process::exit(2);
    };
    warm_up(calls / 10);
    loop_without_pair(black_box(calls));
    loop_with_pair(black_box(calls));
    for _ in 0..calls {
        // SAFETY: the layout's size is not 0.
        let block = black_box(unsafe { std::alloc::alloc(KNOWN) });
        measured_dealloc(block, black_box(KNOWN.size()));
    }
}

#[inline(never)]
fn warm_up(calls: usize) {
    for _ in 0..calls {
        // SAFETY: the layout's size is not 0; allocated here, freed here.
        unsafe {
            let block = black_box(std::alloc::alloc(KNOWN));
            assert!(!block.is_null(), "no memory");
            std::alloc::dealloc(block, KNOWN);
        }
    }
}
