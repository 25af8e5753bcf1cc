//! Waiting for the first of several receives and sends.
//!
//! 1. Try each arm, from a random one on, so that none starves behind others.
//! 2. Put a waiter into the queue of each channel, all with one `Claim`. Each says, under its queue's lock, whether its arm
//!    is ready after all: then take the claim for ourselves, leave all queues, and go to 1.
//! 3. Wait until a waker takes the claim. Leave all queues. The message says which arm it was for: complete that, as what the waker
//!    gave (a message in a queue, a rendezvous) may be this select's alone. If the message was taken by somebody else meanwhile, go to 1.
//!
//! If the claim was taken by a waker before we could take it (in 2, or on timeout), it counts: as in 3. On unwinding
//! the channel that woke us wakes another.
//!
//! Two selects that meet at a rendezvous: who comes second sees the waiter of the first, gives up its own claim and takes the other's in its
//! next round. That could go wrong for both at once only if each came second at another channel, which the random order undoes.
//!
//! The arms are named by the macro, which is all of the public interface; the rest is public for its sake.

use super::rendezvous::Packet;
use super::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use crate::park::{checkpoint, deadline_after};
use crate::sync::wait_queue::{Claim, Waiter};
use std::cell::{Cell, UnsafeCell};
use std::time::{Duration, Instant};

/// An operation, whatever its messages are.
trait Operation {
    /// Is it done, one way or the other?
    fn attempt(&self) -> bool;

    /// See `Waiter::new`.
    fn packet(&self) -> *mut ();

    fn is_receiver(&self) -> bool;

    /// `true`: ready, and in no queue.
    ///
    /// # Safety
    /// As `Locked::link`.
    unsafe fn link(&self, waiter: &Waiter<'_>) -> bool;

    fn withdraw(&self, waiter: &Waiter<'_>);

    /// The claim was taken for this operation, and its waiter withdrawn. Is it done?
    fn complete(&self) -> bool;

    /// The same, but it will not be completed.
    fn pass_on(&self);
}

/// An operation that a select waits for.
#[derive(Clone, Copy)]
pub struct Arm<'a>(&'a dyn Operation);

/// A receive.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    packet: Packet<T>,
    result: Cell<Option<Result<T, RecvError>>>,
}

/// A send.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    packet: Packet<T>,
    message: UnsafeCell<Option<T>>,
    result: Cell<Option<Result<(), SendError<T>>>>,
}

impl<'a, T> RecvArm<'a, T> {
    /// From this receiver.
    pub fn new(receiver: &'a Receiver<T>) -> RecvArm<'a, T> {
        RecvArm { receiver, packet: Packet::new(None), result: Cell::new(None) }
    }

    /// As an arm of a select.
    pub fn arm(&self) -> Arm<'_> {
        Arm(self)
    }

    /// What was received, if this operation was the one.
    pub fn take(&self) -> Option<Result<T, RecvError>> {
        self.result.take()
    }

    fn done(&self, result: Result<T, TryRecvError>) -> bool {
        let result = match result {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => return false,
        };
        self.result.set(Some(result));
        true
    }
}

impl<T> Operation for RecvArm<'_, T> {
    fn attempt(&self) -> bool {
        self.done(self.receiver.try_recv())
    }

    fn packet(&self) -> *mut () {
        self.packet.erase()
    }

    fn is_receiver(&self) -> bool {
        true
    }

    unsafe fn link(&self, waiter: &Waiter<'_>) -> bool {
        // SAFETY: the caller's promise; the packet is for messages of this channel.
        each!(&self.receiver.0, shared => unsafe { shared.channel.link(waiter, true) })
    }

    fn withdraw(&self, waiter: &Waiter<'_>) {
        each!(&self.receiver.0, shared => shared.channel.withdraw(waiter, true));
    }

    fn complete(&self) -> bool {
        if !each!(&self.receiver.0, shared => shared.channel.in_hand()) {
            return self.attempt();
        }
        // SAFETY: out of the queue, whose lock was taken since.
        let message = unsafe { self.packet.take() };
        self.done(message.ok_or(TryRecvError::Disconnected))
    }

    fn pass_on(&self) {
        each!(&self.receiver.0, shared => shared.channel.pass_on(true));
    }
}

impl<'a, T> SendArm<'a, T> {
    /// Of this message through this sender.
    pub fn new(sender: &'a Sender<T>, message: T) -> SendArm<'a, T> {
        let message = UnsafeCell::new(Some(message));
        SendArm { sender, packet: Packet::new(None), message, result: Cell::new(None) }
    }

    /// As an arm of a select.
    pub fn arm(&self) -> Arm<'_> {
        Arm(self)
    }

