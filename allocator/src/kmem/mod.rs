//! Typed caches: objects of one kind from slabs of their own (the kernel's `kmem_cache`).
//!
//! A cache is for objects that are made often and are costly to make, or that someone wants to find again by kind: it has a
//! name, a size, an alignment, and perhaps a constructor. The constructor runs once for each object when a slab is made; an
//! object that comes back keeps what its last user left in it, and nothing of ours is ever written into a free one. So the
//! next user finds locks initialised, buffers allocated, lists empty. The slabs are those of the size classes
//! (`slab/slab.rs`): 64 KiB, a bitmap out of line, the same states. Their granule byte is [`granule::CACHE`], and the number of
//! the cache is in the third word of the slab's head.
//!
//! ```text
//! alloc ── the thread's sheaf of this cache ── pop              sheaf.rs; the steps between it and the slabs
//!             │ empty                                           are in ../heap_sheaves.rs
//!             └─ current slab ─ a partial one ─ a new one ── the constructor, for every object of the slab
//! free  ── the thread's sheaf of this cache ── push
//!             │ full
//!             └─ its older half to the bitmaps ── a slab that is empty, beyond three ── the destructor ── zone
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `geometry.rs` | where objects lie in a slab: stride, colour |
//! | `error.rs` | what can be wrong, in words; names |
//! | `cache.rs` | one cache: its slabs, its counts, what it reports |
//! | `table.rs` | all caches by number; those the allocator itself uses |
//! | `sheaf.rs` | a thread's sheaves, and who may touch them when a cache goes |
//!
//! # When the program's code runs
//!
//! Constructors run when a slab is made, so in an alloc; destructors (typed caches in Rust have them) when an empty slab goes,
//! in alloc, free, shrink or destroy *of this cache*. No lock is held then, and no step is half done that such code could
//! come across: it may allocate, and use other caches. Where something else makes a slab empty (the thread ends, memory is
//! trimmed, another cache takes the sheaf's place, a child of fork buries its parent's threads), a slab whose objects have
//! a destructor waits on the list for the next alloc or shrink: user code in those places would meet locks and thread-local
//! data in states it does not expect.
//!
//! # The end of a cache
//!
//! Nobody may use the cache any more. The destroyer empties every thread's sheaf of it (`sheaf.rs` says why that is safe
//! while threads end), then releases the empty slabs. If objects are out, the count of those taken from slabs says how many,
//! and the cache stays as usable as before. Else the number is withdrawn from the table and the descriptor goes back to the
//! cache it comes from.
//!
//! # Locks
//!
//! The table of caches, then the heap registry, then the heaps' sheaf locks, then the caches' lists with those of the size
//! classes, by number. Descriptors are constant but for counters, and looked at without a lock.
//!
//! # Rejected
//!
//! *One list with the size classes* (Linux merges caches of like size): objects of another kind in the same slab would lose
//! the constructed state, and a name in a table would say nothing. *Validating in every free*: a wrong pointer is noticed when
//! its sheaf is flushed, as with `free`, and at the latest when the cache is destroyed. *Constructing at first hand-out*
//! costs a second bitmap, and a test in each refill.
//!
//! [`granule::CACHE`]: crate::memblock::granule::CACHE

#[cfg(not(loom))]
pub(crate) mod cache;
#[cfg(not(loom))]
pub(crate) mod error;
#[cfg(not(loom))]
pub(crate) mod geometry;
pub(crate) mod sheaf;
#[cfg(not(loom))]
pub(crate) mod table;
