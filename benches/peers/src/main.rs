//! The program `workload` with one of the peers as its `#[global_allocator]`. Features choose: exactly one of those that are
//! named in the table below. `build.sh` builds it once for each.
//!
//! Taken are the general allocators of crates.io that build with a stable compiler and serve all threads of a process: those
//! written in C or C++ by the crate that their users take, as it is by default, and those written in Rust
//! that keep a cache for each thread. **Left out**, and why:
//!
//! * `ferroc`: needs a nightly compiler.
//! * `dlmalloc`, `talc`, `rlsf`, `buddy_system_allocator`, `frusa`: one heap behind one lock, made for WebAssembly, embedded
//!   systems and kernels. Comparing them with threads says nothing about them.
//! * `scudo`: the crate carries sources of 2021, and it trades speed for detection of misuse, as no other here does.
//!
//! The workloads are compiled in from their sources and not linked as the package `fairground-benches`: a change of the
//! report would otherwise rebuild every one of these programs, and that package's dependencies would be theirs. The
//! comparison uses more of these modules than the programs do, hence the permission of dead code.

#[allow(dead_code)]
#[path = "../../src/workload/mod.rs"]
mod workload;

use std::process::ExitCode;

macro_rules! peers {
    ($($feature:tt: $type:ty = $value:expr;)*) => {
        $(
            #[cfg(feature = $feature)]
            #[global_allocator]
            static PEER: $type = $value;

            #[cfg(feature = $feature)]
            const NAME: &str = $feature;
        )*
    };
}

peers! {
    "jemalloc": tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
    "mimalloc2": mimalloc::MiMalloc = mimalloc::MiMalloc;
    "mimalloc3": mimalloc::MiMalloc = mimalloc::MiMalloc;
    "numalloc": numalloc::NumaAlloc = numalloc::NumaAlloc::new();
    "rpmalloc": rpmalloc::RpMalloc = rpmalloc::RpMalloc;
    "rusty_alloc": rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;
    "sefer-alloc": sefer_alloc::SeferAlloc = sefer_alloc::SeferAlloc::new();
    "snmalloc": snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;
    "stoolap-jemalloc": stoolap_jemalloc::Jemalloc = stoolap_jemalloc::Jemalloc::new();
}

fn main() -> ExitCode {
    workload::program::main(Some(NAME))
}
