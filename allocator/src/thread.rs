//! A thread's heap from its first allocation to the thread's end.
//!
//! A thread starts with the shared `EMPTY_HEAP`. Its first slow path makes or reuses a heap. At thread exit a `pthread_key`
//! destructor gives everything back and leaves the thread with `DEAD_HEAP`: later requests of the same thread (other
//! destructors) are served one by one without a cache (`direct.rs`), so nothing is left behind.

use crate::direct::Strictness;
use crate::heap::{DEAD_HEAP, EMPTY_HEAP};
use crate::memblock::NodeId;
use crate::registry::REGISTRY;
use crate::thread_heap::ThreadHeap;
use crate::zone::node::node;
use crate::{arch, fork, reclaim, stats};
use core::sync::atomic::{AtomicU32, Ordering::*};

/// The key whose destructor takes heaps down; made with the first heap.
static EXIT_KEY: AtomicU32 = AtomicU32::new(NO_KEY);
const NO_KEY: u32 = u32::MAX;

/// This thread's heap, made if need be. None if the thread's has been taken down, or if there is no memory for one.
#[inline]
pub(crate) fn current() -> Option<&'static ThreadHeap> {
    let heap = arch::heap_pointer();
    if core::ptr::eq(heap, (&raw const EMPTY_HEAP).cast()) {
        return create();
    }
    if core::ptr::eq(heap, (&raw const DEAD_HEAP).cast()) {
        return None;
    }
    // SAFETY: otherwise the pointer is that of a ThreadHeap of this thread.
    Some(unsafe { &*heap.cast::<ThreadHeap>() })
}

/// This thread's heap if it has one.
pub(crate) fn existing() -> Option<&'static ThreadHeap> {
    let heap = arch::heap_pointer();
    if core::ptr::eq(heap, (&raw const EMPTY_HEAP).cast()) || core::ptr::eq(heap, (&raw const DEAD_HEAP).cast()) {
        return None;
    }
    // SAFETY: as in `current`.
    Some(unsafe { &*heap.cast::<ThreadHeap>() })
}

#[cold]
#[inline(never)]
fn create() -> Option<&'static ThreadHeap> {
    let node = node(NodeId(0))?;
    let heap = REGISTRY.obtain(node)?;
    arch::set_heap_pointer(heap.cast());
    // From here on allocating works, also for what the next lines call.
    register_exit(heap);
    // SAFETY: heaps are never unmapped.
    Some(unsafe { &*heap })
}

/// Sees to it that the heap is taken down with its thread.
fn register_exit(heap: *mut ThreadHeap) {
    let mut key = EXIT_KEY.load(Acquire);
    if key == NO_KEY {
        let mut new: libc::pthread_key_t = 0;
        // SAFETY: creates a key; does not allocate.
        if unsafe { libc::pthread_key_create(&mut new, Some(thread_exit)) } != 0 {
            return; // no keys left: heaps of exiting threads stay in use, their caches are lost
        }
        match EXIT_KEY.compare_exchange(NO_KEY, new, AcqRel, Acquire) {
            Ok(_) => {
                key = new;
                fork::register();
                stats::arrange();
            }
            Err(winner) => {
                // SAFETY: ours and unused.
                unsafe { libc::pthread_key_delete(new) };
                key = winner;
            }
        }
    }
    // SAFETY: a valid key. May allocate (keys above 31), which works by now.
    unsafe { libc::pthread_setspecific(key, heap.cast()) };
}

unsafe extern "C" fn thread_exit(heap: *mut libc::c_void) {
    let heap = heap.cast::<ThreadHeap>();
    if !core::ptr::eq(arch::heap_pointer(), heap.cast()) {
        return;
    }
    arch::set_heap_pointer((&raw const DEAD_HEAP).cast_mut().cast());
    // SAFETY: the exiting thread's own heap.
    let h = unsafe { &*heap };
    h.give_everything_back(Strictness::Report);
    h.in_use.store(false, Release);
    reclaim::look(None);
}
