//! Requests to valgrind: six words in memory, and a sequence of instructions that does nothing on a processor (the four
//! rotations make full turns) and that valgrind looks for in what it translates. The request's number and arguments are in the
//! words; the result comes back in the register that held the default. The numbers are those of valgrind's public headers.

use core::arch::asm;

/// A block begins to exist: address, size, bytes of red zone, whether it reads as zeroes.
pub(crate) const MALLOCLIKE_BLOCK: usize = 0x1301;
/// A block ceases to exist: address, bytes of red zone.
pub(crate) const FREELIKE_BLOCK: usize = 0x1302;
/// Requests of memcheck alone bear its letters. Nobody may touch this memory: address, size.
pub(crate) const MAKE_MEM_NOACCESS: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
/// This memory may be read: address, size.
pub(crate) const MAKE_MEM_DEFINED: usize = MAKE_MEM_NOACCESS + 2;

/// Makes a request; without valgrind nothing happens.
#[inline(always)]
pub(crate) fn client_request(request: usize, arguments: [usize; 4]) {
    let [a, b, c, d] = arguments;
    let words: [usize; 6] = [request, a, b, c, d, 0];
    // SAFETY: reads the words, and changes no register but the result's. Not `readonly`: valgrind changes what it knows of
    // memory, so accesses must not be moved across.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const words,
            inout("rdx") 0usize => _,
            options(nostack),
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") &raw const words,
            inout("x3") 0usize => _,
            options(nostack),
        );
    }
}
