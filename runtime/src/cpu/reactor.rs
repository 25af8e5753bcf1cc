//! The sockets of a cpu: an epoll instance that its kernel thread sleeps in, and looks at now and then while it runs.
//!
//! Sockets are registered once, for both directions, edge-triggered; nothing is armed again for each wait. What the edges said is in
//! the source's word (`source.rs`).
//!
//! # Sleeping
//!
//! epoll counts milliseconds, so deadlines are kept by a timer descriptor in the same instance, set when the earliest deadline is another one than before.

use super::source::{ENDED, READ, READ_CLOSED, SourceRef, URGENT, WRITE, WRITE_CLOSED};
use crate::atomic::{AtomicBool, Ordering};
use crate::spin::Spin;
use mio::event;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events taken at once: what a cpu has to do then is some tens of microseconds.
const EVENTS: usize = 256;

/// Tokens that are no source's.
const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// The sources of a reactor by their numbers, which are the tokens of its events. It grows without its lock: nothing is allocated under that.
struct Sources {
    places: Vec<Option<SourceRef>>,
    free: Vec<usize>,
}

impl Sources {
    fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// None if there is no room.
    fn insert(&mut self, source: SourceRef) -> Result<usize, SourceRef> {
        let Some(key) = self.free.pop() else { return Err(source) };
        self.places[key] = Some(source);
        Ok(key)
    }

    fn remove(&mut self, key: usize) -> Option<SourceRef> {
        let source = self.places.get_mut(key)?.take();
        if source.is_some() {
            self.free.push(key);
        }
        source
    }

    /// The same in larger vectors, of which the old ones come back to be freed.
    fn move_into(&mut self, mut larger: Sources) -> Sources {
        if larger.places.capacity() <= self.places.len() {
            // Somebody else was quicker.
            return larger;
        }
        larger.places.append(&mut self.places);
        larger.free.append(&mut self.free);
        let first = larger.places.len();
        larger.places.resize_with(larger.places.capacity(), || None);
        larger.free.extend((first..larger.places.len()).rev());
        std::mem::replace(self, larger)
    }

    fn with_capacity(capacity: usize) -> Sources {
        Sources { places: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity) }
    }
}

/// A cpu's epoll instance: what all threads may use of it.
pub(crate) struct Reactor {
    registry: Registry,
    waker: Waker,
    sources: Spin<Sources>,
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
        Ok(Reactor { registry, waker, sources: Spin::new(Sources::with_capacity(0)), any: AtomicBool::new(false), own })
    }

    /// Ends the cpu's sleep, or the next one.
    pub(crate) fn notify(&self) {
        // Writing to an event descriptor fails only if it is closed, and then the process is beyond help.
        self.waker.wake().expect("the notification of a cpu");
    }

    /// From now on the events of `socket` are in the source. By any thread.
    pub(crate) fn register(&self, socket: &mut impl event::Source) -> io::Result<(SourceRef, usize)> {
        let source = SourceRef::new().ok_or(io::ErrorKind::OutOfMemory)?;
        let key = self.insert(source.clone());
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        if let Err(error) = self.registry.register(socket, Token(key), all) {
            drop(self.remove(key));
            return Err(error);
        }
        Ok((source, key))
    }

    fn insert(&self, mut source: SourceRef) -> usize {
        loop {
            let len = {
                let mut sources = self.sources.lock();
                match sources.insert(source) {
                    Ok(key) => return key,
                    Err(back) => source = back,
                }
                sources.places.len()
            };
            let larger = Sources::with_capacity((2 * len).max(64));
            let old = self.sources.lock().move_into(larger);
            drop(old);
        }
    }

    fn remove(&self, key: usize) -> Option<SourceRef> {
        self.sources.lock().remove(key)
    }

    /// Ends a registration. Events that were on their way may reach the next source with this key: it tries for nothing.
    pub(crate) fn deregister(&self, socket: &mut impl event::Source, key: usize) -> io::Result<()> {
        let result = self.registry.deregister(socket);
        drop(self.remove(key));
        result
    }

    /// The cpu has stopped for good: who waits for a socket of it is told.
    pub(crate) fn end(&self) {
        let of = |key: usize| self.sources.lock().places.get(key).cloned();
        for source in (0..).map_while(of).flatten() {
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
                    let source = self.sources.lock().places.get(key).and_then(Option::clone);
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
