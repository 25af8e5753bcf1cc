//! The workloads: small programs whose time and memory depend on the allocator.
//!
//! Rules that every one of them follows:
//!
//! * **Fixed work, not fixed time.** A fixed time makes a fast allocator do more work and look fat; with fixed work both
//!   time and memory can be compared.
//! * **Deterministic.** Sizes and orders come from a seed. Where threads race for blocks, only *who* frees a block may
//!   vary, never which blocks exist. Checksums are sums, so the order in which threads finish does not matter.
//! * **Nothing is taken on trust.** Each block carries a pattern that is verified before it is freed (see [`block`]); the
//!   checksum printed is made of what was read back. A wrong word ends the program with [`block::CORRUPTION`].
//! * **Memory is touched**, so that resident memory means something.
//!
//! The ideas come from the suites that the field has used for thirty years; the code is our own.

mod alloc_test;
pub mod block;
mod burst;
mod cache_lines;
mod collections;
mod compiler;
mod containers;
pub mod cost;
mod glibc_loops;
mod grow_tree;
mod json;
mod large;
mod larson;
mod medium;
mod mstress;
mod phased;
mod producer_consumer;
pub mod program;
pub mod random;
mod realloc_growth;
mod rptest;
mod sh6bench;
mod sh8bench;
mod thread_churn;
pub mod usage;
mod vec_growth;
mod web;
mod xmalloc;

use random::Random;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How much work is done, and by how many threads.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Threads that work at the same time. A workload that needs pairs rounds up.
    pub threads: usize,
    /// Multiplies the number of operations; the live set stays the same.
    pub scale: f64,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Load {
    /// `count` operations at scale 1, at least one at any scale.
    fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.scale).round() as usize).max(1)
    }

    /// A generator for one thread; generators of different threads are independent.
    fn random(&self, thread: usize) -> Random {
        Random::new(self.seed.wrapping_add((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Lets every thread do `work` with a generator of its own; returns the sum of the results.
    fn in_threads(&self, work: impl Fn(Random) -> u64 + Sync) -> u64 {
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let random = self.random(thread);
                    scope.spawn(move || work(random))
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a thread panicked")).fold(0, u64::wrapping_add)
        })
    }
}

/// Nanoseconds in which the workload did nothing on purpose.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// Counts the time since `begin` as idle: a phase in which the program waits, as it would under any allocator.
fn was_idle(begin: Instant) {
    IDLE.fetch_add(begin.elapsed().as_nanos() as u64, Relaxed);
}

/// How long the workloads of this process were idle on purpose; no part of the time that is compared.
fn idle_time() -> Duration {
    Duration::from_nanos(IDLE.load(Relaxed))
}

/// By which door the blocks of a workload come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `malloc` and its like, as from a C program: a preloaded library serves them.
    C,
    /// Rust's containers, and so the global allocator: a program linked with an allocator has its blocks from that.
    Rust,
}

/// One entry of the table of workloads.
#[derive(Clone, Copy)]
pub struct Workload {
    /// The name on the command line and in tables.
    pub name: &'static str,
    /// What kind of program it stands for.
    pub stands_for: &'static str,
    /// By which door its blocks come.
    pub kind: Kind,
    /// Does the work and returns the checksum.
    pub run: fn(&Load) -> u64,
}

/// All workloads, in the order of the tables.
pub const ALL: &[Workload] = &[
    c("larson", "a server whose threads inherit each other's objects", larson::run),
    c("xmalloc", "every block freed by a thread that did not allocate it", xmalloc::run),
    c("mstress", "phases of mixed sizes, some blocks outlive their phase", mstress::run),
    c("rptest", "frames of random sizes, half of each freed by the next thread", rptest::run),
    c("sh6bench", "batches of like objects, freed newest or oldest first", sh6bench::run),
    c("sh8bench", "batches of mixed sizes that other threads free", sh8bench::run),
    c("alloc-test-1", "objects of Pareto's sizes in Pareto's order, one thread", alloc_test::run_single),
    c("alloc-test", "objects of Pareto's sizes in Pareto's order", alloc_test::run),
    c("glibc-simple", "many blocks of one size, one thread", glibc_loops::simple),
    c("glibc-thread", "independent threads, each with a small working set", glibc_loops::thread),
    c("burst", "bursts of blocks freed in the order they came", burst::run),
    c("cache-scratch", "passive false sharing of cache lines", cache_lines::scratch),
    c("cache-thrash", "active false sharing of cache lines", cache_lines::thrash),
    c("realloc-growth", "buffers that grow by realloc", realloc_growth::run),
    c("medium", "churn of 1 KiB to 256 KiB", medium::run),
    c("large", "churn of 256 KiB to 8 MiB", large::run),
    c("producer-consumer", "requests allocated here, freed there, one at a time", producer_consumer::run),
    c("thread-churn", "short-lived threads that leave memory behind", thread_churn::run),
    c("phased", "grow, free nine tenths, idle, free all, idle, grow again", phased::run),
    rust("collections", "a Rust program full of strings, maps and vectors", collections::run),
    rust("grow-tree", "a tree that only grows and is dropped as a whole", grow_tree::run),
    rust("json", "JSON parsed, changed and written", json::run),
    rust("vec-growth", "hundreds of vectors that grow in turn", vec_growth::run),
    rust("compiler", "syntax trees of small boxes, and a symbol table", compiler::run),
    rust("web", "web requests, and sessions that threads share", web::run),
];

const fn c(name: &'static str, stands_for: &'static str, run: fn(&Load) -> u64) -> Workload {
    Workload { name, stands_for, kind: Kind::C, run }
}

const fn rust(name: &'static str, stands_for: &'static str, run: fn(&Load) -> u64) -> Workload {
    Workload { name, stands_for, kind: Kind::Rust, run }
}

/// The workload of that name.
pub fn find(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}
