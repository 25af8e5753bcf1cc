//! aarch64.

use super::Word;
use core::arch::asm;
use core::ffi::c_void;

/// The virtual counter of the generic timer.
#[inline]
pub(crate) fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register that Linux lets user space read.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

pub(crate) fn is_constant() -> bool {
    true
}

/// The architecture says it in a register.
pub(crate) fn frequency() -> Option<u64> {
    let hertz: u64;
    // SAFETY: as above.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack, preserves_flags)) };
    (hertz != 0).then_some(hertz)
}

/// Where the stack pointer was when a signal came.
///
/// # Safety
/// The context is the one that the kernel gave the handler.
pub(crate) unsafe fn stack_pointer(context: *mut c_void) -> Option<usize> {
    // SAFETY: by this function's contract.
    Some(unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.sp } as usize)
}

/// As a relaxed atomic load, of a word that need not be initialised.
///
/// # Safety
/// The address is valid and aligned.
#[inline]
pub(crate) unsafe fn load_word(from: *const Word) -> Word {
    let word: Word;
    // SAFETY: loads one aligned word, in one access; the caller's promise.
    unsafe { asm!("ldr {}, [{}]", out(reg) word, in(reg) from, options(nostack, preserves_flags)) };
    word
}

/// As a relaxed atomic store.
///
/// # Safety
/// The address is valid and aligned.
#[inline]
pub(crate) unsafe fn store_word(to: *mut Word, word: Word) {
    // SAFETY: stores one aligned word, in one access; the caller's promise.
    unsafe { asm!("str {1}, [{0}]", in(reg) to, in(reg) word, options(nostack, preserves_flags)) };
}
