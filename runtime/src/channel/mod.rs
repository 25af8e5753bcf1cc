//! Channels: messages from any task or thread to any other, first come first served.
//!
//! | made by | holds | a send waits |
//! |---|---|---|
//! | [`unbounded()`] | any number of messages | never |
//! | [`bounded`]`(n)` | `n` messages | while it is full |
//! | [`bounded`]`(0)` | none: a rendezvous | until a receive takes the message |
//! | [`oneshot()`] | one message in all | never |
//!
//! All but the last can be cloned on both sides. When all senders are gone, receives get what was sent and then an error; when
//! all receivers are gone, sends get their message back and what was not received is dropped. The errors are those of
//! [`std::sync::mpsc`]. [`select!`](crate::select) waits for the first of several receives and sends.

/// The same for each kind.
macro_rules! each {
    ($flavour:expr, $shared:pat => $body:expr) => {
        match $flavour {
            $crate::channel::Flavour::Unbounded($shared) => $body,
            $crate::channel::Flavour::Bounded($shared) => $body,
            $crate::channel::Flavour::Rendezvous($shared) => $body,
        }
    };
}

pub mod oneshot;
mod queued;
mod rendezvous;
#[doc(hidden)]
pub mod select;
mod storage;
mod unbounded;

#[cfg(all(loom, test))]
mod models;

use crate::atomic::{Arc, AtomicUsize, Ordering};
use crate::park::deadline_after;
use queued::Queued;
use rendezvous::Rendezvous;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};
use storage::{Bounded, Unbounded};

pub use oneshot::oneshot;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

/// A message that could not be sent in time, or at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel was full, or nobody received it, until the time was over.
    Timeout(T),
    /// All receivers are gone.
    Disconnected(T),
}

impl<T> SendTimeoutError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "timed out sending on a channel",
            SendTimeoutError::Disconnected(_) => "sending on a channel without receivers",
        })
    }
}

impl<T> std::error::Error for SendTimeoutError<T> {}

/// A channel and how many hold each side of it.
struct Shared<C> {
    channel: C,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Each kind has a type of its own, as the memory it takes and its fast paths differ much.
enum Flavour<T> {
    Unbounded(Arc<Shared<Queued<T, Unbounded<T>>>>),
    Bounded(Arc<Shared<Queued<T, Bounded<T>>>>),
    Rendezvous(Arc<Shared<Rendezvous<T>>>),
}

/// The sending side of a channel.
pub struct Sender<T>(Flavour<T>);

/// The receiving side of a channel.
pub struct Receiver<T>(Flavour<T>);

// SAFETY: messages pass from thread to thread, by value; the channel's own state is made to be shared.
unsafe impl<T: Send> Send for Flavour<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Flavour<T> {}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

/// A channel for any number of messages. Without a message it takes no memory for any.
///
/// ```
/// let (sender, receiver) = fairground_runtime::channel::unbounded();
/// std::thread::spawn(move || (1..=3).for_each(|n| sender.send(n).unwrap()));
/// assert_eq!(receiver.iter().sum::<i32>(), 6);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Flavour::Unbounded(share(Queued::new(Unbounded::new()))))
}

/// A channel for `capacity` messages, for which it takes the memory at once; with a capacity of 0 every send meets a receive.
///
/// ```
/// use fairground_runtime::channel::{bounded, TrySendError};
///
/// let (sender, receiver) = bounded(1);
/// sender.send("first").unwrap();
/// assert_eq!(sender.try_send("second"), Err(TrySendError::Full("second")));
/// assert_eq!(receiver.recv(), Ok("first"));
/// ```
///
/// # Panics
/// As `Vec::with_capacity`, if the address space has no room for so many messages.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(match capacity {
        0 => Flavour::Rendezvous(share(Rendezvous::new())),
        capacity => Flavour::Bounded(share(Queued::new(Bounded::new(capacity)))),
    })
}

/// Held once on each side.
fn share<C>(channel: C) -> Arc<Shared<C>> {
    Arc::new(Shared { channel, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) })
}

fn ends<T>(flavour: Flavour<T>) -> (Sender<T>, Receiver<T>) {
    (Sender(flavour.again()), Receiver(flavour))
}

