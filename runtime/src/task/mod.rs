//! See the map in `lib.rs`.

#[cfg(test)]
mod child;
#[cfg(not(loom))]
#[allow(dead_code, unused_imports)]
pub(crate) mod stack;

#[cfg(not(loom))]
pub(crate) mod cancel;
#[cfg(not(loom))]
mod handle;
#[allow(dead_code)]
pub(crate) mod id;
#[allow(dead_code)]
mod slab;
#[cfg(not(loom))]
pub(crate) mod join;
#[cfg(not(loom))]
pub(crate) mod local;
pub(crate) mod state;
#[cfg(not(loom))]
pub(crate) mod task;

#[cfg(not(loom))]
pub use handle::{Task, TaskState};
#[cfg(not(loom))]
pub use local::TaskLocal;
#[cfg(not(loom))]
pub use stack::{StackError, StackSize, StackSizeError};
pub use id::TaskId;
