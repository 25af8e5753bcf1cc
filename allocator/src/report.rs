//! Errors for people: one line on stderr, made without allocating, then `abort`.
//!
//! A misused pointer is a bug in the program (or an attack on it), and going on would hand the same memory out twice. The line
//! says which call, which address, what is wrong with it, and what is known of the block.

use crate::kmem::error::CacheName;
use crate::os::map::write_all;

/// Text on the stack; what does not fit is cut off.
pub(crate) struct Line {
    bytes: [u8; 400],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Line {
        Line { bytes: [0; 400], len: 0 }
    }

    pub(crate) fn text(mut self, text: &str) -> Line {
        for &byte in text.as_bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        self
    }

    pub(crate) fn hex(self, value: usize) -> Line {
        let mut line = self.text("0x");
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = value >> (digit * 4) & 15;
            line = line.text(&"0123456789abcdef"[nibble..nibble + 1]);
        }
        line
    }

    pub(crate) fn number(self, value: usize) -> Line {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.text(core::str::from_utf8(&digits[at..]).unwrap_or("?"))
    }

    /// Writes the line to stderr.
    pub(crate) fn print(self) {
        let line = self.text("\n");
        write_all(2, &line.bytes[..line.len]);
    }
}

/// What is wrong with a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// Not in any memory of ours.
    Foreign,
    /// Ours, but no block starts there. The block or slab it lies in starts at `start` and has `size` bytes, if known.
    Interior { start: usize, size: usize },
    /// Ours, and in memory that is not in use.
    NotAllocated,
    /// The block was freed before; it has `size` bytes.
    DoubleFree { size: usize },
    /// A sized call named another size than the block has.
    WrongSize { size: usize, claimed: usize },
    /// In a slab of a typed cache, and given to another or to `malloc`'s relatives.
    OfCache { name: CacheName },
    /// In memory of `malloc`'s, and given to a typed cache.
    OfMalloc,
}

/// Reports a misused pointer and aborts.
#[cold]
#[inline(never)]
pub(crate) fn misuse(call: &str, address: usize, what: Misuse) -> ! {
    let line = Line::new().text("fairground: ").text(call).text("(").hex(address).text("): ");
    abort_with(line, address, what)
}

/// Reports a misused pointer that was given to a typed cache, and aborts.
#[cold]
#[inline(never)]
pub(crate) fn cache_misuse(cache: &CacheName, address: usize, what: Misuse) -> ! {
    let line = Line::new().text("fairground: cache ").text(cache.as_str()).text(", free(").hex(address).text("): ");
    abort_with(line, address, what)
}

fn abort_with(line: Line, address: usize, what: Misuse) -> ! {
    let line = match what {
        Misuse::Foreign => {
            line.text("not a pointer from this allocator (another's, a stack or static address, huge and freed before, or damaged)")
        }
        Misuse::Interior { start, size: 0 } => {
            line.text("no block starts here; it lies in memory of ours that begins at ").hex(start)
        }
        Misuse::Interior { start, size } => line
            .text("points ")
            .number(address - start)
            .text(" bytes into the block of ")
            .number(size)
            .text(" bytes at ")
            .hex(start),
        Misuse::NotAllocated => line.text("no block is allocated here (freed before, or damaged)"),
        Misuse::DoubleFree { size } => {
            line.text("double free: the block of ").number(size).text(" bytes is free already")
        }
        Misuse::WrongSize { size, claimed } => line
            .text("wrong size: freed as a block of ")
            .number(claimed)
            .text(" bytes, but its size class has ")
            .number(size)
            .text(" bytes"),
        Misuse::OfCache { name } => line
            .text("belongs to the cache ")
            .text(name.as_str())
            .text(": free it with that cache (fairground_cache_free; in Rust drop its handle, or free_raw)"),
        Misuse::OfMalloc => line.text("not an object of a typed cache; it lies in memory of malloc's: free it with free"),
    };
    line.print();
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}