    /// What became of the message, if this operation was the one.
    pub fn take(&self) -> Option<Result<(), SendError<T>>> {
        self.result.take()
    }

    /// The message, while its waiter is in no queue.
    fn message(&self) -> Option<T> {
        // SAFETY: `SendArm` is not `Sync`, and no reference to the cell's content outlives a statement.
        unsafe { (*self.message.get()).take() }
    }
}

impl<T> Operation for SendArm<'_, T> {
    fn attempt(&self) -> bool {
        let Some(message) = self.message() else { return false };
        let result = match self.sender.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(message)) => Err(SendError(message)),
            Err(TrySendError::Full(message)) => {
                // SAFETY: as in `message`.
                unsafe { *self.message.get() = Some(message) };
                return false;
            }
        };
        self.result.set(Some(result));
        true
    }

    fn packet(&self) -> *mut () {
        self.packet.erase()
    }

    fn is_receiver(&self) -> bool {
        false
    }

    unsafe fn link(&self, waiter: &Waiter<'_>) -> bool {
        if each!(&self.sender.0, shared => shared.channel.in_hand())
            && let Some(message) = self.message()
        {
            // SAFETY: the waiter is in no queue yet.
            unsafe { self.packet.put(message) };
        }
        // SAFETY: the caller's promise; the packet holds a message of this channel.
        each!(&self.sender.0, shared => unsafe { shared.channel.link(waiter, false) })
    }

    fn withdraw(&self, waiter: &Waiter<'_>) {
        each!(&self.sender.0, shared => shared.channel.withdraw(waiter, false));
        // SAFETY: out of the queue, whose lock was taken since; the message's cell as in `message`.
        unsafe {
            if let Some(message) = self.packet.take() {
                *self.message.get() = Some(message);
            }
        }
    }

    fn complete(&self) -> bool {
        if !each!(&self.sender.0, shared => shared.channel.in_hand()) {
            return self.attempt();
        }
        let result = self.message().map_or(Ok(()), |message| Err(SendError(message)));
        self.result.set(Some(result));
        true
    }

    fn pass_on(&self) {
        each!(&self.sender.0, shared => shared.channel.pass_on(false));
    }
}

/// How long a select waits.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Until one operation is done.
    Endless,
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
}

/// A time for which `default(time)` waits, or until which.
pub trait Limit {
    /// As a deadline.
    fn patience(self) -> Patience;
}

impl Limit for Duration {
    fn patience(self) -> Patience {
        deadline_after(self).map_or(Patience::Endless, Patience::Until)
    }
}

impl Limit for Instant {
    fn patience(self) -> Patience {
        Patience::Until(self)
    }
}

/// Does one of the operations, whose result is then in it; or none, if none could be done in time.
pub fn wait<const N: usize>(arms: [Arm<'_>; N], patience: Patience) {
    checkpoint();
    let deadline = match patience {
        Patience::Until(deadline) => Some(deadline),
        Patience::Endless | Patience::None => None,
    };
    loop {
        let first = start(N);
        if (first..N).chain(0..first).any(|i| arms[i].0.attempt()) || matches!(patience, Patience::None) {
            return;
        }
        let claim = Claim::new();
        let waiters: [Waiter<'_>; N] =
            std::array::from_fn(|i| Waiter::new(&claim, i, u32::from(arms[i].0.is_receiver()), arms[i].0.packet()));
        let mut linked = Linked { arms: &arms, waiters: &waiters, claim: &claim, armed: true };
        // SAFETY: `linked` withdraws all waiters when it goes, and goes before they do.
        let ready = (first..N).chain(0..first).any(|i| unsafe { arms[i].0.link(&waiters[i]) });
        let message = if ready { None } else { claim.wait(deadline) };
        let message = message.or_else(|| claim.abort().err());
        linked.armed = false;
        drop(linked);
        match message {
            Some(arm) if arms[arm].0.complete() => return,
            Some(_) => {}
            None if ready => {}
            None => return,
        }
    }
}

/// Waiters that may be in queues. Takes them out.
struct Linked<'a, 'w, const N: usize> {
    arms: &'a [Arm<'a>; N],
    waiters: &'a [Waiter<'w>; N],
    claim: &'w Claim,
    /// Unwinding would lose what was claimed.
    armed: bool,
}

