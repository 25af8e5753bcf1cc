//! Looking in: what tasks and cpus are doing, as tables like those of the kernel's tools.

mod ps;

pub use ps::{CpuRow, Ps, TaskRow};
