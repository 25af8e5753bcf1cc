//! aarch64: `tpidr_el0` is the thread pointer; the word's offset from it comes from the GOT (`:gottprel:`).

use crate::heap::Heap;
use core::arch::{asm, global_asm};

// The section's flags are those of .tdata: allocated, writable, thread-local. Hidden: each library has its own word.
global_asm!(
    ".pushsection .tdata.fairground_heap,\"awT\",%progbits",
    ".globl fairground_heap_pointer",
    ".hidden fairground_heap_pointer",
    ".type fairground_heap_pointer,%object",
    ".size fairground_heap_pointer,8",
    ".balign 8",
    "fairground_heap_pointer:",
    ".quad {empty}",
    ".popsection",
    empty = sym crate::heap::EMPTY_HEAP,
);

/// This thread's heap, or a shared sentinel that sends every request to the slow path.
#[inline(always)]
pub fn heap_pointer() -> *mut Heap {
    let heap: *mut Heap;
    // SAFETY: reads this thread's own word; see the module's text. Not `pure`: the word changes between calls.
    unsafe {
        asm!(
            "mrs {tp}, tpidr_el0",
            "adrp {heap}, :gottprel:fairground_heap_pointer",
            "ldr {heap}, [{heap}, :gottprel_lo12:fairground_heap_pointer]",
            "ldr {heap}, [{tp}, {heap}]",
            tp = out(reg) _,
            heap = out(reg) heap,
            options(nostack, preserves_flags, readonly),
        );
    }
    heap
}

/// Makes `heap` this thread's heap.
#[inline(always)]
pub(crate) fn set_heap_pointer(heap: *mut Heap) {
    // SAFETY: writes this thread's own word.
    unsafe {
        asm!(
            "mrs {tp}, tpidr_el0",
            "adrp {slot}, :gottprel:fairground_heap_pointer",
            "ldr {slot}, [{slot}, :gottprel_lo12:fairground_heap_pointer]",
            "str {heap}, [{tp}, {slot}]",
            tp = out(reg) _,
            slot = out(reg) _,
            heap = in(reg) heap,
            options(nostack, preserves_flags),
        );
    }
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
        let word = base.cast_mut().cast::<*mut u8>().add(index);
        *word = (*word).wrapping_offset(BYTES as isize);
    }
}

/// Address of the program's symbol `fairground_conf`, a text; null if it has none.
#[inline]
pub(crate) fn conf_symbol() -> *const u8 {
    let symbol: *const u8;
    // SAFETY: reads a word of the GOT, which the linker or the loader has filled: with null for an undefined weak symbol.
    unsafe {
        asm!(
            ".weak fairground_conf",
            "adrp {symbol}, :got:fairground_conf",
            "ldr {symbol}, [{symbol}, :got_lo12:fairground_conf]",
            symbol = out(reg) symbol,
            options(nostack, preserves_flags, pure, readonly),
        );
    }
    symbol
}

/// A system call that leaves `errno` alone; returns what the kernel returned (errors are small negative numbers).
///
/// # Safety
/// As the call demands.
#[inline]
pub(crate) unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel's convention.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    result
}
