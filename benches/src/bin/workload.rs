//! The program `workload` without an allocator of its own: the C library's `malloc`, or that of a preloaded library, serves
//! it. See `fairground_benches::workload::program`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fairground_benches::workload::program::main(None)
}
