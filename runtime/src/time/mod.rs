//! Sleeping, timeouts, and things that come again, for tasks and plain threads.
//!
//! Times are `std::time`'s. A wake-up is never early; it is late by as long as the tasks before it in the queue run.

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTicks, NoPeriod, interval, interval_at};
pub use sleep::{sleep, sleep_until};
pub use std::time::{Duration, Instant};
pub use timeout::{Elapsed, timeout, timeout_at};
