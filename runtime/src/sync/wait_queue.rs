//! Where tasks and threads wait for something, first come first served. Everything in `sync` and `channel` stands on it.
//!
//! **A [`WaitQueue`]** is a word and a list of [`Waiter`]s under a spin lock. The upper half of the word is the length of the list;
//! the lower half belongs to the owner (locked? how many permits? closed?). So one atomic operation on the word tells an owner's
//! fast path that nobody waits, and one changes its state only if nobody does.
//!
//! **A waiter** lives on the stack of whoever waits and is linked while the lock is held:
//!
//! | state | `linked` | `claim` | left by |
//! |---|---|---|---|
//! | waiting | yes | 0 | a waker, which unlinks and claims; the waiter itself on timeout or unwinding, which unlinks |
//! | woken | no | the waker's message, plus one | - |
//! | withdrawn | no | 0 (one queue), [`ABORTED`] (a select) | - |
//!
//! All fields but `claim` may be touched only with the queue's lock held. Who waits in one queue may go as soon as it sees the claim,
//! without the lock: so the claim is the waker's last access to the waiter. It takes the [`Unparker`] out before and calls
//! it once the lock is released. A select has a waiter in each of several queues and one [`Claim`] for all; wakers race for it
//! and skip a waiter whose claim they lose. Its claim may be gone only after it took the lock of every queue once more, to withdraw
//! the waiters: so a waker that holds the lock and sees a linked waiter may use the waiter's claim.
//!
//! **No wake-up is lost** between the look at the condition and the wait: after it is linked, and still under the lock, a waiter is
//! given the word as its own increment left it and decides whether it must wait. If the condition is part of the word, the
//! owner's change came before the increment and is seen, or comes after it and sees a length above zero. If it is not (a channel's
//! storage), both sides put a sequentially consistent fence between their write and their look: Dekker's argument, see `channel`.
//!
//! **A waiter that goes without what it was woken for** (it unwinds, as its task was cancelled) tells the owner, which wakes another.
//!
//! Memory ordering: the claim is written with release and read with acquire, so what the waker did before is visible to who was
//! woken. The word's length changes under the lock, by sequentially consistent operations.
//!
//! Rejected: queues hashed by address, as in `parking_lot`. Locks would be a byte, but tenants would share queues and their locks;
//! waiting lists that the owner allocates (`std::sync::mpsc`): waiting would allocate.

use super::SpinLock;
use super::spin_lock::SpinLockGuard;
use crate::atomic::{AtomicU64, AtomicUsize, Ordering, UnsafeCell, fence};
use crate::park::{Unparker, has_passed, park};
use std::ptr;
use std::time::Instant;

/// One waiter in a queue's word. Below it are the owner's bits.
pub(crate) const WAITER: u64 = 1 << 32;

/// Of a claim: its owner takes none of the offers.
pub(crate) const ABORTED: usize = usize::MAX;

pub(crate) struct WaitQueue<S = ()> {
    word: AtomicU64,
    inner: SpinLock<Inner<S>>,
}

struct Inner<S> {
    list: List,
    state: S,
}

/// Who takes the one event that ends a wait: 0 as long as nobody did, else a message plus one.
#[derive(Debug)]
pub(crate) struct Claim(AtomicUsize);

impl Claim {
    pub(crate) fn new() -> Claim {
        Claim(AtomicUsize::new(0))
    }

    /// The one change of a claim's state. Tells whether it was this one.
    pub(crate) fn take(&self, message: usize) -> bool {
        self.0.compare_exchange(0, message.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the claim for its owner, which then accepts no offer; else the message.
    pub(crate) fn abort(&self) -> Result<(), usize> {
        match self.0.compare_exchange(0, ABORTED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(message) => Err(message - 1),
        }
    }

    pub(crate) fn message(&self) -> Option<usize> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }

    /// Waits until it is taken; `None`: not before the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<usize> {
        loop {
            if let Some(message) = self.message() {
                return Some(message);
            }
            if has_passed(deadline) {
                return None;
            }
            park(deadline);
        }
    }
}

/// Somebody in a queue. It must not move or go while it is linked.
pub(crate) struct Waiter<'a> {
    /// All under the lock of the queue that it is in.
    links: UnsafeCell<Links>,
    claim: &'a Claim,
    /// What the waker tells by its claim, if it has nothing of its own to tell.
    message: usize,
    /// What the owner of the queue wants to know about the waiter: how many permits, a reader or a writer.
    tag: u32,
    /// Where a value passes from hand to hand (`channel::rendezvous`), else null.
    packet: *mut (),
}

