//! Waiting for a time.

use crate::cpu::current_task;
use crate::park::park;
use std::time::{Duration, Instant};

/// Waits for at least this long. In a plain thread as [`std::thread::sleep`].
///
/// # Examples
/// ```
/// use fairground_runtime::time::{Duration, Instant, sleep};
///
/// let before = Instant::now();
/// sleep(Duration::from_millis(2));
/// assert!(before.elapsed() >= Duration::from_millis(2));
/// ```
pub fn sleep(duration: Duration) {
    if current_task().is_none() {
        // Not by parking: that would use up what others unpark the thread for.
        return std::thread::sleep(duration);
    }
    match Instant::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        // Beyond all clocks.
        None => loop {
            park(None);
        },
    }
}

/// Waits until this time; not at all if it is over.
pub fn sleep_until(deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if current_task().is_none() {
            std::thread::sleep(left);
        } else {
            park(Some(deadline));
        }
    }
}
