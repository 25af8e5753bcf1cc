//! A soak: phases of other sizes and other numbers of threads, again and again, beside blocks that stay for long. Memory
//! must not grow from cycle to cycle.
//!
//! What would: blocks that get lost between threads, pieces too small for the next phase's sizes, tables that only grow.
//! Each cycle ends with all blocks of its phases freed, a tenth of the lasting ones replaced, and free pages given back, so
//! that what is resident then is what is in use, and what lies between.
//!
//! A program without a harness, and only started by name (`--test soak`): it lasts as long as `FAIRGROUND_SOAK_SECONDS`
//! says (20 unless told), at least three cycles, and prints a line for each.

#[path = "support/blocks.rs"]
mod blocks;

use blocks::{Blocks, Random};
use fairground_allocator::malloc::{check_at_exit, free, malloc, totals, trim};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Cycles that are run however short the time: the second is the measure, for the first builds tables and caches.
const LEAST_CYCLES: usize = 3;

/// Times the phases run in a cycle: the tables of free memory are touched bit by bit, and most of that is then in the measure.
const PASSES: u64 = 3;

/// Bytes that may be resident when this many were after the second cycle.
fn allowed(second: usize) -> usize {
    second + second / 10 + (2 << 20)
}

/// A phase: so many threads, each with at most so many blocks of at most that size, for so many steps.
struct Phase {
    name: &'static str,
    threads: usize,
    most: usize,
    largest: usize,
    steps: usize,
}

/// Few threads and many, small blocks and large, so that each phase finds the memory of one that used it otherwise.
const PHASES: [Phase; 5] = [
    Phase { name: "small", threads: 2, most: 3_000, largest: 1_000, steps: 40_000 },
    Phase { name: "medium", threads: 8, most: 100, largest: 262_144, steps: 2_000 },
    Phase { name: "all", threads: 3, most: 60, largest: 33 << 20, steps: 500 },
    Phase { name: "many threads", threads: 24, most: 200, largest: 20_000, steps: 1_500 },
    Phase { name: "large", threads: 1, most: 20, largest: 10 << 20, steps: 500 },
];

impl Phase {
    /// Every thread works, then frees what another of them left.
    fn run(&self, seed: u64) {
        let (to, from) = channel::<Blocks>();
        std::thread::scope(|scope| {
            for me in 0..self.threads as u64 {
                let to = to.clone();
                scope.spawn(move || {
                    let mut blocks = Blocks::new(seed * 1_000 + me * 2, self.most, self.largest);
                    (0..self.steps).for_each(|_| blocks.step());
                    assert_eq!(blocks.refused, 0, "requests refused: {}", self.name);
                    to.send(blocks).expect("the phase listens");
                });
            }
            for mut blocks in from.iter().take(self.threads) {
                scope.spawn(move || blocks.free_all());
            }
        });
    }
}

/// Blocks that stay over many cycles, as a server's caches do; written to the last byte, so that all of them is resident.
struct Lasting(Vec<*mut u8>);

impl Lasting {
    const COUNT: usize = 6_000;

    fn size(n: usize) -> usize {
        if n.is_multiple_of(100) { 50_000 + n * 7 } else { 16 + n * 13 % 2_000 }
    }

    fn new() -> Lasting {
        Lasting((0..Lasting::COUNT).map(Lasting::block).collect())
    }

    fn block(n: usize) -> *mut u8 {
        let block = malloc(Lasting::size(n));
        assert!(!block.is_null());
        // SAFETY: a new block of this size.
        unsafe { block.write_bytes(n as u8, Lasting::size(n)) };
        block
    }

    fn free(n: usize, block: *mut u8) {
        // SAFETY: ours, of this size; freed once.
        unsafe {
            let bytes = std::slice::from_raw_parts(block, Lasting::size(n));
            assert!(bytes.iter().all(|&byte| byte == n as u8), "somebody wrote into lasting block {n}");
            free(block);
        }
    }

    fn replace_a_tenth(&mut self, random: &mut Random) {
        for _ in 0..Lasting::COUNT / 10 {
            let n = random.below(Lasting::COUNT);
            Lasting::free(n, self.0[n]);
            self.0[n] = Lasting::block(n);
        }
    }

    fn free_all(self) {
        self.0.into_iter().enumerate().for_each(|(n, block)| Lasting::free(n, block));
    }
}

/// Bytes of this process that occupy pages.
fn resident() -> usize {
    // A sanitizer's own memory (shadows of all that was ever used, blocks of std's that wait in quarantine) counts as resident, and grows.
    if std::env::var_os("FAIRGROUND_SANITIZER").is_some() {
        return totals().mapped;
    }
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<usize>().ok()).expect("a number of pages");
    // SAFETY: asks the system for a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

fn main() -> ExitCode {
    let seconds = match std::env::var("FAIRGROUND_SOAK_SECONDS") {
        Ok(text) => text.parse().expect("FAIRGROUND_SOAK_SECONDS must be a number of seconds"),
        Err(_) => 20,
    };
    // The system's allocator serves std here; its arenas, one for each thread, are not to be measured.
    // SAFETY: no other thread yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    let start = Instant::now();
    let mut random = Random(7);
    let mut lasting = Lasting::new();
    let mut after = Vec::new();
    while after.len() < LEAST_CYCLES || start.elapsed() < Duration::from_secs(seconds) {
        for pass in 0..PASSES {
            let seed = (after.len() as u64 * PASSES + pass) * 10;
            PHASES.iter().zip(1..).for_each(|(phase, n)| phase.run(seed + n));
        }
        lasting.replace_a_tenth(&mut random);
        trim(0);
        after.push(resident());
        let (cycle, now, all) = (after.len(), resident() >> 10, totals());
        let (used, mapped) = (all.in_use >> 10, all.mapped >> 10);
        let time = start.elapsed().as_secs();
        println!("{time} s, cycle {cycle}: {now} KiB resident, {used} KiB in use, {mapped} KiB mapped");
    }
    lasting.free_all();
    check_at_exit();
    let (second, last) = (after[1], after[after.len() - 1]);
    let (second_kib, last_kib, allowed_kib) = (second >> 10, last >> 10, allowed(second) >> 10);
    println!(
        "{} cycles: {second_kib} KiB after the second, {last_kib} KiB at the end, {allowed_kib} allowed",
        after.len()
    );
    if last <= allowed(second) && totals().huge_count == 0 {
        return ExitCode::SUCCESS;
    }
    println!("Memory grew, or large blocks are left though all is freed: {:?}", totals());
    ExitCode::FAILURE
}
