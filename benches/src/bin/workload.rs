//! Runs one workload and prints what it read back and what it cost.
//!
//! The allocator is whatever malloc the dynamic linker found: `LD_PRELOAD=libjemalloc.so.2 workload larson`. Output is one
//! line of `key=value` words, so that a person and `fairground-compare` can both read it:
//!
//! * `checksum`: made of the contents of the blocks; equal for every correct allocator.
//! * `peak_kib`: the process's own high-water mark of resident memory (`VmHWM`). The parent's `getrusage` is no substitute:
//!   Linux counts the memory of the process that called exec into it.
//! * `after_kib`: resident memory after everything was freed.

use clap::Parser;
use fairground_benches::workload::{self, Load};
use std::process::ExitCode;

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
}

fn main() -> ExitCode {
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
    let checksum = (workload.run)(&load);
    let (now, peak) = resident_kib().unwrap_or((0, 0));
    println!("checksum={checksum:016x} peak_kib={peak} after_kib={now}");
    ExitCode::SUCCESS
}

/// Resident memory now and at its highest, in KiB.
fn resident_kib() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}
