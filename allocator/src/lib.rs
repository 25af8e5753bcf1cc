//! **Fairground's allocator**: memory on the kernel's own ideas.
//!
//! ```
//! use fairground_allocator::Fairground;
//!
//! #[global_allocator]
//! static GLOBAL: Fairground = Fairground;
//!
//! let words: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
//! assert_eq!(words.concat().len(), 2890);
//! ```
//!
//! # The map
//!
//! A request goes down, a block comes up; nothing calls upward.
//!
//! | module | what it is | kernel's name |
//! |---|---|---|
//! | [`malloc`] | the entry points; the hot path begins and ends here | `kmalloc` |
//! | `watch` | what some users want to happen at every call | |
//! | `hardened` | overflows, use after free and double frees, looked for at every call, for those who want it | |
//! | [`profile`] | which code allocates how much, from samples | |
//! | `block` | which engine serves a request; what an address is | |
//! | `thread`, `registry` | a thread's heap from its first allocation to its end; all heaps | |
//! | `thread_heap`, `heap` | a heap's sheaves: how they are filled and emptied; the part the hot paths touch | per-CPU sheaves |
//! | [`cache`] | typed caches: objects of one kind, kept constructed | `kmem_cache` |
//! | `heap_sheaves`, `kmem` | a heap's sheaves of typed caches; the caches and their slabs | `mm/slub.c` |
//! | `direct`, `check` | slabs and bins without a cache in between; the check at exit | |
//! | `slab` | size classes, slabs with bitmaps | `mm/slub.c` |
//! | `bins` | medium blocks: boundary tags, small, large and unsorted bins, top | (ptmalloc) |
//! | `extent` | blocks above 4 MiB, a mapping each | `vmalloc` |
//! | `zone` | the buddy system, zones, nodes | `mm/page_alloc.c` |
//! | `page` | the page map: a descriptor a page | `struct page` |
//! | `memblock` | address space, and the tables that describe it | `memblock` |
//! | `os`, `arch` | system calls; what differs between processors | |
//! | [`config`] | `key:value,key:value`, read at the first allocation | |
//! | `reclaim`, `decay`, `pressure` | free memory back in time: when and by whom; how much; whether any may be idle | `mm/vmscan.c` |
//! | [`stats`] | tables as the kernel has them, as text and JSON; at exit and on a signal | `/proc/*info` |
//! | `trim`, `totals` | free memory back on request; totals | |
//! | `fork`, `lock`, `report`, `text` | fork handlers; the lock and the lock order; errors on stderr, and text in general | |
//! | [`preempt`] | who preempts its own work is told when not to | `preempt_disable` |
//!
//! There is no `std` in here: its thread-locals, locks, panics and formatting allocate, and would come back to us.

#![cfg_attr(not(any(test, loom)), no_std)]
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(loom))]
mod arch;
#[cfg(not(loom))]
mod background;
#[cfg(not(loom))]
mod bins;
#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
pub mod cache;
#[cfg(not(loom))]
mod check;
#[cfg(not(loom))]
pub mod config;
mod decay;
#[cfg(not(loom))]
mod direct;
#[cfg(not(loom))]
mod exit;
#[cfg(not(loom))]
mod extent;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod hardened;
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
mod heap_sheaves;
mod kmem;
mod lock;
#[cfg(not(loom))]
pub mod malloc;
#[cfg(not(loom))]
mod memblock;
#[cfg(all(test, loom))]
mod models;
mod os;
#[cfg(not(loom))]
mod page;
pub mod preempt;
#[cfg(not(loom))]
mod pressure;
#[cfg(not(loom))]
pub mod profile;
#[cfg(not(loom))]
mod reclaim;
#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod report;
#[cfg(all(not(loom), any(feature = "valgrind", feature = "asan")))]
mod shadow;
mod slab;
#[cfg(not(loom))]
pub mod stats;
mod sync;
#[cfg(not(loom))]
mod text;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod thread_heap;
#[cfg(not(loom))]
mod totals;
#[cfg(not(loom))]
mod trim;
#[cfg(not(loom))]
mod watch;
#[cfg(not(loom))]
mod zone;

/// How many cases a property test tries; `PROPTEST_CASES` sets another number, for longer runs.
#[cfg(all(test, not(loom)))]
fn test_cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

#[cfg(not(loom))]
pub use os::map::os_page_size as page_size;

#[cfg(not(loom))]
mod global {
    use crate::malloc;
    use core::alloc::{GlobalAlloc, Layout};

    /// The allocator, as Rust's global allocator. A unit: there is one heap a process.
    ///
    /// Sizes come with every call, so `dealloc` reads no metadata; with a size the compiler knows, both ways are a handful
    /// of instructions in place.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Fairground;

    // SAFETY: blocks are disjoint, at least as large as asked for, aligned by `class_for`, and stay until freed; nothing
    // here unwinds.
    unsafe impl GlobalAlloc for Fairground {
        #[inline(always)]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            malloc::alloc(layout.align(), layout.size())
        }

        #[inline(always)]
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: by the caller, a block of this layout.
            unsafe { malloc::dealloc(block, layout.align(), layout.size()) }
        }

        #[inline]
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            malloc::zalloc(layout.align(), layout.size())
        }

        #[inline]
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // SAFETY: by the caller, a block of this layout.
            unsafe { malloc::realloc_layout(block, layout.align(), layout.size(), new_size) }
        }
    }
}

#[cfg(not(loom))]
pub use cache::{Cache, Cached, RawCache};
#[cfg(not(loom))]
pub use global::Fairground;
/// For the C library, which prints as the core does.
#[cfg(not(loom))]
#[doc(hidden)]
pub use {report::line as report_line, text::Text};
