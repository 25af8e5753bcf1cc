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

    /// Calls `each` with every heap; None if the lock is taken and may not be waited for.
    pub(crate) fn for_each(&self, patience: Patience, mut each: impl FnMut(&ThreadHeap)) -> Option<()> {
        let _guard = self.lock.lock_if(patience)?;
        // SAFETY: under the lock.
        let mut heap = unsafe { *self.first.get() };
        while !heap.is_null() {
            // SAFETY: heaps are never unmapped.
            let h = unsafe { &*heap };
            each(h);
            heap = h.next;
        }
        Some(())
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
