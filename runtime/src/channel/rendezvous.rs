//! Channels that hold no message: a send ends when a receive takes the message out of the sender's hands.
//!
//! One queue under one lock for both sides, told apart by the waiters' tags. Whoever comes looks for a waiter of the other
//! side and moves the message between the two stacks, with the lock held; else it waits. So usually one side waits only; a select
//! that sends and receives on one channel is on both, and does not meet itself.
//!
//! A waiter's packet is a cell with the message to send, or with room for the one to receive. It is touched with the queue's lock held, by the
//! one who claimed the waiter. So who was woken takes the lock once more before it looks into its packet. A packet found as it was
//! left means that the other side is gone.
//!
//! A receiver that unwinds after a message was put into its hands drops the message: to the sender it was received.

use crate::atomic::{Ordering, UnsafeCell};
use crate::park::checkpoint;
use crate::sync::wait_queue::{Claim, Locked, WaitQueue, Waiter, Wake};
use std::ptr;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, TrySendError};
use std::time::Instant;

/// Tags.
const SENDER: u32 = 0;
const RECEIVER: u32 = 1;

/// Bits of the word.
const SENDERS_GONE: u64 = 1;
const RECEIVERS_GONE: u64 = 2;

pub(super) struct Rendezvous<T> {
    queue: WaitQueue,
    message: std::marker::PhantomData<T>,
}

/// A message on its way.
pub(super) struct Packet<T>(UnsafeCell<Option<T>>);

impl<T> Packet<T> {
    pub(super) fn new(message: Option<T>) -> Packet<T> {
        Packet(UnsafeCell::new(message))
    }

    pub(super) fn erase(&self) -> *mut () {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// # Safety
    /// It was erased from a packet of this type, which is alive.
    unsafe fn from_erased<'a>(packet: *mut ()) -> &'a Packet<T> {
        // SAFETY: the caller's promise.
        unsafe { &*packet.cast::<Packet<T>>() }
    }

    /// # Safety
    /// Nobody else touches it: its waiter is in no queue, or was claimed by the caller, which holds the lock.
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: the caller's promise.
        self.0.with_mut(|message| unsafe { (*message).take() })
    }

    /// # Safety
    /// As [`Packet::take`].
    pub(super) unsafe fn put(&self, value: T) {
        // SAFETY: the caller's promise.
        self.0.with_mut(|message| unsafe { *message = Some(value) });
    }
}

