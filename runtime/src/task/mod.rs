//! See the map in `lib.rs`.

#[cfg(test)]
mod child;
#[cfg(not(loom))]
#[allow(dead_code, unused_imports)]
pub(crate) mod stack;

#[cfg(not(loom))]
pub use stack::{StackError, StackSize, StackSizeError};
