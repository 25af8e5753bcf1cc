//! A channel for one message: a promise and its fulfilment.
//!
//! | state | `message` | `waker` | left by |
//! |---|---|---|---|
//! | `EMPTY` | - | the receiver's | sender: `SENT`, `CLOSED`; receiver: `WAITING`, `CLOSED` |
//! | `WAITING` | - | whoever leaves the state | sender: `SENT`, `CLOSED`; receiver, on timeout or unwinding: `EMPTY` |
//! | `SENT` | the receiver's | whoever left `WAITING` | receiver: `CLOSED` |
//! | `CLOSED` | nobody's any more, or of a sender that finds it | as before | - |
//!
//! The sender writes the message before it leaves its states, by one swap with release and acquire. What it finds tells it what to
//! do: after `WAITING` the waker is the sender's, after `CLOSED` the message is its own again. It does not touch the channel afterwards,
//! but for its share of the reference count.
//!
//! The state is one word beside the message and the waker; no queue, as only one can wait.

use crate::atomic::{Arc, AtomicU32, Ordering, UnsafeCell};
use crate::park::{Unparker, checkpoint, deadline_after, has_passed, park};
use std::fmt;
use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use std::time::{Duration, Instant};

const EMPTY: u32 = 0;
const WAITING: u32 = 1;
const SENT: u32 = 2;
const CLOSED: u32 = 3;

struct Oneshot<T> {
    state: AtomicU32,
    waker: UnsafeCell<Option<Unparker>>,
    message: UnsafeCell<Option<T>>,
}

// SAFETY: the states say who may touch the cells; the message passes by value.
unsafe impl<T: Send> Send for Oneshot<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Oneshot<T> {}

/// Sends the one message.
pub struct Sender<T> {
    /// `None` after the send.
    channel: Option<Arc<Oneshot<T>>>,
}

/// Receives the one message.
pub struct Receiver<T> {
    channel: Arc<Oneshot<T>>,
}

/// A channel for one message.
///
/// ```
/// let (sender, receiver) = fairground_runtime::channel::oneshot();
/// std::thread::spawn(move || sender.send(42));
/// assert_eq!(receiver.recv(), Ok(42));
/// ```
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let (waker, message) = (UnsafeCell::new(None), UnsafeCell::new(None));
    let channel = Arc::new(Oneshot { state: AtomicU32::new(EMPTY), waker, message });
    (Sender { channel: Some(channel.clone()) }, Receiver { channel })
}

impl<T> Oneshot<T> {
    /// The sender's last act.
    fn leave(&self, state: u32) -> u32 {
        let before = self.state.swap(state, Ordering::AcqRel);
        if before == WAITING {
            // SAFETY: who left `WAITING` owns the waker.
            let waker = self.waker.with_mut(|waker| unsafe { (*waker).take() });
            if let Some(waker) = waker {
                waker.unpark();
            }
        }
        before
    }
}

impl<T> Sender<T> {
    /// Sends the message. Never waits.
    ///
    /// # Errors
    /// The receiver is gone; the message is in the error.
    pub fn send(mut self, message: T) -> Result<(), SendError<T>> {
        let Some(channel) = self.channel.take() else { return Err(SendError(message)) };
        // SAFETY: before `SENT` only the sender touches the message, and there is one sender.
        channel.message.with_mut(|cell| unsafe { *cell = Some(message) });
        if channel.leave(SENT) != CLOSED {
            return Ok(());
        }
        // SAFETY: the receiver closed it and does not look at the message any more.
        match channel.message.with_mut(|cell| unsafe { (*cell).take() }) {
            Some(message) => Err(SendError(message)),
            None => Ok(()),
        }
    }

    /// Is the receiver gone? Then nobody wants the message any more.
    pub fn is_closed(&self) -> bool {
        self.channel.as_ref().is_none_or(|channel| channel.state.load(Ordering::Relaxed) == CLOSED)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.leave(CLOSED);
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the message.
    ///
    /// # Errors
    /// The sender is gone without having sent it, or the message was received before.
    pub fn recv(self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    /// The message, if it was sent.
    ///
    /// # Errors
    /// It was not; or never will be, as the sender is gone; or it was received before.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.channel.state.load(Ordering::Acquire) {
            SENT => {
                // SAFETY: after `SENT` only the receiver touches the message, and there is one receiver.
                let message = self.channel.message.with_mut(|cell| unsafe { (*cell).take() });
                self.channel.state.store(CLOSED, Ordering::Relaxed);
                message.ok_or(TryRecvError::Disconnected)
            }
            CLOSED => Err(TryRecvError::Disconnected),
            _ => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the message for some time.
    ///
    /// # Errors
    /// It did not come; or never will, as the sender is gone; or it was received before.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout))
    }

    /// Waits for the message until some time.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        checkpoint();
        loop {
            match self.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if has_passed(deadline) => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => self.wait(deadline),
            }
        }
    }

    /// Waits until the state is neither `EMPTY` nor `WAITING`, or the deadline.
    fn wait(&self, deadline: Option<Instant>) {
        let state = &self.channel.state;
        // SAFETY: in `EMPTY` the waker is the receiver's; the sender does not touch it then.
        self.channel.waker.with_mut(|waker| unsafe { *waker = Some(Unparker::current()) });
        if state.compare_exchange(EMPTY, WAITING, Ordering::Release, Ordering::Relaxed).is_err() {
            return;
        }
        // On every way out, unwinding too, the waker is taken back, if the sender did not take it.
        let _waiting = Waiting(state);
        while state.load(Ordering::Relaxed) == WAITING && !has_passed(deadline) {
            park(deadline);
        }
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        _ = self.0.compare_exchange(WAITING, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let before = self.channel.state.swap(CLOSED, Ordering::AcqRel);
        if before == SENT {
            // Now, not only when the sender is gone too.
            // SAFETY: after `SENT` the message is the receiver's.
            drop(self.channel.message.with_mut(|cell| unsafe { (*cell).take() }));
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("oneshot::Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("oneshot::Receiver").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Oneshot;

    #[test]
    fn a_oneshot_takes_64_bytes_and_its_message() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<Oneshot<[u64; 4]>>() <= 64 + size_of::<[u64; 4]>());
    }
}
