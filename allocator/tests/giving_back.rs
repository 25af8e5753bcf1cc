//! Giving memory back touches nothing that is in use, whatever the page size (`make test-page-sizes`): blocks beside what was
//! given back keep their contents, and what is allocated there again reads as zeroes where that is promised.

use fairground_allocator::malloc::{calloc, free, malloc, memalign, realloc, trim};
use std::sync::Mutex;

/// The tests run one at a time, for one measures the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A block and the byte it is filled with.
struct Filled {
    start: *mut u8,
    size: usize,
    byte: u8,
}

impl Filled {
    fn new(start: *mut u8, size: usize, byte: u8) -> Filled {
        assert!(!start.is_null());
        // SAFETY: a new block of this size.
        unsafe { start.write_bytes(byte, size) };
        Filled { start, size, byte }
    }

    fn check(&self) {
        // SAFETY: a block in use.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, self.size) };
        let wrong = bytes.iter().position(|&byte| byte != self.byte);
        assert_eq!(wrong, None, "a block of {} bytes at {:p} lost its contents", self.size, self.start);
    }

    fn free(self) {
        self.check();
        // SAFETY: in use until here.
        unsafe { free(self.start) };
    }
}

/// Sizes around the pages of all kernels, from slabs, bins, runs and extents.
const SIZES: [usize; 14] = [
    48,
    1000,
    8192,
    8448,
    12_288,
    20_480,
    65_536,
    69_632,
    100_000,
    262_144,
    262_145,
    300_000,
    (1 << 20) + 4096,
    (5 << 20) + 4096,
];

/// xorshift64: the same sequence in every run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

#[test]
fn blocks_beside_memory_that_was_given_back_keep_their_contents() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut random = 4_101_842_887_655_102_017;
    let mut blocks: Vec<Filled> = Vec::new();
    for round in 0..12 {
        for _ in 0..120 {
            let size = SIZES[next(&mut random) % SIZES.len()] + next(&mut random) % 3 * 4096;
            let byte = next(&mut random) as u8 | 1;
            let align = [16, 16, 4096, 65_536][next(&mut random) % 4];
            blocks.push(Filled::new(memalign(align, size), size, byte));
        }
        // Runs and chunks shrink where they are, so that what lies free does not begin at a large page's start.
        for _ in 0..10 {
            let mut block = blocks.swap_remove(next(&mut random) % blocks.len());
            if !block.start.addr().is_multiple_of(65_536) {
                let size = block.size - block.size / 3;
                // SAFETY: in use; the old address is forgotten.
                block.start = unsafe { realloc(block.start, size) };
                block.size = size;
            }
            blocks.push(block);
        }
        for _ in 0..if round % 4 == 3 { blocks.len() } else { 90 } {
            blocks.swap_remove(next(&mut random) % blocks.len()).free();
        }
        trim(0);
        blocks.iter().for_each(Filled::check);
        for size in SIZES {
            let zeroed = calloc(1, size);
            // SAFETY: a new block of this size, freed once.
            unsafe {
                assert!(
                    std::slice::from_raw_parts(zeroed, size).iter().all(|&byte| byte == 0),
                    "calloc of {size} bytes"
                );
                zeroed.write_bytes(0xff, size);
                free(zeroed);
            }
        }
    }
    blocks.into_iter().for_each(Filled::free);
}

/// What is free and fills whole pages of the kernel's goes back: resident memory shows it.
#[test]
fn large_blocks_that_were_freed_are_not_resident_after_a_trim() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
        let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number of pages");
        // SAFETY: asks for a constant.
        pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
    };
    let blocks: Vec<_> = (0..200).map(|_| Filled::new(malloc(1 << 20), 1 << 20, 5)).collect();
    let full = resident();
    blocks.into_iter().for_each(Filled::free);
    trim(0);
    let left = resident();
    assert!(left + (150 << 20) < full, "{full} bytes resident with 200 MiB in use, {left} after they were freed");
}
