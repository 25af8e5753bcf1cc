//! Futures in tasks: `block_on` parks the task, not the core; a future becomes a task of its own by [`spawn_future`].

use crate::cpu::suspend;
use crate::park::{Unparker, park};
use crate::spawn::spawn;
use crate::task::join::JoinHandle;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes who blocks on a future. A flag of its own beside the unparker's token: what the future does while it is polled may wait too, and
/// use the token up.
struct Signal {
    woken: AtomicBool,
    unparker: Unparker,
}

impl Wake for Signal {
    fn wake(self: Arc<Signal>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Signal>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.unparker.unpark();
        }
    }
}

/// Runs a future to its end. The task waits while the future does (in a plain thread, the thread), and its core runs other tasks.
///
/// Futures that need a reactor of another runtime (tokio's sockets and timers) need it here too: enter that runtime's context first.
///
/// # Examples
/// ```
/// use fairground_runtime::{block_on, spawn};
///
/// let task = spawn(|| 20);
/// let sum = block_on(async { task.await.unwrap() + 22 });
/// assert_eq!(sum, 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let signal = Arc::new(Signal { woken: AtomicBool::new(false), unparker: Unparker::current() });
    let waker = Waker::from(Arc::clone(&signal));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !signal.woken.swap(false, Ordering::AcqRel) {
            park(None);
        }
        // A future that wakes itself each time lets others run.
        suspend::checkpoint();
    }
}

/// Runs a future as a task of its own.
///
/// # Panics
/// There is no memory for a task.
///
/// # Examples
/// ```
/// let task = fairground_runtime::spawn_future(async { "done" });
/// assert_eq!(task.join().unwrap(), "done");
/// ```
pub fn spawn_future<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn(move || block_on(future))
}
