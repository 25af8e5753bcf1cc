//! See the map in `lib.rs`.

#[cfg(not(loom))]
pub(crate) mod cancel;
#[cfg(all(not(loom), test))]
pub(crate) mod child;
#[cfg(not(loom))]
mod handle;
#[allow(dead_code)]
pub(crate) mod id;
#[cfg(not(loom))]
pub(crate) mod join;
#[cfg(not(loom))]
pub(crate) mod local;
#[cfg(not(loom))]
#[allow(dead_code)]
pub(crate) mod name;
#[cfg(not(loom))]
pub(crate) mod overflow;
#[allow(dead_code)]
pub(crate) mod slab;
#[cfg(not(loom))]
#[allow(dead_code, unused_imports)]
pub(crate) mod stack;
pub(crate) mod state;
#[cfg(not(loom))]
pub(crate) mod task;

#[cfg(not(loom))]
pub use handle::{Task, TaskState, park, park_timeout};
pub use id::TaskId;
#[cfg(not(loom))]
pub use local::TaskLocal;
#[cfg(not(loom))]
pub use stack::{StackError, StackSize, StackSizeError};
