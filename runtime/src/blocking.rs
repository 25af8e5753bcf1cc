//! Calls that block, on kernel threads of their own: the caller parks, and its core runs other tasks.
//!
//! # The pool
//!
//! One for the process. A thread is made when a job comes and no thread is idle, up to [`THREADS_MAX`]; beyond, jobs queue. An idle thread ends after
//! [`IDLE`]. Where the system refuses the first thread, the caller runs the job itself and blocks its core: slower, but right.
//!
//! A mutex guards the queue and the counts. Jobs are run without it.
//!
//! # A job
//!
//! The result is in a slot that both sides hold. The helper fills it, sets `done` (release), and unparks the caller, who looks at `done` (acquire)
//! in a loop. A cancelled caller unwinds and leaves the slot to the helper.

use crate::atomic::{AtomicBool, Ordering};
use crate::park::{Unparker, park};
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most helper threads: as tokio's. Jobs wait for disks and name servers, not for processors; each costs a kernel thread's stack.
const THREADS_MAX: usize = 512;

/// How long an idle thread waits for a job before it ends: long enough for the next burst, short enough to be gone when all is quiet.
const IDLE: Duration = Duration::from_secs(10);

/// Runs `f` on a helper thread and waits for it, so that the core runs other tasks while `f` blocks. In a plain thread it just calls `f`.
///
/// If the task is cancelled, `f` goes on, and what it returns is dropped.
///
/// # Panics
/// If `f` does.
///
/// # Examples
/// ```
/// use fairground_runtime::unblock;
///
/// let text = unblock(|| std::fs::read_to_string("Cargo.toml"))?;
/// assert!(text.contains("[package]"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unblock<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if crate::cpu::current_task().is_none() {
        return f();
    }
    let slot = Arc::new(Slot { done: AtomicBool::new(false), result: Mutex::new(None), caller: Unparker::current() });
    let theirs = Arc::clone(&slot);
    submit(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        *lock(&theirs.result) = Some(result);
        theirs.done.store(true, Ordering::Release);
        theirs.caller.unpark();
    }));
    while !slot.done.load(Ordering::Acquire) {
        park(None);
    }
    let result = lock(&slot.result).take();
    match result.expect("a job that is done has left its result") {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

struct Slot<T> {
    done: AtomicBool,
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
    caller: Unparker,
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { jobs: VecDeque::new(), threads: 0, idle: 0 });
static WORK: Condvar = Condvar::new();

/// Nothing panics under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn submit(job: Job) {
    let mut pool = lock(&POOL);
    pool.jobs.push_back(job);
    // An idle thread that was notified counts as idle until it has its job.
    if pool.idle >= pool.jobs.len() {
        WORK.notify_one();
        return;
    }
    if pool.threads == THREADS_MAX {
        return;
    }
    pool.threads += 1;
    drop(pool);
    if std::thread::Builder::new().name("fairground-helper".into()).spawn(help).is_err() {
        let mut pool = lock(&POOL);
        pool.threads -= 1;
        // Others will come to it, if there are any.
        let job = if pool.threads == 0 { pool.jobs.pop_front() } else { None };
        drop(pool);
        if let Some(job) = job {
            job();
        }
    }
}

/// A helper thread's life.
fn help() {
    let mut pool = lock(&POOL);
    loop {
        if let Some(job) = pool.jobs.pop_front() {
            drop(pool);
            job();
            pool = lock(&POOL);
            continue;
        }
        pool.idle += 1;
        let (woken, timeout) = WORK.wait_timeout(pool, IDLE).unwrap_or_else(PoisonError::into_inner);
        pool = woken;
        pool.idle -= 1;
        if timeout.timed_out() && pool.jobs.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}
