//! Slab caches: objects of one size from 64 KiB blocks with a bitmap (Linux `mm/slub.c`).
//!
//! `size_class.rs` says which sizes there are, `slab.rs` is one block and its states, `cache.rs` the slabs of one class on
//! one node.

pub(crate) mod cache;
#[cfg(not(loom))]
pub(crate) mod size_class;
pub(crate) mod slab;
