//! Text in a fixed buffer.
//!
//! The functions that print (malloc_stats, malloc_info, the messages before an abort) must not allocate, and
//! `core::fmt` would be most of the library's code. A `Line` holds what they need: text and decimal numbers, cut off
//! at the buffer's end, always followed by a zero byte for the C functions.

use core::ffi::CStr;

/// The longest text is the report of malloc_info, below 1,200 bytes with every number at 20 digits.
const CAPACITY: usize = 1536;

/// Invariant: `len < CAPACITY`, no byte before `len` is zero, and every byte from `len` on is zero.
pub(crate) struct Line {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    /// Appends text; what does not fit is dropped, and so are zero bytes.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes().filter(|&byte| byte != 0) {
            if self.len == CAPACITY - 1 {
                break;
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        self
    }

    /// Appends a number in decimal.
    pub(crate) fn number(&mut self, number: usize) -> &mut Self {
        self.number_padded(number, 0)
    }

    /// Appends a number in decimal, with spaces before it to make `width` columns.
    pub(crate) fn number_padded(&mut self, mut number: usize, width: usize) -> &mut Self {
        // usize::MAX has 20 digits.
        let mut digits = [b' '; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        let first = first.min(digits.len().saturating_sub(width));
        if let Ok(digits) = core::str::from_utf8(&digits[first..]) {
            self.text(digits);
        }
        self
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// Writes the text to stderr by write(2), past every stream's lock and buffer. Leaves errno alone.
    pub(crate) fn write_to_stderr(&self) {
        let errno = crate::errno();
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: `rest` is readable for its length.
            let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                Err(_) if crate::errno() == libc::EINTR => {}
                _ => break,
            }
        }
        crate::set_errno(errno);
    }
}
