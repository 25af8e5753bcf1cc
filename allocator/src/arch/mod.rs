//! What differs between processors: the thread's heap pointer and raw system calls.
//!
//! The heap pointer is one 8-byte word of static thread-local storage, defined in assembly and read with the initial-exec
//! model: two instructions. Rust's `thread_local!` in a shared library would call `__tls_get_addr`, which can itself
//! allocate. The word starts as the address of the shared empty heap (`heap::EMPTY_HEAP`), so no reader tests for null.
//!
//! `portable.rs` does the same with what any target has, slower; `--cfg fairground_portable` chooses it so that the tests
//! run it too.

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
#[path = "x86_64.rs"]
mod imp;
#[cfg(all(target_arch = "aarch64", not(fairground_portable)))]
#[path = "aarch64.rs"]
mod imp;
#[cfg(any(fairground_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "portable.rs"]
mod imp;

#[cfg(feature = "valgrind")]
pub(crate) mod valgrind;

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
pub(crate) use imp::counts_down;
pub use imp::heap_pointer;
pub(crate) use imp::{advance, conf_symbol, set_heap_pointer, syscall6};

/// Takes one off the 32-bit counter `OFFSET` bytes into a heap; true if it has gone below zero. Threads that share a sentinel may lose
/// each other's.
///
/// # Safety
/// `base` points to a heap with an `AtomicI32` there.
#[cfg(not(all(target_arch = "x86_64", not(fairground_portable))))]
#[inline(always)]
pub(crate) unsafe fn counts_down<const OFFSET: usize>(base: *const crate::heap::Heap) -> bool {
    use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
    // SAFETY: by the caller.
    let counter = unsafe { &*base.byte_add(OFFSET).cast::<AtomicI32>() };
    let left = counter.load(Relaxed).wrapping_sub(1);
    counter.store(left, Relaxed);
    left < 0
}

/// The same value, about which the compiler knows nothing any more. Costs no instruction.
#[inline(always)]
pub(crate) fn opaque(value: usize) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut value = value;
        // SAFETY: an empty instruction sequence.
        unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
        value
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    value
}
