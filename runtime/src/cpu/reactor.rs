//! The sockets of a cpu: an epoll instance that its kernel thread sleeps in, and looks at now and then while it runs.
//!
//! Sockets are registered once, for both directions, edge-triggered; nothing is armed again for each wait. What the edges said is in
//! the source's word.
//!
//! # The word of a source
//!
//! Flags in the low bits, a count of events above them. READ and WRITE mean *perhaps ready*: both are set at the start. Who wants to
//! read waits until READ is set, loads the word, and tries. If there was nothing, or less than there was room for, the flag is
//! cleared by comparing with the word from before the attempt: an event that came meanwhile has changed the count, so it is
//! not lost; at worst somebody tries once more for nothing. The CLOSED flags are never cleared: the end of a stream is no edge that comes again.
//!
//! # Waiting
//!
//! Who waits puts its unparker into the list of its direction, under the lock, and then looks at the flags once more. The event sets the flags first and
//! empties the list after. Either sees the other, by the lock.
//!
//! # Sleeping
//!
//! epoll counts milliseconds, so deadlines are kept by a timer descriptor in the same instance, set when the earliest deadline is another one than before.

use crate::atomic::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::park::{Unparker, park};
use crate::spin::Spin;
use mio::event;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Events taken at once: what a cpu has to do then is some tens of microseconds.
const EVENTS: usize = 256;

/// Tokens that are no source's.
const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// A direction, and what may be known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

const READ: u64 = 1;
const WRITE: u64 = 2;
const READ_CLOSED: u64 = 4;
const WRITE_CLOSED: u64 = 8;
const ENDED: u64 = 16;
const URGENT: u64 = 32;
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

/// What is known of a socket. See the module's text.
#[derive(Debug)]
pub(crate) struct Source {
    word: AtomicU64,
    waiting: [Spin<Vec<Unparker>>; 2],
}

/// A source's word before an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u64);

impl Source {
    fn new() -> Source {
        Source { word: AtomicU64::new(READ | WRITE), waiting: [Spin::new(Vec::new()), Spin::new(Vec::new())] }
    }

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
        let waiting = Waiting { list: &self.waiting[direction as usize], of: Unparker::current() };
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

    fn event(&self, flags: u64) {
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
            let Some(one) = list.lock().pop() else { return };
            one.unpark();
        }
    }
}

/// An entry in a list of waiters, taken out at the end of the wait, or because it unwinds.
struct Waiting<'a> {
    list: &'a Spin<Vec<Unparker>>,
    of: Unparker,
}

impl Waiting<'_> {
    fn enter(&self) {
        let mut list = self.list.lock();
        if !list.iter().any(|other| other.is(&self.of)) {
            list.push(self.of.clone());
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.list.lock().retain(|other| !other.is(&self.of));
    }
}

/// A cpu's epoll instance: what all threads may use of it.
pub(crate) struct Reactor {
    registry: Registry,
    waker: Waker,
    sources: Spin<Slab<Arc<Source>>>,
    /// Sources there were at the last look.
    any: AtomicBool,
    own: Own,
}

/// What only the cpu's kernel thread touches.
struct Own {
    poll: RefCell<(Poll, Events)>,
    timer: OwnedFd,
    /// The deadline that the timer is set to, in nanoseconds of CLOCK_MONOTONIC; 0: it is not.
    armed: Cell<u64>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        // SAFETY: makes a descriptor.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let own = Own { poll: RefCell::new((poll, Events::with_capacity(EVENTS))), timer, armed: Cell::new(0) };
        Ok(Reactor { registry, waker, sources: Spin::new(Slab::new()), any: AtomicBool::new(false), own })
    }

    /// Ends the cpu's sleep, or the next one.
    pub(crate) fn notify(&self) {
        // Writing to an event descriptor fails only if it is closed, and then the process is beyond help.
        self.waker.wake().expect("the notification of a cpu");
    }

    /// From now on the events of `socket` are in the source. By any thread.
    pub(crate) fn register(&self, socket: &mut impl event::Source) -> io::Result<(Arc<Source>, usize)> {
        let source = Arc::new(Source::new());
        let key = self.sources.lock().insert(Arc::clone(&source));
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        if let Err(error) = self.registry.register(socket, Token(key), all) {
            self.sources.lock().remove(key);
            return Err(error);
        }
        Ok((source, key))
    }

    /// Ends a registration. Events that were on their way may reach the next source with this key: it tries for nothing.
    pub(crate) fn deregister(&self, socket: &mut impl event::Source, key: usize) -> io::Result<()> {
        let result = self.registry.deregister(socket);
        self.sources.lock().remove(key);
        result
    }

    /// The cpu has stopped for good: who waits for a socket of it is told.
    pub(crate) fn end(&self) {
        let sources: Vec<Arc<Source>> = self.sources.lock().iter().map(|(_, source)| Arc::clone(source)).collect();
        for source in sources {
            source.event(ENDED);
        }
    }

    /// Whether a look can find anything. By the cpu's owner.
    pub(super) fn has_sources(&self) -> bool {
        if !self.had_sources() {
            self.any.store(!self.sources.lock().is_empty(), Ordering::Relaxed);
        }
        self.had_sources()
    }

    /// As a hint, to anybody.
    #[inline]
    pub(crate) fn had_sources(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Wakes whose sockets are ready, without waiting. By the cpu's owner.
    pub(super) fn look(&self) {
        self.poll(Some(Duration::ZERO));
        self.any.store(!self.sources.lock().is_empty(), Ordering::Relaxed);
    }

    /// Sleeps until a socket is ready, somebody notifies, or the deadline (nanoseconds of CLOCK_MONOTONIC; `u64::MAX`: none) has passed. By the
    /// cpu's thread.
    pub(super) fn sleep(&self, deadline: u64) {
        if deadline != u64::MAX && deadline != self.own.armed.get() {
            self.arm(deadline);
        }
        self.poll(None);
    }

    /// A deadline that is over when the timer is set counts as passed at once.
    fn arm(&self, deadline: u64) {
        let at = libc::timespec {
            tv_sec: (deadline / 1_000_000_000) as libc::time_t,
            tv_nsec: (deadline % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::itimerspec { it_interval: never, it_value: at };
        let timer = self.own.timer.as_raw_fd();
        // SAFETY: a timer descriptor of ours, and a time that is only read.
        unsafe { libc::timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &raw const time, std::ptr::null_mut()) };
        self.own.armed.set(deadline);
    }

    fn poll(&self, timeout: Option<Duration>) {
        let (poll, events) = &mut *self.own.poll.borrow_mut();
        match poll.poll(events, timeout) {
            Ok(()) => (),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // Only a descriptor that is none gives another error.
            Err(error) => panic!("waiting for sockets: {error}"),
        }
        for event in events.iter() {
            match event.token() {
                WAKER => (),
                TIMER => self.own.armed.set(0),
                Token(key) => {
                    let source = self.sources.lock().get(key).map(Arc::clone);
                    if let Some(source) = source {
                        source.event(flags_of(event));
                    }
                }
            }
        }
    }
}

fn flags_of(event: &event::Event) -> u64 {
    let flag = |set, flag| if set { flag } else { 0 };
    let failed = event.is_error();
    flag(event.is_readable() || failed, READ)
        | flag(event.is_priority(), URGENT)
        | flag(event.is_writable() || failed, WRITE)
        | flag(event.is_read_closed(), READ_CLOSED)
        | flag(event.is_write_closed() || failed, WRITE_CLOSED)
}
