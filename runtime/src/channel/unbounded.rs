//! The messages of an unbounded channel: a list of blocks, with a lock for each end.
//!
//! ```text
//!   head ──► block ──► block ──► block ◄── tail
//!            [··ab]    [cdef]    [gh··]
//!               ▲ taken              ▲ written
//! ```
//!
//! A sender holds the tail's lock, writes its message into the last block, or a new one that it links there, and counts it in
//! `written`. A receiver holds the head's lock and takes what `written` says is there. So the ends meet in `written` alone, and in the links:
//! a message and the link to its block are written before the count that covers them, with release, and read after it, with acquire.
//! A block belongs to the receivers from the moment that its last message is counted; they free it when they have taken that and
//! follow its link, which is written by then, as there is a message behind it.
//!
//! Both locks are held for some instructions, with preemption off, and released by a store; blocks are made and freed without them. There is no block before the first message.
//! One emptied block is kept for the senders (`spare`): a channel that is not far behind allocates nothing.
//!
//! Rejected: `crossbeam-queue`'s `SegQueue`, whose ends are moved by compare-and-swap. With it a send and a receive are six atomic
//! operations and 175 instructions, with this three and 87; it takes 256 bytes, this 128; and it too lets others wait for a thread that the
//! kernel stopped at the wrong moment.

use crate::atomic::{AtomicPtr, AtomicUsize, Ordering, UnsafeCell};
use crate::sync::{SpinLock, SpinLockGuard};
use std::mem::MaybeUninit;
use std::ptr;

/// Messages in a block. With words as messages a block is 256 bytes, and the costs of one are spread over 31.
#[cfg(not(loom))]
const BLOCK: usize = 31;
/// So that models reach the second block.
#[cfg(loom)]
const BLOCK: usize = 2;

pub(crate) struct Unbounded<T> {
    tail: End<T>,
    head: End<T>,
}

/// One end, on a cache line of its own: senders and receivers do not disturb each other.
#[repr(align(64))]
struct End<T> {
    lock: SpinLock<Place<T>>,
    /// At the tail: how many messages were written. At the head: how many were taken. Changed with the lock held, and wrapping.
    count: AtomicUsize,
    /// At the head: the first block, from its making until the first receiver sees it. At the tail: an emptied block, or null.
    shared: AtomicPtr<Block<T>>,
}

/// Where the next message is written or taken: always within a block, or behind its end.
struct Place<T> {
    block: *mut Block<T>,
    index: usize,
}

struct Block<T> {
    next: UnsafeCell<*mut Block<T>>,
    messages: [UnsafeCell<MaybeUninit<T>>; BLOCK],
}

// SAFETY: messages pass from thread to thread by value; blocks belong to the ends, by the protocol above.
unsafe impl<T: Send> Send for Unbounded<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Unbounded<T> {}

impl<T> Block<T> {
    fn allocate() -> *mut Block<T> {
        let block = Box::into_raw(Box::<Block<T>>::new_uninit()).cast::<Block<T>>();
        // SAFETY: ours, and large enough. Cells of nothing need no writing, and a block of large messages not the stack.
        unsafe {
            (&raw mut (*block).next).write(UnsafeCell::new(ptr::null_mut()));
            let messages = (&raw mut (*block).messages).cast::<UnsafeCell<MaybeUninit<T>>>();
            (0..BLOCK).for_each(|i| messages.add(i).write(UnsafeCell::new(MaybeUninit::uninit())));
        }
        block
    }

    /// # Safety
    /// It came from `allocate` and nobody else uses it.
    unsafe fn free(block: *mut Block<T>) {
        // SAFETY: the caller's promise. (Messages in it are not dropped.)
        drop(unsafe { Box::from_raw(block) });
    }
}

impl<T> End<T> {
    fn new() -> End<T> {
        let place = Place { block: ptr::null_mut(), index: BLOCK };
        let (count, shared) = (AtomicUsize::new(0), AtomicPtr::new(ptr::null_mut()));
        End { lock: SpinLock::new(place), count, shared }
    }
}

impl<T> Unbounded<T> {
    pub(crate) fn new() -> Unbounded<T> {
        Unbounded { tail: End::new(), head: End::new() }
    }

