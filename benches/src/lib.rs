//! What the benches of Fairground share.
//!
//! * [`workload`]: programs in the small, each with a fixed amount of work and a checksum. The binary `workload` runs one
//!   of them; which allocator serves it is decided from outside, by `LD_PRELOAD`.
//! * [`compare`]: runs workloads, real programs and `/bin/true` under each allocator in turn and reports the ratios. The
//!   binary is `fairground-compare`; it has `measure` run what cannot tell its own memory.
//! * [`runtimes`]: runs rows of work under each green-thread runtime in turn, by the same method. The binary is
//!   `fairground-bench-runtime`; the programs that it runs are built apart, in `benches/runtimes`.
//! * [`instruction_counts`]: how many instructions the hot calls take, and how many they may take.
//!
//! No binary here sets a `#[global_allocator]` unless its name says so: Rust's `System` allocator calls the C library's
//! `malloc`, so a preloaded library serves the containers of the Rust programs too.

pub mod compare;
pub mod instruction_counts;
pub mod runtimes;
pub mod workload;
