//! The allocators of the micro benches, all in one process.
//!
//! Each is a value of its own type, so a bench that takes `A: GlobalAlloc` is compiled for each and calls it directly, as a
//! program does that has it for its global allocator. The process's own global allocator stays the system's for all. jemalloc
//! and mimalloc come from their crates, built here with their own symbol names, so that none takes over malloc.

/// Calls `$bench(name, &allocator, ...)` for each allocator. One line adds a peer.
macro_rules! with_each_peer {
    ($bench:expr $(, $argument:expr)*) => {
        $bench("fairground", &fairground_allocator::Fairground $(, $argument)*);
        $bench("system", &std::alloc::System $(, $argument)*);
        $bench("jemalloc", &tikv_jemallocator::Jemalloc $(, $argument)*);
        $bench("mimalloc", &mimalloc::MiMalloc $(, $argument)*);
    };
}

pub(crate) use with_each_peer;