    #[inline]
    pub(crate) fn push(&self, message: T) {
        let mut place = self.tail.lock.lock();
        if place.index == BLOCK {
            place = self.extend_slow(place);
        }
        let index = place.index;
        // SAFETY: behind what is counted, in the last block: the sender's that holds the lock.
        unsafe { (&(*place.block).messages)[index].with_mut(|cell| _ = (*cell).write(message)) };
        place.index += 1;
        let written = self.tail.count.load(Ordering::Relaxed);
        self.tail.count.store(written.wrapping_add(1), Ordering::Release);
    }

    /// Links a new last block. It is allocated without the lock, hence with preemption on: the allocator has locks of its own.
    #[cold]
    #[inline(never)]
    fn extend_slow<'a>(&'a self, mut place: SpinLockGuard<'a, Place<T>>) -> SpinLockGuard<'a, Place<T>> {
        let mut block = self.tail.shared.swap(ptr::null_mut(), Ordering::Acquire);
        if block.is_null() {
            drop(place);
            block = Block::allocate();
            place = self.tail.lock.lock();
            if place.index != BLOCK {
                // Another sender was quicker.
                self.keep_or_free(place, block);
                return self.lock_with_room();
            }
        }
        if place.block.is_null() {
            self.head.shared.store(block, Ordering::Relaxed);
        } else {
            // SAFETY: receivers keep a block until they have followed its link, which they do after the next message is counted.
            unsafe { (*place.block).next.with_mut(|next| *next = block) };
        }
        *place = Place { block, index: 0 };
        place
    }

    fn lock_with_room(&self) -> SpinLockGuard<'_, Place<T>> {
        let place = self.tail.lock.lock();
        if place.index == BLOCK { self.extend_slow(place) } else { place }
    }

    /// An empty block that is nobody's: kept for the senders, or freed, without the lock.
    fn keep_or_free(&self, lock: SpinLockGuard<'_, Place<T>>, block: *mut Block<T>) {
        drop(lock);
        if self.tail.shared.compare_exchange(ptr::null_mut(), block, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: nobody else uses it.
            unsafe { Block::free(block) };
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        // Without the lock first: who looks in vain does not keep those from it who do not.
        if self.is_empty() {
            return None;
        }
        let mut place = self.head.lock.lock();
        let taken = self.head.count.load(Ordering::Relaxed);
        if taken == self.tail.count.load(Ordering::Acquire) {
            return None;
        }
        let emptied = if place.index == BLOCK { Self::advance_slow(&self.head, &mut place) } else { ptr::null_mut() };
        let index = place.index;
        // SAFETY: counted as written and not as taken: the receiver's that holds the lock.
        let message = unsafe { (&(*place.block).messages)[index].with_mut(|cell| (*cell).assume_init_read()) };
        place.index += 1;
        self.head.count.store(taken.wrapping_add(1), Ordering::Relaxed);
        if !emptied.is_null() {
            self.keep_or_free(place, emptied);
        }
        Some(message)
    }

    /// Goes to the next block, in which there is a message. The one before is the caller's: emptied, and the senders have left it.
    #[cold]
    #[inline(never)]
    fn advance_slow(head: &End<T>, place: &mut Place<T>) -> *mut Block<T> {
        let old = place.block;
        let block = if old.is_null() {
            head.shared.load(Ordering::Relaxed)
        } else {
            // SAFETY: the link was written before the message behind it was counted, and that count was read.
            unsafe { (*old).next.with_mut(|next| ptr::replace(next, ptr::null_mut())) }
        };
        *place = Place { block, index: 0 };
        old
    }

    pub(crate) fn len(&self) -> usize {
        // In this order, so that it is never below zero.
        let taken = self.head.count.load(Ordering::Acquire);
        self.tail.count.load(Ordering::Acquire).wrapping_sub(taken)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.count.load(Ordering::Relaxed) == self.tail.count.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Unbounded<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        let (last, spare) = (self.head.lock.lock().block, self.tail.shared.load(Ordering::Relaxed));
        let first = if last.is_null() { self.head.shared.load(Ordering::Relaxed) } else { last };
        for block in [first, spare] {
            if !block.is_null() {
                // SAFETY: nobody shares the channel; all other blocks were freed when they were emptied.
                unsafe { Block::free(block) };
            }
        }
    }
}