impl<T> Flavour<T> {
    /// The same channel; counted by the caller.
    fn again(&self) -> Flavour<T> {
        match self {
            Flavour::Unbounded(shared) => Flavour::Unbounded(shared.clone()),
            Flavour::Bounded(shared) => Flavour::Bounded(shared.clone()),
            Flavour::Rendezvous(shared) => Flavour::Rendezvous(shared.clone()),
        }
    }

    fn len(&self) -> usize {
        each!(self, shared => shared.channel.len())
    }

    fn capacity(&self) -> Option<usize> {
        each!(self, shared => shared.channel.capacity())
    }

    fn same(&self, other: &Flavour<T>) -> bool {
        match (self, other) {
            (Flavour::Unbounded(one), Flavour::Unbounded(other)) => Arc::ptr_eq(one, other),
            (Flavour::Bounded(one), Flavour::Bounded(other)) => Arc::ptr_eq(one, other),
            (Flavour::Rendezvous(one), Flavour::Rendezvous(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl<T> Sender<T> {
    /// Sends a message; waits while the channel is full.
    ///
    /// `Ok` does not mean that it will be received: the last receiver may go before.
    ///
    /// # Errors
    /// All receivers are gone; the message is in the error.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_waiting(message, || None).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => SendError(message),
        })
    }

    /// Sends a message if that needs no waiting.
    ///
    /// # Errors
    /// The channel is full (a rendezvous: nobody waits to receive), or all receivers are gone; the message is in the error.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        each!(&self.0, shared => shared.channel.try_send(message))
    }

    /// Sends a message, waiting for some time at most.
    ///
    /// # Errors
    /// The channel was full until then, or all receivers are gone; the message is in the error.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_waiting(message, || deadline_after(timeout)).map_err(late)
    }

    /// Sends a message, waiting until some time at most.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_waiting(message, || Some(deadline)).map_err(late)
    }

    #[inline]
    fn send_waiting(&self, message: T, deadline: impl FnOnce() -> Option<Instant>) -> Result<(), TrySendError<T>> {
        each!(&self.0, shared => shared.channel.send(message, deadline))
    }

    /// How many messages are in the channel now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is no message in the channel now?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Would a send have to wait now? A rendezvous is always full.
    pub fn is_full(&self) -> bool {
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }

    /// For how many messages it has room; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }

    /// Is it the same channel?
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.0.same(&other.0)
    }
}

fn late<T>(error: TrySendError<T>) -> SendTimeoutError<T> {
    match error {
        TrySendError::Full(message) => SendTimeoutError::Timeout(message),
        TrySendError::Disconnected(message) => SendTimeoutError::Disconnected(message),
    }
}

impl<T> Receiver<T> {
    /// Waits for a message.
    ///
    /// # Errors
    /// The channel is empty and all senders are gone.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_waiting(|| None).map_err(|_| RecvError)
    }

    /// A message, if there is one.
    ///
    /// # Errors
    /// The channel is empty, and perhaps all senders gone.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        each!(&self.0, shared => shared.channel.try_recv())
    }

    /// Waits for a message for some time.
    ///
    /// # Errors
    /// None came, or the channel is empty and all senders are gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_waiting(|| deadline_after(timeout))
    }

    /// Waits for a message until some time.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_waiting(|| Some(deadline))
    }

    #[inline]
    fn recv_waiting(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<T, RecvTimeoutError> {
        each!(&self.0, shared => shared.channel.recv(deadline))
    }

    /// All messages from now on, waiting for each; ends when all senders are gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// The messages that are there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// How many messages are in the channel now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is no message in the channel now?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is there no room for another message now? A rendezvous is always full.
    pub fn is_full(&self) -> bool {
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }

    /// For how many messages it has room; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }

    /// Is it the same channel?
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.0.same(&other.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        each!(&self.0, shared => shared.senders.fetch_add(1, Ordering::Relaxed));
        Sender(self.0.again())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        each!(&self.0, shared => shared.receivers.fetch_add(1, Ordering::Relaxed));
        Receiver(self.0.again())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        each!(&self.0, shared => {
            // All that the senders did comes before the closing.
            if shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.channel.close_senders();
            }
        });
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        each!(&self.0, shared => {
            if shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.channel.close_receivers();
            }
        });
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

/// All messages of a channel whose receiver it owns.
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
