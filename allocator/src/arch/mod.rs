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

pub use imp::heap_pointer;
pub(crate) use imp::{advance, conf_symbol, counts_down, set_heap_pointer, syscall6};

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