struct Links {
    linked: bool,
    previous: *const Waiter<'static>,
    next: *const Waiter<'static>,
    unparker: Option<Unparker>,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(claim: &'a Claim, message: usize, tag: u32, packet: *mut ()) -> Waiter<'a> {
        let links = Links { linked: false, previous: ptr::null(), next: ptr::null(), unparker: None };
        Waiter { links: UnsafeCell::new(links), claim, message, tag, packet }
    }

    /// The waiter as the list knows it: lifetimes are the protocol's business there.
    fn erase(&self) -> *const Waiter<'static> {
        ptr::from_ref(self).cast()
    }

    fn is_linked(&self) -> bool {
        // SAFETY: callers hold the lock of the queue, see `List`.
        self.links.with(|links| unsafe { (*links).linked })
    }
}

/// A ring of waiters, from the first to the last. Its functions are called with the queue's lock held.
struct List {
    front: *const Waiter<'static>,
}

// SAFETY: the pointers lead to waiters that are alive while they are linked; they are followed under the queue's lock only.
unsafe impl Send for List {}

impl List {
    /// # Safety
    /// The waiter is in no list, and is taken out before it moves or goes.
    unsafe fn insert(&mut self, waiter: *const Waiter<'static>, unparker: Unparker, at_front: bool) {
        // SAFETY: the waiter is alive, as are those linked; all links are ours, as the lock is held.
        unsafe {
            let (previous, next) = if self.front.is_null() {
                (waiter, waiter)
            } else {
                ((*self.front).links.with(|links| (*links).previous), self.front)
            };
            (*waiter).links.with_mut(|links| {
                debug_assert!(!(*links).linked);
                *links = Links { linked: true, previous, next, unparker: Some(unparker) };
            });
            if next != waiter {
                (*previous).links.with_mut(|links| (*links).next = waiter);
                (*next).links.with_mut(|links| (*links).previous = waiter);
            }
        }
        if at_front || self.front.is_null() {
            self.front = waiter;
        }
    }

    /// # Safety
    /// The waiter is in this list.
    unsafe fn remove(&mut self, waiter: *const Waiter<'static>) -> Unparker {
        // SAFETY: the waiter and its neighbours are linked, so alive; all links are ours, as the lock is held.
        unsafe {
            let (previous, next, unparker) = (*waiter).links.with_mut(|links| {
                debug_assert!((*links).linked);
                (*links).linked = false;
                ((*links).previous, (*links).next, (*links).unparker.take())
            });
            if next == waiter {
                self.front = ptr::null();
            } else {
                (*previous).links.with_mut(|links| (*links).next = next);
                (*next).links.with_mut(|links| (*links).previous = previous);
                if self.front == waiter {
                    self.front = next;
                }
            }
            unparker.unwrap_unchecked()
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A waker did, and said this.
    Woken(usize),
    /// The deadline came first; the waiter is in the queue no longer.
    TimedOut,
    /// It was found that there is no need to wait.
    Needless,
}

/// How to wait.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) deadline: Option<Instant>,
    pub(crate) tag: u32,
    /// Before all others: who was woken and came too late does not lose its place.
    pub(crate) at_front: bool,
}

impl Wait {
    pub(crate) fn until(deadline: Option<Instant>) -> Wait {
        Wait { deadline, tag: 0, at_front: false }
    }
}

impl<S> WaitQueue<S> {
    const_fn! {
        /// An empty queue; `bits` are the owner's.
        pub(crate) fn new(bits: u32, state: S) -> WaitQueue<S> {
            WaitQueue {
                word: AtomicU64::new(bits as u64),
                inner: SpinLock::new(Inner { list: List { front: ptr::null() }, state }),
            }
        }
    }

    /// The owner changes its own bits only, in the lower half; the length is the queue's.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.word
    }

    /// Waits for a waker, if `must_wait` still says so once the waiter is in the queue. It is called with the lock held, with the word
    /// as of the moment this waiter was counted.
    ///
    /// If the wait ends by unwinding, `withdrawn` is called once the waiter is out of the queue: with the message if
    /// the waiter was woken before, so that what the message stood for can go to somebody else.
    pub(crate) fn wait(
        &self,
        how: Wait,
        must_wait: impl FnOnce(u64, &mut S) -> bool,
        withdrawn: impl Fn(Option<usize>),
    ) -> Wake {
        let claim = Claim::new();
        let waiter = Waiter::new(&claim, 0, how.tag, ptr::null_mut());
        {
            let mut queue = self.lock();
            // SAFETY: it is withdrawn here, or `finish` sees to it.
            let word = unsafe { queue.link(&waiter, how.at_front) };
            if !must_wait(word, queue.state()) {
                queue.withdraw(&waiter);
                return Wake::Needless;
            }
        }
        self.finish(&waiter, how.deadline, || (), withdrawn)
    }