impl<T> Rendezvous<T> {
    pub(super) fn new() -> Rendezvous<T> {
        Rendezvous { queue: WaitQueue::new(0, ()), message: std::marker::PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        0
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        Some(0)
    }

    /// Puts a message into the hands of a receiver that waits.
    fn give(&self, queue: &mut Locked<'_, ()>, value: T) -> Result<crate::park::Unparker, TrySendError<T>> {
        if self.has(RECEIVERS_GONE) {
            return Err(TrySendError::Disconnected(value));
        }
        let mut value = Some(value);
        let woken = queue.wake_tagged(RECEIVER, |packet| {
            // SAFETY: a receiver's packet in this channel; we claimed it and hold the lock.
            unsafe { Packet::<T>::from_erased(packet).put(value.take().unwrap_unchecked()) };
        });
        match (woken, value) {
            (Some(unparker), _) => Ok(unparker),
            (None, Some(value)) => Err(TrySendError::Full(value)),
            (None, None) => unreachable!("a message was given, but to nobody"),
        }
    }

    /// Takes a message out of the hands of a sender that waits.
    fn take(&self, queue: &mut Locked<'_, ()>) -> Result<(T, crate::park::Unparker), TryRecvError> {
        let mut value = None;
        let woken = queue.wake_tagged(SENDER, |packet| {
            // SAFETY: a sender's packet in this channel; we claimed it and hold the lock.
            value = unsafe { Packet::<T>::from_erased(packet).take() };
        });
        match value.zip(woken) {
            Some(taken) => Ok(taken),
            None if self.has(SENDERS_GONE) => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let given = self.give(&mut self.queue.lock(), value);
        given.map(|unparker| unparker.unpark())
    }

    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let taken = self.take(&mut self.queue.lock());
        taken.map(|(value, unparker)| {
            unparker.unpark();
            value
        })
    }

    /// `Err(Full)`: nobody took it before the deadline.
    pub(super) fn send(&self, value: T, deadline: impl FnOnce() -> Option<Instant>) -> Result<(), TrySendError<T>> {
        checkpoint();
        let packet = Packet::new(None);
        let claim = Claim::new();
        let waiter = Waiter::new(&claim, 0, SENDER, packet.erase());
        {
            let mut queue = self.queue.lock();
            match self.give(&mut queue, value) {
                // SAFETY: the waiter is in no queue yet; then `finish` sees to it.
                Err(TrySendError::Full(value)) => unsafe {
                    packet.put(value);
                    queue.link(&waiter, false);
                },
                given => {
                    drop(queue);
                    return given.map(|unparker| unparker.unpark());
                }
            }
        }
        let wake = self.queue.finish_locked(&waiter, deadline());
        // SAFETY: out of the queue, and the lock was taken since.
        match (unsafe { packet.take() }, wake) {
            (None, _) => Ok(()),
            (Some(value), Wake::TimedOut) => Err(TrySendError::Full(value)),
            (Some(value), _) => Err(TrySendError::Disconnected(value)),
        }
    }

    pub(super) fn recv(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<T, RecvTimeoutError> {
        checkpoint();
        let packet = Packet::<T>::new(None);
        let claim = Claim::new();
        let waiter = Waiter::new(&claim, 0, RECEIVER, packet.erase());
        {
            let mut queue = self.queue.lock();
            match self.take(&mut queue) {
                // SAFETY: the waiter is in no queue yet; then `finish` sees to it.
                Err(TryRecvError::Empty) => _ = unsafe { queue.link(&waiter, false) },
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Ok((value, unparker)) => {
                    drop(queue);
                    unparker.unpark();
                    return Ok(value);
                }
            }
        }
        let wake = self.queue.finish_locked(&waiter, deadline());
        // SAFETY: out of the queue, and the lock was taken since.
        match (unsafe { packet.take() }, wake) {
            (Some(value), _) => Ok(value),
            (None, Wake::TimedOut) => Err(RecvTimeoutError::Timeout),
            (None, _) => Err(RecvTimeoutError::Disconnected),
        }
    }

    fn has(&self, bit: u64) -> bool {
        self.queue.word().load(Ordering::Relaxed) & bit != 0
    }

    pub(super) fn close_senders(&self) {
        self.close(SENDERS_GONE);
    }

    pub(super) fn close_receivers(&self) {
        self.close(RECEIVERS_GONE);
    }

    /// One side is gone; all who wait belong to the other, but for selects, which look again.
    fn close(&self, bit: u64) {
        {
            // Under the lock, so that who looks for the bit and then waits is found waiting.
            let _queue = self.queue.lock();
            self.queue.word().fetch_or(bit, Ordering::Relaxed);
        }
        self.queue.wake_all();
    }

    /// For a select: waits as a receiver, else as a sender. `true`: it need not, and is in no queue.
    ///
    /// # Safety
    /// As [`Locked::link`]; the packet is of this channel's type.
    pub(super) unsafe fn link(&self, waiter: &Waiter<'_>, receiver: bool) -> bool {
        let (other, gone) = if receiver { (SENDER, SENDERS_GONE) } else { (RECEIVER, RECEIVERS_GONE) };
        let mut queue = self.queue.lock();
        if self.has(gone) || queue.has_tagged(other, waiter) {
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { queue.link(waiter, false) };
        false
    }

    pub(super) fn withdraw(&self, waiter: &Waiter<'_>, _receiver: bool) {
        self.queue.withdraw(waiter);
    }

    /// What was put into the hands of a select goes with it.
    pub(super) fn pass_on(&self, _receiver: bool) {}

    /// A select was woken for this queue: its message passed from hand to hand, or the other side is gone.
    pub(super) fn in_hand(&self) -> bool {
        true
    }
}
