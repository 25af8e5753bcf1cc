//! What is known of a socket: its word of flags, and who waits for it.
//!
//! # The word
//!
//! Flags in the low bits, a count of events above them. READ and WRITE mean *perhaps ready*: both are set at the start. Who wants to
//! read waits until READ is set, loads the word, and tries. If there was nothing, or less than there was room for, the flag is
//! cleared by comparing with the word from before the attempt: an event that came meanwhile has changed the count, so it is
//! not lost; at worst somebody tries once more for nothing. The CLOSED flags are never cleared: the end of a stream is no edge that comes again.
//!
//! # Waiting
//!
//! Who waits links itself into the list of its direction, under the lock, and then looks at the flags once more. The event sets the flags first and
//! empties the list after. Either sees the other, by the lock. A waiter lives on the stack of whoever waits; its fields are touched under the lock.
//!
//! # Memory
//!
//! From a cache of Fairground's, counted: the scheduler may be the last to let go of a source, and it gives nothing to other allocators.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, UnsafeCell, fence};
use crate::park::{Unparker, park};
use crate::spin::Spin;
use crate::task::slab::Slab;
use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::time::Instant;

/// A direction, and what may be known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

pub(super) const READ: u64 = 1;
pub(super) const WRITE: u64 = 2;
pub(super) const READ_CLOSED: u64 = 4;
pub(super) const WRITE_CLOSED: u64 = 8;
pub(super) const ENDED: u64 = 16;
pub(super) const URGENT: u64 = 32;
const EVENT: u64 = 64;

impl Direction {
    fn ready(self) -> u64 {
        match self {
            Direction::Read => READ,
            Direction::Write => WRITE,
        }
    }

    fn closed(self) -> u64 {
        match self {
            Direction::Read => READ_CLOSED,
            Direction::Write => WRITE_CLOSED,
        }
    }
}

/// See the module's text.
pub(crate) struct Source {
    refs: AtomicU32,
    word: AtomicU64,
    waiting: [Spin<Waiters>; 2],
}

static SOURCES: Slab<Source> = Slab::new("socket", || Source {
    refs: AtomicU32::new(0),
    word: AtomicU64::new(0),
    waiting: [const { Spin::new(Waiters(LinkedList::new(ByLink::NEW))) }; 2],
});

/// A counted reference.
pub(crate) struct SourceRef(NonNull<Source>);

// SAFETY: a source is made for use by all threads.
unsafe impl Send for SourceRef {}
// SAFETY: as above.
unsafe impl Sync for SourceRef {}

impl SourceRef {
    /// None if there is no memory.
    pub(super) fn new() -> Option<SourceRef> {
        let source = SOURCES.alloc()?;
        // SAFETY: just allocated, in the state of a free one: nobody waits.
        let this = unsafe { source.as_ref() };
        this.word.store(READ | WRITE, Ordering::Relaxed);
        this.refs.store(1, Ordering::Relaxed);
        Some(SourceRef(source))
    }
}

impl Clone for SourceRef {
    fn clone(&self) -> SourceRef {
        self.refs.fetch_add(1, Ordering::Relaxed);
        SourceRef(self.0)
    }
}

impl Deref for SourceRef {
    type Target = Source;

    fn deref(&self) -> &Source {
        // SAFETY: it exists as long as a reference does.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SourceRef {
    fn drop(&mut self) {
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last reference. Who waits has one, so the lists are empty.
            unsafe { SOURCES.free(self.0) };
        }
    }
}

impl std::fmt::Debug for SourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SourceRef").field(&self.word).finish()
    }
}

/// Somebody who waits.
struct Waiter {
    link: LinkedListLink,
    unparker: UnsafeCell<Option<Unparker>>,
}

intrusive_adapter!(ByLink = UnsafeRef<Waiter>: Waiter { link => LinkedListLink });

/// Who waits for one direction.
struct Waiters(LinkedList<ByLink>);

// SAFETY: waiters are touched under the lock that this is behind.
unsafe impl Send for Waiters {}

/// A source's word before an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u64);

impl Source {
    /// Waits until the direction is perhaps ready.
    ///
    /// # Errors
    /// `WouldBlock` when the deadline has passed; another if the runtime has ended.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<Seen> {
        let flags = direction.ready() | direction.closed();
        let look = || {
            let word = self.word.load(Ordering::Acquire);
            (word & flags != 0).then_some(Seen(word))
        };
        if let Some(seen) = look() {
            return Ok(seen);
        }
        let waiter = Waiter { link: LinkedListLink::new(), unparker: UnsafeCell::new(None) };
        let waiting = Waiting { list: &self.waiting[direction as usize], waiter: &waiter };
        loop {
            waiting.enter();
            if let Some(seen) = look() {
                return Ok(seen);
            }
            if self.word.load(Ordering::Acquire) & ENDED != 0 {
                return Err(io::Error::other("the runtime that watched this socket has ended"));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            park(deadline);
        }
    }

    /// After an attempt that took all there was, and less than there was room for.
    pub(crate) fn exhausted(&self, direction: Direction, seen: Seen) {
        if direction == Direction::Write || seen.0 & URGENT == 0 {
            self.clear(direction.ready(), seen);
        }
    }

    /// After an attempt that would block.
    pub(crate) fn blocked(&self, direction: Direction, seen: Seen) {
        self.clear(direction.ready() | direction.closed(), seen);
    }

    fn clear(&self, flags: u64, Seen(word): Seen) {
        let _ = self.word.compare_exchange(word, word & !flags, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Something happened.
    pub(super) fn event(&self, flags: u64) {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(now) =
            self.word.compare_exchange_weak(word, word.wrapping_add(EVENT) | flags, Ordering::AcqRel, Ordering::Relaxed)
        {
            word = now;
        }
        for direction in [Direction::Read, Direction::Write] {
            if flags & (direction.ready() | direction.closed() | ENDED) != 0 {
                self.wake_all(direction);
            }
        }
    }

    fn wake_all(&self, direction: Direction) {
        let list = &self.waiting[direction as usize];
        loop {
            // Not under the lock: who is woken may be run elsewhere at once, and take it.
            let Some(one) = first_of(&mut list.lock()) else { return };
            one.unpark();
        }
    }
}

/// Unlinks the first waiter.
fn first_of(list: &mut Waiters) -> Option<Unparker> {
    let waiter = list.0.pop_front()?;
    // SAFETY: under the list's lock, which a waiter takes before it goes.
    waiter.unparker.with_mut(|unparker| unsafe { (*unparker).take() })
}

/// A waiter's place in the list, left at the end of the wait, or because it unwinds.
struct Waiting<'a> {
    list: &'a Spin<Waiters>,
    waiter: &'a Waiter,
}

impl Waiting<'_> {
    fn enter(&self) {
        let unparker = Unparker::current();
        let mut list = self.list.lock();
        if !self.waiter.link.is_linked() {
            // SAFETY: under the lock; not linked.
            self.waiter.unparker.with_mut(|place| unsafe { *place = Some(unparker) });
            // SAFETY: stays where it is until this is dropped, which unlinks it.
            list.0.push_back(unsafe { UnsafeRef::from_raw(self.waiter) });
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut list = self.list.lock();
        if self.waiter.link.is_linked() {
            // SAFETY: linked, and only ever into this list.
            unsafe { list.0.cursor_mut_from_ptr(self.waiter) }.remove();
        }
    }
}
