//! All heaps ever made. They are never unmapped: a heap whose thread is gone waits here for the next thread, and `fork`
//! finds the heaps of threads that the child does not have.

use crate::arch;
use crate::direct::Strictness;
use crate::lock::{Lock, Patience};
use crate::thread_heap::{ThreadHeap, make};
use crate::zone::node::Node;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::*;

/// All heaps; the lock guards making, reusing and walking them.
pub(crate) struct Registry {
    lock: Lock,
    first: UnsafeCell<*mut ThreadHeap>,
}

// SAFETY: `first` is only touched under `lock`.
unsafe impl Sync for Registry {}

/// All heaps of the process.
pub(crate) static REGISTRY: Registry = Registry { lock: Lock::new(), first: UnsafeCell::new(null_mut()) };

impl Registry {
    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// A heap on this node for the calling thread alone: one that no thread uses, or a new one. None if there is no memory.
    pub(crate) fn obtain(&self, node: &'static Node) -> Option<*mut ThreadHeap> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let first = unsafe { &mut *self.first.get() };
        if let Some(heap) = reusable(*first, node) {
            return Some(heap);
        }
        *first = make(node, *first)?;
        Some(*first)
    }

    /// [`Registry::for_each`] for who may not wait for the lock: None if it is taken.
    pub(crate) fn for_each_if(&self, patience: Patience, each: impl FnMut(&'static ThreadHeap)) -> Option<()> {
        let first = {
            let _guard = self.lock.lock_if(patience)?;
            // SAFETY: under the lock.
            unsafe { *self.first.get() }
        };
        walk(first, each);
        Some(())
    }

    /// Calls `each` for every heap there is. Those that are made meanwhile may be missing.
    pub(crate) fn for_each(&self, each: impl FnMut(&'static ThreadHeap)) {
        let first = {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            unsafe { *self.first.get() }
        };
        walk(first, each);
    }

    /// [`Registry::for_each`] for who holds the lock, in the middle of a fork.
    pub(crate) fn for_each_locked(&self, each: impl FnMut(&'static ThreadHeap)) {
        // SAFETY: by the caller, under the lock.
        walk(unsafe { *self.first.get() }, each);
    }

    /// In a child of fork, with all locks just released: returns what the threads it does not have held.
    pub(crate) fn bury_dead(&self) {
        let mine = arch::heap_pointer();
        // SAFETY: the child has one thread.
        let mut heap = unsafe { *self.first.get() };
        while !heap.is_null() {
            // SAFETY: heaps are never unmapped.
            let h = unsafe { &*heap };
            if !core::ptr::eq(mine, heap.cast()) && h.in_use.load(Relaxed) {
                h.give_everything_back(Strictness::Tolerate);
                h.in_use.store(false, Relaxed);
            }
            heap = h.next;
        }
    }
}

fn walk(first: *mut ThreadHeap, mut each: impl FnMut(&'static ThreadHeap)) {
    let mut heap = first;
    // SAFETY: heaps are never unmapped, and their links are constant.
    while let Some(h) = unsafe { heap.as_ref() } {
        each(h);
        heap = h.next;
    }
}

/// A heap on this node that no thread uses; now in use.
fn reusable(first: *mut ThreadHeap, node: &Node) -> Option<*mut ThreadHeap> {
    let mut heap = first;
    while !heap.is_null() {
        // SAFETY: heaps are never unmapped.
        let h = unsafe { &*heap };
        if core::ptr::eq(h.node, node) && !h.in_use.load(Relaxed) && !h.in_use.swap(true, Acquire) {
            return Some(heap);
        }
        heap = h.next;
    }
    None
}
