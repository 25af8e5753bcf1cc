//! See the map in `lib.rs`.

#[cfg(all(not(loom), test))]
mod child;
#[allow(dead_code, unused_imports)]
pub(crate) mod id;
#[cfg(not(loom))]
#[allow(dead_code)]
pub(crate) mod overflow;
#[allow(dead_code)]
pub(crate) mod slab;
#[cfg(not(loom))]
#[allow(dead_code, unused_imports)]
pub(crate) mod stack;

pub use id::TaskId;
#[cfg(not(loom))]
pub use stack::{StackError, StackSize, StackSizeError};
