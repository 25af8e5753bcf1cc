//! `libfairground.so`: the allocator behind the names that C and C++ programs call.
//!
//! ```text
//!   malloc_api   malloc ... free_aligned_sized, and the __libc_* names: glibc's corners around the core's calls
//!   cxx          the 24 operators new and delete
//!   cxx_slow     new beyond its fast path: new_handler, std::bad_alloc (assembly, a part for each architecture)
//!   tuning       mallopt, malloc_trim
//!   statistics   mallinfo, mallinfo2, malloc_info, malloc_stats
//!   stats_api    the core's tables of statistics: fairground_stats_print
//!   exit         a destructor: the last look at what was freed
//!   extensions   what include/fairground.h declares
//!   caches       of that, the typed caches
//! ```
//!
//! The library is loaded before everything else in a program that knows nothing of it. Four rules follow:
//!
//! * **It needs libc.so.6 and nothing else.** std would bring libgcc_s, and with it pages and start-up time in every
//!   process, and a panic would allocate while the allocator is at fault. With `panic = "abort"`, which is how the
//!   library is built for use, the crate is therefore `no_std`, and a panic is one line on stderr and `abort`. With
//!   unwinding panics, which is what test and lint builds have, the same source is compiled with std.
//! * **An exported name is the function itself.** The core's fast paths are inlined here, so `malloc` is neither a
//!   jump through the PLT nor a thunk. `tests/exports.rs` reads the disassembly.
//! * **No exported name is called from inside.** LLVM knows `malloc` and `free` by name: it would turn a malloc and a
//!   memset into a call of `calloc`, in our own calloc too, and drop pairs it thinks useless. Everything here calls the
//!   core, whose names mean nothing to LLVM.
//! * **Nothing here allocates, and `free` leaves errno alone.** The core sets `ENOMEM` itself whenever it returns null;
//!   this crate sets errno only for errors of the caller (`EINVAL`, and products that overflow).

#![cfg_attr(panic = "abort", no_std)]

mod caches;
mod cxx;
mod cxx_slow;
mod exit;
mod extensions;
mod malloc_api;
#[cfg(panic = "abort")]
mod panic;
mod statistics;
mod stats_api;
mod tuning;

/// The calling thread's errno.
fn errno() -> i32 {
    // SAFETY: `__errno_location` always returns the calling thread's own, live errno.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's errno.
#[cold]
fn set_errno(value: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value }
}
