//! The shim between the allocator and its atomics.
//!
//! Everything that takes part in a lock-free protocol imports its atomics from here, so that the `loom` model checker runs
//! the very code that ships. Under `--cfg loom` only the modelled modules are compiled (see `lib.rs`): loom's atomics can
//! be neither constants nor laid over zeroed memory, which the rest of the allocator relies on.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(not(loom))]
pub(crate) use core::cell::Cell;
#[cfg(loom)]
pub(crate) use loom::cell::Cell;

pub(crate) use core::sync::atomic::Ordering;
