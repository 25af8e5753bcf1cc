//! The program `workload`: runs one workload and prints what it read back and what it cost.
//!
//! It exists once for each allocator that a Rust program can be linked with, and the main function is the same for all:
//! their binaries only name the `#[global_allocator]`. The one named `workload` has none, so its allocator is whatever
//! `malloc` the dynamic linker found: `LD_PRELOAD=libjemalloc.so.2 workload larson`. Output is one line of `key=value` words,
//! so that a person and `fairground-compare` can both read it (`phased` prints a line more):
//!
//! * `allocator`: whose blocks these were. The name of the allocator that the program is linked with, or the file whose
//!   `malloc` is called: a preload that did not take place would otherwise pass for a peer as fast as glibc.
//! * `checksum`: made of the contents of the blocks; equal for every correct allocator.
//! * `run_s`: seconds from the start of main to the end of the work; `user_s` and `system_s`: the CPU time up to there;
//!   `minor_faults`: the page faults up to there.
//! * `peak_kib`: the process's own high-water mark of resident memory (`VmHWM`). The parent's `getrusage` is no substitute:
//!   Linux counts the memory of the process that called exec into it.
//! * `after_kib`: resident memory after everything was freed and `--settle-ms` milliseconds of light activity have passed.

use super::cost::Cost;
use super::{Kind, Load};
use clap::Parser;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run one allocation workload; unless the program is linked with an allocator, LD_PRELOAD decides which serves it.
#[derive(Parser)]
#[command(name = "workload")]
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

/// The main function; `linked` is the name of the program's `#[global_allocator]`, if it has one.
pub fn main(linked: Option<&str>) -> ExitCode {
    let begin = Instant::now();
    let options = Options::parse();
    if options.name == "list" {
        for workload in super::ALL {
            println!("{:18} {}", workload.name, workload.stands_for);
        }
        return ExitCode::SUCCESS;
    }
    let Some(workload) = super::find(&options.name) else {
        eprintln!("workload: no workload named '{}'; try 'list'", options.name);
        return ExitCode::from(2);
    };
    let allocator = match linked {
        Some(name) if workload.kind == Kind::Rust => name.to_owned(),
        _ => file_of_malloc(),
    };
    let load = Load { threads: usize::from(options.threads), scale: options.scale, seed: options.seed };
    let settle = Duration::from_millis(options.settle_ms.into());
    println!("allocator={allocator} {}", Cost::of(workload, &load, begin, settle));
    ExitCode::SUCCESS
}

/// Name of the file, without its folder, whose `malloc` this program calls.
fn file_of_malloc() -> String {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `found` is writable, and any address may be asked for.
    let result = unsafe { libc::dladdr(libc::malloc as *const libc::c_void, found.as_mut_ptr()) };
    // SAFETY: all zeroes is a valid value, and dladdr has written no other.
    let name = unsafe { found.assume_init() }.dli_fname;
    if result == 0 || name.is_null() {
        return "unknown".into();
    }
    // SAFETY: dladdr succeeded, so this is the name of a loaded file, which stays loaded.
    let path = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    path.rsplit('/').next().unwrap_or(&path).to_owned()
}
