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

pub mod block;
mod cache_lines;
mod collections;
mod large;
mod larson;
mod medium;
mod mstress;
mod producer_consumer;
pub mod program;
pub mod random;
mod realloc_growth;
mod thread_churn;
mod xmalloc;

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
    fn random(&self, thread: usize) -> random::Random {
        random::Random::new(self.seed.wrapping_add((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
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
    Workload {
        name: "larson",
        stands_for: "a server whose threads inherit each other's objects",
        kind: Kind::C,
        run: larson::run,
    },
    Workload {
        name: "xmalloc",
        stands_for: "every block freed by a thread that did not allocate it",
        kind: Kind::C,
        run: xmalloc::run,
    },
    Workload {
        name: "mstress",
        stands_for: "phases of mixed sizes, some blocks outlive their phase",
        kind: Kind::C,
        run: mstress::run,
    },
    Workload {
        name: "cache-scratch",
        stands_for: "passive false sharing of cache lines",
        kind: Kind::C,
        run: cache_lines::scratch,
    },
    Workload {
        name: "cache-thrash",
        stands_for: "active false sharing of cache lines",
        kind: Kind::C,
        run: cache_lines::thrash,
    },
    Workload {
        name: "collections",
        stands_for: "a Rust program full of strings, maps and vectors",
        kind: Kind::Rust,
        run: collections::run,
    },
    Workload {
        name: "realloc-growth",
        stands_for: "buffers that grow by realloc",
        kind: Kind::C,
        run: realloc_growth::run,
    },
    Workload { name: "medium", stands_for: "churn of 1 KiB to 256 KiB", kind: Kind::C, run: medium::run },
    Workload { name: "large", stands_for: "churn of 256 KiB to 8 MiB", kind: Kind::C, run: large::run },
    Workload {
        name: "producer-consumer",
        stands_for: "requests allocated here, freed there, one at a time",
        kind: Kind::C,
        run: producer_consumer::run,
    },
    Workload {
        name: "thread-churn",
        stands_for: "short-lived threads that leave memory behind",
        kind: Kind::C,
        run: thread_churn::run,
    },
];

/// The workload of that name.
pub fn find(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}
