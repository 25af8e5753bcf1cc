//! Channels with a queue of messages, bounded or not: the fast paths touch the storage and one word beside it.
//!
//! Receivers wait in `items` for messages, senders in `room` for room. The word of `items` also says whether one side is gone.
//!
//! **No message is slept through** (Dekker's argument). A sender stores its message, fences, and looks whether a receiver is
//! counted in `items`. A receiver counts itself, fences, and looks whether the storage is empty. The two sequentially consistent
//! fences are in one order: if the receiver's is second, it sees the message; if the sender's is, it sees the receiver, and wakes one.
//! The same with the roles exchanged for `room`. The look of the receiver is under the queue's lock, so a sender that saw it
//! wakes it after it decided to wait, or finds it gone.
//!
//! **One wake-up a message.** A receiver that is woken takes a message or finds that another receiver took it, which was not asleep;
//! in both cases the message that woke it is gone. If it unwinds instead, it wakes another. Nobody is woken by a message
//! that comes when nobody is counted, and who was woken is counted no longer.
//!
//! **Nothing is left behind.** The last sender to go sets [`SENDERS_GONE`] and wakes the receivers; a receiver that sees it looks into
//! the storage once more, as all messages were stored before. The last receiver sets [`RECEIVERS_GONE`], fences and drops what is
//! stored; a sender that stored its message fences and looks for that bit, and then drops what is stored itself. By the same argument one
//! of them sees the message: it would else live as long as the senders, and they might be waiting for an answer that only its
//! destructor gives.

use super::storage::Storage;
use crate::atomic::{Ordering, fence};
use crate::park::{checkpoint, has_passed, linger};
use crate::sync::wait_queue::{Wait, WaitQueue, Waiter, Wake};
use std::marker::PhantomData;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, TrySendError};
use std::time::Instant;

/// Bits of the word of `items`.
const SENDERS_GONE: u64 = 1;
const RECEIVERS_GONE: u64 = 2;

pub(super) struct Queued<T, S> {
    storage: S,
    items: WaitQueue,
    room: WaitQueue,
    message: PhantomData<T>,
}

impl<T, S: Storage<T>> Queued<T, S> {
    pub(super) fn new(storage: S) -> Queued<T, S> {
        Queued { storage, items: WaitQueue::new(0, ()), room: WaitQueue::new(0, ()), message: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.storage.len()
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.storage.capacity()
    }

    /// `Err(Full)`: not before the deadline, which is asked for only if it must wait.
    #[inline]
    pub(super) fn send(&self, value: T, deadline: impl FnOnce() -> Option<Instant>) -> Result<(), TrySendError<T>> {
        checkpoint();
        match self.try_send(value) {
            Err(TrySendError::Full(value)) => self.send_slow(value, deadline()),
            done => done,
        }
    }

    #[inline]
    pub(super) fn recv(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<T, RecvTimeoutError> {
        checkpoint();
        match self.try_recv() {
            Ok(value) => Ok(value),
            Err(TryRecvError::Empty) => self.recv_slow(deadline()),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    #[inline]
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.receivers_gone() {
            return Err(TrySendError::Disconnected(value));
        }
        self.storage.push(value).map_err(TrySendError::Full)?;
        fence(Ordering::SeqCst);
        if self.items.word().load(Ordering::Relaxed) != 0 {
            self.sent_slow();
        }
        Ok(())
    }

    /// A receiver waits, or none is left.
    #[cold]
    #[inline(never)]
    fn sent_slow(&self) {
        if self.receivers_gone() {
            self.discard();
        } else {
            self.items.wake_one_slow();
        }
    }

    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.pop() {
            Some(value) => Ok(value),
            None if self.senders_gone() => self.pop().ok_or(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        let value = self.storage.pop()?;
        if S::BOUNDED {
            self.room.wake_one();
        }
        Some(value)
    }

    #[cold]
    #[inline(never)]
    fn send_slow(&self, mut value: T, deadline: Option<Instant>) -> Result<(), TrySendError<T>> {
        linger(|| !self.storage.is_full() || self.receivers_gone());
        loop {
            checkpoint();
            value = match self.try_send(value) {
                Err(TrySendError::Full(value)) => value,
                done => return done,
            };
            if has_passed(deadline) || self.wait_for(&self.room, deadline, |_| self.no_room()) == Wake::TimedOut {
                return self.try_send(value);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn recv_slow(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        linger(|| !self.storage.is_empty() || self.senders_gone());
        loop {
            checkpoint();
            match self.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if has_passed(deadline) => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => {}
            }
            if self.wait_for(&self.items, deadline, |word| self.no_items(word)) == Wake::TimedOut {
                return self.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                });
            }
        }
    }

    fn wait_for(&self, queue: &WaitQueue, deadline: Option<Instant>, must_wait: impl FnOnce(u64) -> bool) -> Wake {
        let withdrawn = |message: Option<usize>| {
            if message.is_some() {
                queue.wake_one();
            }
        };
        queue.wait(Wait::until(deadline), |word, ()| must_wait(word), withdrawn)
    }

    /// Must a receiver wait that was counted when the word of `items` was this?
    fn no_items(&self, word: u64) -> bool {
        fence(Ordering::SeqCst);
        word & SENDERS_GONE == 0 && self.storage.is_empty()
    }

    /// Must a sender wait that was counted?
    fn no_room(&self) -> bool {
        fence(Ordering::SeqCst);
        self.storage.is_full() && !self.receivers_gone()
    }

    #[inline]
    fn receivers_gone(&self) -> bool {
        self.items.word().load(Ordering::Relaxed) & RECEIVERS_GONE != 0
    }

    fn senders_gone(&self) -> bool {
        self.items.word().load(Ordering::Acquire) & SENDERS_GONE != 0
    }

    /// The last sender goes.
    pub(super) fn close_senders(&self) {
        self.items.word().fetch_or(SENDERS_GONE, Ordering::AcqRel);
        self.items.wake_all();
    }

    /// The last receiver goes.
    pub(super) fn close_receivers(&self) {
        self.items.word().fetch_or(RECEIVERS_GONE, Ordering::AcqRel);
        self.room.wake_all();
        fence(Ordering::SeqCst);
        self.discard();
    }

    fn discard(&self) {
        while let Some(value) = self.storage.pop() {
            drop(value);
        }
    }

    /// For a select: waits in the queue of receivers (else of senders). `true`: it need not, and is in no queue.
    ///
    /// # Safety
    /// As `link` of those that are locked.
    pub(super) unsafe fn link(&self, waiter: &Waiter<'_>, receiver: bool) -> bool {
        let mut queue = self.side(receiver).lock();
        // SAFETY: the caller's promise.
        let word = unsafe { queue.link(waiter, false) };
        let must_wait = if receiver { self.no_items(word) } else { self.no_room() };
        if !must_wait {
            queue.withdraw(waiter);
        }
        !must_wait
    }

    pub(super) fn withdraw(&self, waiter: &Waiter<'_>, receiver: bool) {
        self.side(receiver).withdraw(waiter);
    }

    /// A select that was woken for this queue unwinds.
    pub(super) fn pass_on(&self, receiver: bool) {
        self.side(receiver).wake_one();
    }

    /// A select was woken for this queue: what it was woken for is in the storage, if nobody took it.
    pub(super) fn in_hand(&self) -> bool {
        false
    }

    fn side(&self, receiver: bool) -> &WaitQueue {
        if receiver { &self.items } else { &self.room }
    }
}