    /// Waits for a waker. `begin` is called once the waiter is in the queue, with the lock released. Unwinding: see [`WaitQueue::wait`].
    pub(crate) fn wait_after(&self, how: Wait, begin: impl FnOnce(), withdrawn: impl Fn(Option<usize>)) -> Wake {
        let claim = Claim::new();
        let waiter = Waiter::new(&claim, 0, how.tag, ptr::null_mut());
        // SAFETY: `finish` sees to it that it is withdrawn or its claim seen.
        unsafe { self.lock().link(&waiter, how.at_front) };
        self.finish(&waiter, how.deadline, begin, withdrawn)
    }

    /// Waits, as a waiter that has a claim of its own and a packet, and is in the queue. The lock is taken once more before the return.
    pub(crate) fn finish_locked(&self, waiter: &Waiter<'_>, deadline: Option<Instant>) -> Wake {
        let wake = self.finish(waiter, deadline, || (), |_| ());
        drop(self.lock());
        wake
    }

    /// Waits, as a waiter that has a claim of its own and is in the queue.
    fn finish(
        &self,
        waiter: &Waiter<'_>,
        deadline: Option<Instant>,
        begin: impl FnOnce(),
        withdrawn: impl Fn(Option<usize>),
    ) -> Wake {
        let unwinding = Unwinding { queue: self, waiter, withdrawn };
        begin();
        #[cfg(all(test, loom))]
        if crate::park::cancellation::strikes() {
            drop(unwinding);
            return Wake::TimedOut;
        }
        let woken = waiter.claim.wait(deadline);
        std::mem::forget(unwinding);
        match woken.or_else(|| self.withdraw(waiter)) {
            Some(message) => Wake::Woken(message),
            None => Wake::TimedOut,
        }
    }

    /// Takes a waiter out; if a waker was there before, its message. The waiter may go afterwards.
    pub(crate) fn withdraw(&self, waiter: &Waiter<'_>) -> Option<usize> {
        if self.lock().withdraw(waiter) { None } else { waiter.claim.message() }
    }

    /// Everything else is done with the lock held.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, S> {
        Locked { word: &self.word, inner: self.inner.lock() }
    }

    /// Wakes who waits longest. Cheap if nobody does.
    ///
    /// A sequentially consistent fence stands before the look at the queue: whatever the caller did before is seen by a waiter that is
    /// not seen here, if that has such a fence between its being counted and its last look.
    #[inline]
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if self.word.load(Ordering::Relaxed) >= WAITER {
            self.wake_one_slow();
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn wake_one_slow(&self) {
        let woken = self.lock().wake_front(None);
        if let Some(unparker) = woken {
            unparker.unpark();
        }
    }

    /// Wakes all who wait now. Fences as [`WaitQueue::wake_one`] does.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        // Whoever comes while we wake is not meant.
        let mut left = self.word.load(Ordering::Relaxed) / WAITER;
        while left > 0 {
            let mut batch = Batch::new();
            let mut queue = self.lock();
            while left > 0 && !batch.is_full() {
                left -= 1;
                match queue.wake_front(None) {
                    Some(unparker) => batch.push(unparker),
                    None => left = 0,
                }
            }
            drop(queue);
            batch.unpark();
        }
    }
}

/// A queue whose lock is held.
pub(crate) struct Locked<'a, S> {
    word: &'a AtomicU64,
    inner: SpinLockGuard<'a, Inner<S>>,
}

