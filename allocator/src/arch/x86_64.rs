//! x86-64: `fs` is the thread pointer; the word's offset from it comes from the GOT (`@GOTTPOFF`), and the linker relaxes
//! the load to a constant in executables.

use crate::heap::Heap;
use core::arch::{asm, global_asm};

// The section's flags are those of .tdata: allocated, writable, thread-local. Hidden: each library has its own word.
global_asm!(
    ".pushsection .tdata.fairground_heap,\"awT\",@progbits",
    ".globl fairground_heap_pointer",
    ".hidden fairground_heap_pointer",
    ".type fairground_heap_pointer,@object",
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
            "mov {heap}, qword ptr [rip + fairground_heap_pointer@GOTTPOFF]",
            "mov {heap}, qword ptr fs:[{heap}]",
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
            "mov {slot}, qword ptr [rip + fairground_heap_pointer@GOTTPOFF]",
            "mov qword ptr fs:[{slot}], {heap}",
            slot = out(reg) _,
            heap = in(reg) heap,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds a constant to the word at `base[index]`: one instruction, where the compiler would make two of a load it needs anyway.
///
/// # Safety
/// The word is this thread's to write.
#[inline(always)]
pub(crate) unsafe fn advance<const BYTES: i32>(base: *const Heap, index: usize) {
    // SAFETY: by the caller. Not `nomem`: what was stored before stays before.
    unsafe {
        asm!(
            "add qword ptr [{base} + 8*{index}], {bytes}",
            base = in(reg) base,
            index = in(reg) index,
            bytes = const BYTES,
            options(nostack),
        );
    }
}

/// Takes one off the 32-bit counter `OFFSET` bytes into a heap; true if it has gone below zero. Two instructions; threads that share
/// a sentinel may lose each other's.
///
/// # Safety
/// `base` points to a heap with an `AtomicI32` there.
#[inline(always)]
pub(crate) unsafe fn counts_down<const OFFSET: usize>(base: *const Heap) -> bool {
    // SAFETY: by the caller; an aligned load and store of 32 bits, as the other processors' has them.
    unsafe {
        asm!(
            "sub dword ptr [{base} + {offset}], 1",
            "js {below}",
            base = in(reg) base,
            offset = const OFFSET,
            below = label { return true },
            options(nostack),
        );
    }
    false
}

/// Address of the program's symbol `fairground_conf`, a text; null if it has none.
#[inline]
pub(crate) fn conf_symbol() -> *const u8 {
    let symbol: *const u8;
    // SAFETY: reads a word of the GOT, which the linker or the loader has filled: with null for an undefined weak symbol.
    unsafe {
        asm!(
            ".weak fairground_conf",
            "mov {symbol}, qword ptr [rip + fairground_conf@GOTPCREL]",
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
    // SAFETY: the kernel's convention; rcx and r11 are its to destroy.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}
