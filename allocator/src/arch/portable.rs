//! Any target: std's thread-local storage and libc's `syscall`.
//!
//! The thread-local has a constant initialiser and no destructor, so that std registers nothing and allocates nothing for
//! it. In a shared library each access is a call; a preloaded library wants one of the native files.

extern crate std;

use crate::heap::{EMPTY_HEAP, Heap};
use core::cell::Cell;

std::thread_local! {
    static HEAP: Cell<*mut Heap> = const { Cell::new((&raw const EMPTY_HEAP).cast_mut().cast()) };
}

/// This thread's heap, or a shared sentinel that sends every request to the slow path.
#[inline]
pub fn heap_pointer() -> *mut Heap {
    HEAP.get()
}

/// Makes `heap` this thread's heap.
#[inline]
pub(crate) fn set_heap_pointer(heap: *mut Heap) {
    HEAP.set(heap);
}

/// Adds a constant to the word at `base[index]`; what was stored before stays before.
///
/// # Safety
/// The word is this thread's to write.
#[inline(always)]
pub(crate) unsafe fn advance<const BYTES: i32>(base: *const Heap, index: usize) {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
    // SAFETY: by the caller.
    unsafe {
        // Atomic, for statistics of other threads read it; a plain store all the same.
        let word = core::sync::atomic::AtomicPtr::from_ptr(base.cast_mut().cast::<*mut u8>().add(index));
        let moved = word.load(core::sync::atomic::Ordering::Relaxed).wrapping_offset(BYTES as isize);
        word.store(moved, core::sync::atomic::Ordering::Relaxed);
    }
}

/// Weak symbols need assembly: here a program is configured by its environment alone.
pub(crate) fn conf_symbol() -> *const u8 {
    core::ptr::null()
}

/// A system call that leaves `errno` alone; returns what the kernel returned (errors are small negative numbers).
///
/// # Safety
/// As the call demands.
pub(crate) unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    // SAFETY: by the caller; errno's address is valid for this thread.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let result = libc::syscall(number as libc::c_long, args[0], args[1], args[2], args[3], args[4], args[5]);
        if result == -1 {
            let error = *errno;
            *errno = before;
            return -(error as isize);
        }
        result as isize
    }
}
