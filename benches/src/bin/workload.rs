//! Runs one workload and prints what it read back and what it cost.
//!
//! The allocator is whatever malloc the dynamic linker found: `LD_PRELOAD=libjemalloc.so.2 workload larson`. Output is one
//! line of `key=value` words, so that a person and `fairground-compare` can both read it (`phased` prints a line more):
//!
//! * `checksum`: made of the contents of the blocks; equal for every correct allocator.
//! * `run_s`: seconds from the start of main to the end of the work; `user_s` and `system_s`: the CPU time up to there;
//!   `minor_faults`: the page faults up to there.
//! * `peak_kib`: the process's own high-water mark of resident memory (`VmHWM`). The parent's `getrusage` is no substitute:
//!   Linux counts the memory of the process that called exec into it.
//! * `after_kib`: resident memory after everything was freed and `--settle-ms` milliseconds of light activity have passed.

use clap::Parser;
use fairground_benches::workload::cost::Cost;
use fairground_benches::workload::{self, Load};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run one allocation workload; LD_PRELOAD decides the allocator.
#[derive(Parser)]
struct Options {
    /// Name of the workload, or `list`.
    name: String,
    /// Threads that work at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Multiplies the amount of work.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Milliseconds of light activity after the work, before the memory that is left is read.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000))]
    settle_ms: u32,
}

fn main() -> ExitCode {
    let begin = Instant::now();
    let options = Options::parse();
    if options.name == "list" {
        for workload in workload::ALL {
            println!("{:18} {}", workload.name, workload.stands_for);
        }
        return ExitCode::SUCCESS;
    }
    let Some(workload) = workload::find(&options.name) else {
        eprintln!("workload: no workload named '{}'; try 'list'", options.name);
        return ExitCode::from(2);
    };
    let load = Load { threads: usize::from(options.threads), scale: options.scale, seed: options.seed };
    let settle = Duration::from_millis(options.settle_ms.into());
    println!("{}", Cost::of(workload, &load, begin, settle));
    ExitCode::SUCCESS
}
