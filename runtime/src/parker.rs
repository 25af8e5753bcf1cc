//! What a plain thread waits on. From a cache of Fairground's, counted: the scheduler may be the last to let go of one, and it gives nothing to other allocators.

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::kthread::word::Word;
use crate::task::slab::Slab;
use std::cell::Cell;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

struct Parker {
    refs: AtomicU32,
    word: Word,
}

static PARKERS: Slab<Parker> = Slab::new("parker", || Parker { refs: AtomicU32::new(0), word: Word::new() });

/// A counted reference to a thread's parker.
pub(crate) struct ParkerRef(NonNull<Parker>);

// SAFETY: made for use by all threads; only its own thread sleeps on it.
unsafe impl Send for ParkerRef {}
// SAFETY: as above.
unsafe impl Sync for ParkerRef {}
// No step of ours is half done when a waker unwinds.
impl std::panic::UnwindSafe for ParkerRef {}
impl std::panic::RefUnwindSafe for ParkerRef {}

thread_local! {
    static THIS: Cell<Option<NonNull<Parker>>> = const { Cell::new(None) };
    static AT_EXIT: AtExit = const { AtExit };
}

/// Lets go of the thread's own reference. A thread that waits after that, in a later destructor, makes another one, which stays.
struct AtExit;

impl Drop for AtExit {
    fn drop(&mut self) {
        drop(THIS.take().map(ParkerRef));
    }
}

impl ParkerRef {
    /// The calling thread's.
    ///
    /// # Panics
    /// There is no memory for it.
    pub(crate) fn current() -> ParkerRef {
        let parker = THIS.get().unwrap_or_else(ParkerRef::make);
        // SAFETY: the thread's own reference keeps it.
        unsafe { parker.as_ref() }.refs.fetch_add(1, Ordering::Relaxed);
        ParkerRef(parker)
    }

    #[cold]
    fn make() -> NonNull<Parker> {
        let parker = PARKERS.alloc().expect("memory for a thread to wait on");
        // SAFETY: just allocated.
        unsafe { parker.as_ref() }.refs.store(1, Ordering::Relaxed);
        THIS.set(Some(parker));
        // Too late in some destructors, where it is as if it had been done.
        let _ = AT_EXIT.try_with(|_| ());
        parker
    }

    fn parker(&self) -> &Parker {
        // SAFETY: it exists as long as a reference does.
        unsafe { self.0.as_ref() }
    }

    /// Ends the thread's wait, or the next one.
    pub(crate) fn unpark(&self) {
        self.parker().word.wake();
    }

    /// By its own thread: waits until it is unparked, or the deadline has passed.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => self.parker().word.sleep(),
            Some(Duration::ZERO) => (),
            Some(left) => _ = self.parker().word.sleep_for(left),
        }
    }
}

impl Clone for ParkerRef {
    fn clone(&self) -> ParkerRef {
        self.parker().refs.fetch_add(1, Ordering::Relaxed);
        ParkerRef(self.0)
    }
}

impl Drop for ParkerRef {
    fn drop(&mut self) {
        if self.parker().refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // A wake-up that nobody waited for is not the next user's.
            self.parker().word.reset();
            // SAFETY: the last reference.
            unsafe { PARKERS.free(self.0) };
        }
    }
}

impl std::fmt::Debug for ParkerRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "thread at {:p}", self.0)
    }
}