impl<S> Locked<'_, S> {
    #[inline]
    pub(crate) fn state(&mut self) -> &mut S {
        &mut self.inner.state
    }

    /// The tag of who waits longest.
    pub(crate) fn front(&self) -> Option<u32> {
        let front = self.inner.list.front;
        // SAFETY: linked, so alive.
        (!front.is_null()).then(|| unsafe { (*front).tag })
    }

    /// Puts a waiter in and returns the word as of that moment.
    ///
    /// # Safety
    /// The waiter is in no queue. It is withdrawn, or its claim seen if it has that claim alone, before it moves or goes.
    pub(crate) unsafe fn link(&mut self, waiter: &Waiter<'_>, at_front: bool) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.inner.list.insert(waiter.erase(), Unparker::current(), at_front) };
        self.word.fetch_add(WAITER, Ordering::SeqCst) + WAITER
    }

    /// Takes a waiter out. `false`: a waker had done it.
    pub(crate) fn withdraw(&mut self, waiter: &Waiter<'_>) -> bool {
        let linked = waiter.is_linked();
        if linked {
            // SAFETY: a waiter is linked in the queue of its one `link`, which is this.
            drop(unsafe { self.unlink(waiter.erase()) });
        }
        linked
    }

    /// # Safety
    /// The waiter is in this queue.
    unsafe fn unlink(&mut self, waiter: *const Waiter<'static>) -> Unparker {
        self.word.fetch_sub(WAITER, Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { self.inner.list.remove(waiter) }
    }

    /// Takes the first waiter that can be woken out and claims it, with the message or the waiter's own. The caller unparks it once
    /// the lock is released.
    pub(crate) fn wake_front(&mut self, message: Option<usize>) -> Option<Unparker> {
        while !self.inner.list.front.is_null() {
            let front = self.inner.list.front;
            // SAFETY: linked, so alive until it is claimed or the lock released; a select's longer than that.
            let (unparker, claim, message) = unsafe {
                let unparker = self.unlink(front);
                (unparker, (*front).claim, message.unwrap_or((*front).message))
            };
            // The last access: from here on the waiter may be gone.
            if claim.take(message) {
                return Some(unparker);
            }
        }
        None
    }

    /// As [`Locked::wake_front`], for waiters with this tag; the packet of whom it wakes is passed over. Only for waiters that take
    /// this lock once more before they go.
    pub(crate) fn wake_tagged(&mut self, tag: u32, pass: impl FnOnce(*mut ())) -> Option<Unparker> {
        while let Some(waiter) = self.find(tag, ptr::null()) {
            // SAFETY: linked in this queue, so alive; and until the lock is released, as it takes it before it goes.
            unsafe {
                let unparker = self.unlink(waiter);
                if (*waiter).claim.take((*waiter).message) {
                    pass((*waiter).packet);
                    return Some(unparker);
                }
            }
        }
        None
    }

    /// Is there a waiter with this tag that can be woken, other than those of the select that `own` belongs to?
    pub(crate) fn has_tagged(&mut self, tag: u32, own: &Waiter<'_>) -> bool {
        while let Some(waiter) = self.find(tag, own.claim) {
            // SAFETY: linked in this queue, so alive.
            unsafe {
                if (*waiter).claim.message().is_none() {
                    return true;
                }
                // It is about to go.
                self.unlink(waiter);
            }
        }
        false
    }

    fn find(&self, tag: u32, own: *const Claim) -> Option<*const Waiter<'static>> {
        let front = self.inner.list.front;
        let mut waiter = front;
        while !waiter.is_null() {
            // SAFETY: linked, so alive.
            let (found, next) = unsafe {
                let other = !ptr::eq(own, (*waiter).claim);
                ((*waiter).tag == tag && other, (*waiter).links.with(|links| (*links).next))
            };
            if found {
                return Some(waiter);
            }
            waiter = if next == front { ptr::null() } else { next };
        }
        None
    }
}

/// Takes a waiter out of its queue when `park` unwinds.
struct Unwinding<'a, S, F: Fn(Option<usize>)> {
    queue: &'a WaitQueue<S>,
    waiter: &'a Waiter<'a>,
    withdrawn: F,
}

impl<S, F: Fn(Option<usize>)> Drop for Unwinding<'_, S, F> {
    fn drop(&mut self) {
        let message = self.queue.withdraw(self.waiter);
        (self.withdrawn)(message);
    }
}

/// Some who were woken and are to be unparked once the lock is released.
pub(crate) struct Batch {
    woken: [Option<Unparker>; Batch::SIZE],
    len: usize,
}

impl Batch {
    /// Bounds how long the lock is held, with preemption off, and the room on the stack (16 bytes each).
    #[cfg(not(loom))]
    const SIZE: usize = 16;
    /// So that models reach the second batch.
    #[cfg(loom)]
    const SIZE: usize = 1;

    pub(crate) fn new() -> Batch {
        Batch { woken: [const { None }; Batch::SIZE], len: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == Batch::SIZE
    }

    pub(crate) fn push(&mut self, unparker: Unparker) {
        self.woken[self.len] = Some(unparker);
        self.len += 1;
    }

    /// With no lock held.
    pub(crate) fn unpark(self) {
        self.woken.into_iter().flatten().for_each(|unparker| unparker.unpark());
    }
}
