//! The operating system, as thin as it can be: mappings and futexes, by raw system calls.
//!
//! Raw calls, because libc's wrappers write `errno`, which `free` must leave alone. The whole allocator uses only
//! `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `futex` and `write` after its first allocation.

#[cfg(not(loom))]
pub(crate) mod clock;
#[cfg(not(loom))]
pub(crate) mod environment;
pub(crate) mod futex;
#[cfg(not(loom))]
pub(crate) mod huge;
#[cfg(not(loom))]
pub(crate) mod map;
#[cfg(not(loom))]
pub(crate) mod stderr;
