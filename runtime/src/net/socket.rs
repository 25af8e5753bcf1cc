//! What all sockets are inside: the descriptor, its registration, its timeouts, and how an operation is tried and waited for.

use crate::cpu::source::{Direction, SourceRef};
use crate::cpu::{current_task, get_cpu};
use crate::park::{checkpoint, deadline_after};
use crate::runtime::{Runtime, Shared};
use mio::unix::SourceFd;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A socket; clones are the same one.
pub(super) struct Socket<S>(Arc<Inner<S>>);

struct Inner<S> {
    /// Before the descriptor, which must be open when the registration ends.
    registered: OnceLock<Registered>,
    io: S,
    /// Held by who registers it.
    registering: Mutex<()>,
    /// Nanoseconds, for each direction; 0: none.
    timeouts: [AtomicU64; 2],
    nonblocking: AtomicBool,
}

/// A place in a reactor.
struct Registered {
    shared: Arc<Shared>,
    cpu: usize,
    source: SourceRef,
    key: usize,
    descriptor: RawFd,
}

impl Registered {
    /// With the cpu that runs here, else one of the global runtime.
    fn new(io: &impl AsFd) -> io::Result<Registered> {
        // SAFETY: a runtime outlives its tasks.
        let ours = current_task().and_then(|task| unsafe { task.shared().as_ref() }.handle());
        let (shared, cpu) = match (ours, get_cpu().map(|cpu| cpu.index)) {
            (Some(shared), Some(cpu)) => (shared, cpu),
            _ => {
                let shared = Arc::clone(Runtime::global().shared());
                let cpu = shared.some_cpu();
                (shared, cpu)
            }
        };
        let cpu = cpu as usize;
        let descriptor = io.as_fd().as_raw_fd();
        let (source, key) = shared.cpus[cpu].reactor.register(&mut SourceFd(&descriptor))?;
        Ok(Registered { shared, cpu, source, key, descriptor })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The descriptor is open and was registered there; were it to fail, closing would do it.
        let _ = self.shared.cpus[self.cpu].reactor.deregister(&mut SourceFd(&self.descriptor), self.key);
    }
}

impl<S: AsFd> Socket<S> {
    /// The socket is in non-blocking mode.
    pub(super) fn new(io: S) -> Socket<S> {
        Socket(Arc::new(Inner {
            io,
            registered: OnceLock::new(),
            registering: Mutex::new(()),
            timeouts: [AtomicU64::new(0), AtomicU64::new(0)],
            nonblocking: AtomicBool::new(false),
        }))
    }

    /// The same socket.
    pub(super) fn share(&self) -> Socket<S> {
        Socket(Arc::clone(&self.0))
    }

    pub(super) fn io(&self) -> &S {
        &self.0.io
    }

    /// Tries until it would not block, for as long as the timeout of the direction says.
    pub(super) fn attempt<T>(&self, direction: Direction, f: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.attempt_until(direction, self.deadline(direction), f, |_| false)
    }

    /// As [`attempt`](Socket::attempt), to move up to `room` bytes of a stream in which less than that means that there is no more.
    pub(super) fn attempt_bytes(
        &self,
        direction: Direction,
        room: usize,
        f: impl FnMut(&S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.attempt_until(direction, self.deadline(direction), f, |&moved| moved < room && moved != 0)
    }

    /// As [`attempt`](Socket::attempt), to move some bytes of a stream, whatever there is room for.
    pub(super) fn attempt_some(
        &self,
        direction: Direction,
        _room: usize,
        f: impl FnMut(&S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.attempt(direction, f)
    }

    /// Tries, and does not wait.
    pub(super) fn attempt_once<T>(&self, f: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        checkpoint();
        f(&self.0.io)
    }

    /// As [`attempt`](Socket::attempt), until the deadline. `exhausts` tells whether a success leaves nothing for the next attempt.
    pub(super) fn attempt_until<T>(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        mut f: impl FnMut(&S) -> io::Result<T>,
        exhausts: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        checkpoint();
        if self.is_nonblocking() {
            return f(&self.0.io);
        }
        let source = match self.0.registered.get() {
            Some(registered) => &registered.source,
            None => match f(&self.0.io) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => &self.register()?.source,
                result => return result,
            },
        };
        loop {
            let seen = match source.wait(direction, deadline) {
                Ok(seen) => seen,
                // The time is over, and the news of what is there may be late.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return f(&self.0.io),
                Err(error) => return Err(error),
            };
            let result = f(&self.0.io);
            match &result {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    source.blocked(direction, seen);
                    continue;
                }
                Ok(moved) if exhausts(moved) => source.exhausted(direction, seen),
                _ => (),
            }
            return result;
        }
    }

    #[cold]
    fn register(&self) -> io::Result<&Registered> {
        // One at a time: a second registration would fail, or be another cpu's.
        let _registering = self.0.registering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registered) = self.0.registered.get() {
            return Ok(registered);
        }
        let registered = Registered::new(&self.0.io)?;
        Ok(self.0.registered.get_or_init(|| registered))
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.0.nonblocking.load(Ordering::Relaxed)
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn timeout(&self, direction: Direction) -> Option<Duration> {
        let nanoseconds = self.0.timeouts[direction as usize].load(Ordering::Relaxed);
        (nanoseconds != 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(no_time_at_all());
        }
        // Times beyond 584 years are as good as that.
        let nanoseconds = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self.0.timeouts[direction as usize].store(nanoseconds, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn deadline(&self, direction: Direction) -> Option<Instant> {
        self.timeout(direction).and_then(deadline_after)
    }

    /// What is inside, without its registration, and whether it was to be non-blocking.
    ///
    /// # Errors
    /// There are clones, for which it must stay as it is.
    pub(super) fn into_io(self) -> io::Result<(S, bool)> {
        let inner = Arc::into_inner(self.0).ok_or_else(|| {
            io::Error::new(ErrorKind::ResourceBusy, "a clone of the socket exists, which could not be used any more")
        })?;
        let nonblocking = inner.nonblocking.into_inner();
        drop(inner.registered);
        Ok((inner.io, nonblocking))
    }
}

/// A timeout of nothing is an error, as in std.
pub(super) fn no_time_at_all() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "a timeout of 0: allowed are 1 ns and more, or None")
}

impl<S: AsFd + std::fmt::Debug> std::fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.io.fmt(f)
    }
}
