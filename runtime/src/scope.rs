//! Tasks that borrow: `scope` does not return before all of them have ended, as `std::thread::scope`.

use crate::atomic::{Arc, AtomicBool, AtomicUsize, Ordering};
use crate::cpu;
use crate::error::SpawnError;
use crate::park::{Unparker, park};
use crate::runtime::Runtime;
use crate::spawn::Builder;
use crate::task::Task;
use crate::task::cancel::{Cancelled, shielded};
use crate::task::join::{JoinError, JoinHandle};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::time::Instant;

/// Waits for a task that borrows from the caller's stack, also while the caller unwinds because it is cancelled; then the task is too.
pub(crate) fn join_whatever_happens<T>(handle: JoinHandle<T>) -> T {
    match join_or_cancel(handle, None) {
        Ending::Finished(result) => result,
        Ending::Late => unreachable!("there is no deadline"),
    }
}

/// How a task with a deadline ended.
pub(crate) enum Ending<T> {
    Finished(T),
    /// It was cancelled when the time was over.
    Late,
}

/// As [`join_whatever_happens`], but the task is cancelled when the deadline has passed.
pub(crate) fn join_or_cancel<T>(handle: JoinHandle<T>, deadline: Option<Instant>) -> Ending<T> {
    let waited = catch_unwind(AssertUnwindSafe(|| handle.wait(deadline)));
    let late = !handle.is_finished();
    if late {
        handle.cancel();
        shielded(|| handle.wait(None));
    }
    if let Err(cancelled) = waited {
        resume_unwind(cancelled);
    }
    match handle.join() {
        Ok(result) => Ending::Finished(result),
        Err(error) if late && error.is_cancelled() => Ending::Late,
        Err(error) => resume_unwind(error.into_panic().unwrap_or_else(|_| Box::new(Cancelled))),
    }
}

/// To spawn tasks that borrow from what is around the [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<Data>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct Data {
    running: AtomicUsize,
    panicked: AtomicBool,
    owner: Unparker,
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} running", self.running.load(Ordering::Relaxed))
    }
}

/// Runs `f`, and returns when it and all tasks that were spawned in the scope have ended.
///
/// # Panics
/// If `f` does, or a task of the scope that nobody joined.
///
/// # Examples
/// ```
/// let words = ["to", "be", "or"];
/// let lengths: Vec<_> = fairground_runtime::scope(|scope| {
///     let tasks: Vec<_> = words.iter().map(|word| scope.spawn(|| word.len())).collect();
///     tasks.into_iter().map(|task| task.join().unwrap()).collect()
/// });
/// assert_eq!(lengths, [2, 2, 2]);
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let data = Data { running: AtomicUsize::new(0), panicked: AtomicBool::new(false), owner: Unparker::current() };
    let scope = Scope { data: Arc::new(data), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let waited = catch_unwind(AssertUnwindSafe(|| scope.wait()));
    if let Err(cancelled) = waited {
        shielded(|| scope.wait());
        resume_unwind(cancelled);
    }
    match result {
        Err(panic) => resume_unwind(panic),
        Ok(_) if scope.data.panicked.load(Ordering::Relaxed) => panic!("a task of the scope panicked"),
        Ok(result) => result,
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn wait(&self) {
        while self.data.running.load(Ordering::Acquire) != 0 {
            park(None);
        }
    }

    /// Spawns a task that ends before the scope does.
    ///
    /// # Panics
    /// There is no memory for it; [`Scope::spawn_with`] returns that as an error.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_with(Builder::new(), f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Spawns a task that the builder describes.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_with<F, T>(&'scope self, builder: Builder, f: F) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let end = Arc::new(End::new(Arc::clone(&self.data)));
        let running = Running::new(Arc::clone(&self.data));
        let theirs = Arc::clone(&end);
        let body = move || {
            // Declared first, dropped last: what borrows from the scope is gone before the scope may end.
            let running = running;
            let theirs = theirs;
            let outcome = catch_unwind(AssertUnwindSafe(f));
            let panic = match outcome {
                Ok(value) => {
                    *theirs.value.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(value);
                    None
                }
                Err(panic) => {
                    theirs.panicked.store(!panic.is::<Cancelled>(), Ordering::Relaxed);
                    Some(panic)
                }
            };
            drop(theirs);
            if let Some(panic) = panic {
                drop(running);
                resume_unwind(panic);
            }
        };
        // SAFETY: the scope waits until `running` has been dropped, which the body does last with all else it has; dropped
        // without having run, the closure drops its parts likewise. The task's own result is nothing.
        let task = unsafe {
            match cpu::current_task() {
                Some(task) => builder.spawn_in(task.shared().as_ref(), body),
                None => builder.spawn_in(Runtime::global().shared(), body),
            }
        }?;
        Ok(ScopedJoinHandle { task, end, scope: PhantomData })
    }
}

/// Counts as a running task of the scope until it is dropped.
struct Running(Arc<Data>);

impl Running {
    fn new(data: Arc<Data>) -> Running {
        data.running.fetch_add(1, Ordering::Relaxed);
        Running(data)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.owner.unpark();
        }
    }
}

/// What a task of a scope ends with, shared by the task and its handle. Whichever of them goes last knows whether anybody saw a panic; if nobody did, it is
/// the scope's.
#[derive(Debug)]
struct End<T> {
    value: Mutex<Option<T>>,
    panicked: AtomicBool,
    /// Somebody joins.
    is_seen: AtomicBool,
    data: Arc<Data>,
}

impl<T> End<T> {
    fn new(data: Arc<Data>) -> End<T> {
        End { value: Mutex::new(None), panicked: AtomicBool::new(false), is_seen: AtomicBool::new(false), data }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if *self.panicked.get_mut() && !*self.is_seen.get_mut() {
            self.data.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// The end of a task of a scope, to wait for.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    task: JoinHandle<()>,
    end: Arc<End<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the task's end; its result, or why there is none.
    ///
    /// # Errors
    /// The task panicked, or was cancelled.
    pub fn join(self) -> Result<T, JoinError> {
        self.end.is_seen.store(true, Ordering::Relaxed);
        self.task.join()?;
        let mut value = self.end.value.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(value.take().expect("a task that ended well has left its result"))
    }

    /// True once the task has ended: `join` returns at once.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The task, to look at or to steer.
    pub fn task(&self) -> Task {
        self.task.task()
    }
}
