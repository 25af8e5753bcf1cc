//! Sleeping, timeouts, and things that come again, for tasks and plain threads.
//!
//! Times are `std::time`'s. A task's wake-up is never early; it is late by as long as the tasks before it in the queue run.

mod sleep;

pub use sleep::{sleep, sleep_until};
pub use std::time::{Duration, Instant};
