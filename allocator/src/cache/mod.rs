//! Typed caches: objects of one kind, kept constructed while nobody uses them (the kernel's `kmem_cache`).
//!
//! [`Cache`] is for a Rust type and its constructor, [`RawCache`] for objects of a size and an alignment. Both share what
//! makes them worth having:
//!
//! * **Objects stay constructed.** The constructor runs for each object when memory for it is first obtained, and never again
//!   while that memory stays with the cache. An object that is given back keeps what is in it; nothing is ever written
//!   into a free object. What is costly to make (a buffer, a lock, a stack) is there for the next user.
//! * **One kind a slab.** Objects of a cache lie together and with no others, and the cache has a name under which the
//!   statistics show it.
//! * **Taking and giving back** is a pop and a push on an array of the thread's, without a lock or an atomic operation.
//!
//! ```
//! use fairground_allocator::Cache;
//!
//! let buffers = Cache::new("line-buffers", || Vec::<u8>::with_capacity(4096))?;
//! let mut line = buffers.alloc()?;
//! line.extend_from_slice(b"some text");
//! line.clear(); // how the next user is to find it
//! drop(line);   // back to the cache, with its 4 KiB
//! assert!(buffers.alloc()?.capacity() >= 4096);
//! assert!(buffers.destroy().is_ok());
//! # Ok::<(), fairground_allocator::cache::CacheError>(())
//! ```
//!
//! # Limits
//!
//! Objects have 1 to 32,768 bytes and an alignment of 1 to 4,096. There can be 1,024 caches at a time. Names have 1 to 31 visible
//! ASCII characters; two caches may have the same. Objects come from slabs of 64 KiB, so a cache with a single object
//! occupies one; three slabs without objects in use are kept, others go back. A
//! thread keeps up to 61 objects and 32 KiB of a cache to itself (two of the largest objects), until it ends.
//!
//! # Wrong pointers
//!
//! An object given back twice, a pointer into an object, and an object of another cache are reported on stderr, with the
//! name of the cache, and the process aborted: at the latest when the thread's array is emptied, when the cache is destroyed, or at
//! the end of the process. So is an object of a cache that is given to `free`, `realloc` or `malloc_usable_size`.

mod raw;
mod stats;
mod typed;

pub use crate::kmem::cache::Constructor;
pub use crate::kmem::error::{CacheError, CacheName};
pub use raw::{CacheFlags, RawCache};
pub use stats::CacheStats;
pub(crate) use stats::for_each_typed_cache;
pub use typed::{Cache, Cached};
