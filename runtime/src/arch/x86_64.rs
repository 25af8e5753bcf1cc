//! x86-64.

use super::Word;
use core::arch::asm;
use core::ffi::c_void;

/// The time-stamp counter. Not ordered with the instructions around it: nanoseconds do not matter.
#[inline]
pub(crate) fn counter() -> u64 {
    // SAFETY: every x86-64 has the instruction; where user space may not use it, `is_constant` is false.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The counter runs at one rate in all states of power: CPUID leaf 0x8000_0007, EDX bit 8.
pub(crate) fn is_constant() -> bool {
    use core::arch::x86_64::__cpuid;
    let leaf: u32 = 0x8000_0007;
    __cpuid(0x8000_0000).eax >= leaf && __cpuid(leaf).edx & 1 << 8 != 0
}

/// CPUID does not say it reliably.
pub(crate) fn frequency() -> Option<u64> {
    None
}

/// Where the stack pointer was when a signal came.
///
/// # Safety
/// The context is the one that the kernel gave the handler.
pub(crate) unsafe fn stack_pointer(context: *mut c_void) -> Option<usize> {
    // SAFETY: by this function's contract.
    Some(unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize)
}

/// As a relaxed atomic load, of a word that need not be initialised.
///
/// # Safety
/// The address is valid and aligned.
#[inline]
pub(crate) unsafe fn load_word(from: *const Word) -> Word {
    let word: Word;
    // SAFETY: loads one aligned word, in one access; the caller's promise.
    unsafe { asm!("mov {}, qword ptr [{}]", out(reg) word, in(reg) from, options(nostack, preserves_flags)) };
    word
}

/// As a relaxed atomic store.
///
/// # Safety
/// The address is valid and aligned.
#[inline]
pub(crate) unsafe fn store_word(to: *mut Word, word: Word) {
    // SAFETY: stores one aligned word, in one access; the caller's promise.
    unsafe { asm!("mov qword ptr [{}], {}", in(reg) to, in(reg) word, options(nostack, preserves_flags)) };
}
