//! The program `workload` with Fairground as its `#[global_allocator]`, as a Rust program uses it. See
//! `fairground_benches::workload::program`; the peers' are in `benches/peers`.

use std::process::ExitCode;

#[global_allocator]
static FAIRGROUND: fairground_allocator::Fairground = fairground_allocator::Fairground;

fn main() -> ExitCode {
    fairground_benches::workload::program::main(Some("fairground"))
}