impl<const N: usize> Drop for Linked<'_, '_, N> {
    fn drop(&mut self) {
        let message = if self.armed { self.claim.abort().err() } else { None };
        self.arms.iter().zip(self.waiters).for_each(|(arm, waiter)| arm.0.withdraw(waiter));
        if let Some(arm) = message {
            self.arms[arm].0.pass_on();
        }
    }
}

/// The arm to begin with.
#[cfg(not(loom))]
fn start(arms: usize) -> usize {
    if arms < 2 { 0 } else { random() as usize % arms }
}

/// Models try the orders by themselves.
#[cfg(loom)]
fn start(_arms: usize) -> usize {
    0
}

/// Marsaglia's xorshift, for each kernel thread. Whole in one function that is not inlined: see `crate::preempt`.
#[cfg(not(loom))]
#[inline(never)]
fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u32> = const { Cell::new(0x9E37_79B9) };
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        state.set(x);
        x
    })
}

/// Waits for the first of several receives and sends, and does that one only.
///
/// ```
/// use fairground_runtime::{channel, select};
/// use std::time::Duration;
///
/// let (numbers, number) = channel::unbounded();
/// let (names, name) = channel::bounded::<&str>(1);
/// numbers.send(1).unwrap();
///
/// let chosen = select! {
///     recv(number) -> message => format!("received {}", message.unwrap()),
///     recv(name) -> message => format!("received {}", message.unwrap()),
///     default(Duration::from_secs(1)) => "nothing within a second".to_string(),
/// };
/// assert_eq!(chosen, "received 1");
///
/// let chosen = select! {
///     recv(number) -> _ => "received",
///     send(names, "Ada") -> result => result.map(|()| "sent").unwrap(),
///     default => "neither",
/// };
/// assert_eq!(chosen, "sent");
/// assert_eq!(name.recv(), Ok("Ada"));
/// ```
///
/// An operation on a channel whose other side is gone is done at once, with an error. `default` is chosen if none can be
/// done at once; `default(limit)` if none could be for a `Duration`, or until an `Instant`. Without it the select waits. Among several
/// that can be done one is chosen at random. The arms of all operations are evaluated first, in order: the message of a send that
/// is not chosen is dropped.
///
/// The shape is `crossbeam-channel`'s.
#[macro_export]
macro_rules! select {
    ($($arms:tt)+) => { $crate::__select!([] [] $($arms)+) };
}

/// The steps of `select!`: operations that are read go to the first list, with a name of their own (each step's names are its own, by
/// hygiene); patience to the second.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    ([$($done:tt)*] [] recv($receiver:expr) -> $result:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::RecvArm::new(&$receiver), $result, $body)] [] $($rest)*)
    };
    ([$($done:tt)*] [] send($sender:expr, $message:expr) -> $result:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::SendArm::new(&$sender, $message), $result, $body)] [] $($rest)*)
    };
    // A body in braces needs no comma.
    ([$($done:tt)*] [] recv($receiver:expr) -> $result:pat => $body:block $($rest:tt)*) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::RecvArm::new(&$receiver), $result, $body)] [] $($rest)*)
    };
    ([$($done:tt)*] [] send($sender:expr, $message:expr) -> $result:pat => $body:block $($rest:tt)*) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::SendArm::new(&$sender, $message), $result, $body)] [] $($rest)*)
    };
    // The last may go without one too.
    ([$($done:tt)*] [] recv($receiver:expr) -> $result:pat => $body:expr) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::RecvArm::new(&$receiver), $result, $body)] [])
    };
    ([$($done:tt)*] [] send($sender:expr, $message:expr) -> $result:pat => $body:expr) => {
        $crate::__select!([$($done)* (arm, $crate::channel::select::SendArm::new(&$sender, $message), $result, $body)] [])
    };
    ([$($done:tt)*] [] default => $body:expr $(,)?) => {
        $crate::__select!([$($done)*] [($crate::channel::select::Patience::None, $body)])
    };
    ([$($done:tt)*] [] default($limit:expr) => $body:expr $(,)?) => {
        $crate::__select!([$($done)*] [($crate::channel::select::Limit::patience($limit), $body)])
    };
    ([$($done:tt)*] []) => {
        $crate::__select!([$($done)*] [($crate::channel::select::Patience::Endless, unreachable!("a select without an end ended"))])
    };
    ([$(($arm:ident, $operation:expr, $result:pat, $body:expr))*] [($patience:expr, $default:expr)]) => {{
        $(let $arm = $operation;)*
        $crate::channel::select::wait([$($arm.arm()),*], $patience);
        $(if let ::core::option::Option::Some(result) = $arm.take() {
            let $result = result;
            $body
        } else)* {
            $default
        }
    }};
}
