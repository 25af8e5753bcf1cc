//! A limit of time for anything.
//!
//! A closure that waits somewhere cannot be called back, but a task can be cancelled. So the closure runs as a task of its own, which may borrow from the
//! caller, because the caller waits for its end in any case: when the time is over, the task is cancelled and ends at its next suspension point. A task that
//! does not come to one ends when it ends; what it returns then is not thrown away.

use crate::cpu::current_task;
use crate::park::deadline_after;
use crate::runtime::Runtime;
use crate::scope::{Ending, join_or_cancel};
use crate::spawn::Builder;
use std::fmt;
use std::time::{Duration, Instant};

/// Runs `f` as a task and waits for it, at most as long as `limit` says; then the task is [cancelled](crate::task::Task::cancel). A panic of `f` goes on
/// here.
///
/// For a single operation its own timeout is cheaper, where it has one: of a socket, a lock, a channel.
///
/// # Errors
/// The time was over before `f` ended.
///
/// # Panics
/// If `f` does, or there is no memory for a task.
///
/// # Examples
/// ```
/// use fairground_runtime::time::{Duration, sleep, timeout};
///
/// assert_eq!(timeout(Duration::from_secs(60), || 7), Ok(7));
/// assert!(timeout(Duration::from_millis(2), || sleep(Duration::from_secs(60))).is_err());
/// ```
pub fn timeout<F, T>(limit: Duration, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    run_until(deadline_after(limit), f)
}

/// As [`timeout`], until a moment.
///
/// # Errors
/// The time was over before `f` ended.
///
/// # Panics
/// If `f` does, or there is no memory for a task.
pub fn timeout_at<F, T>(deadline: Instant, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    run_until(Some(deadline), f)
}

fn run_until<F, T>(deadline: Option<Instant>, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: `join_or_cancel` does not return or unwind before the task's end.
    let task = unsafe {
        match current_task() {
            Some(task) => Builder::new().spawn_in(task.shared().as_ref(), f),
            None => Builder::new().spawn_in(Runtime::global().shared(), f),
        }
    };
    match join_or_cancel(task.unwrap_or_else(|error| panic!("{error}")), deadline) {
        Ending::Finished(result) => Ok(result),
        Ending::Late => Err(Elapsed(())),
    }
}

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}
