//! Text for people, made without allocating: a small buffer that passes itself on when it is full.
//!
//! `core::fmt` would do, but it is larger than all of the allocator's cold code together, and a preloaded library is read in by
//! every process.

/// Bytes passed on at once; a message of the allocator fits, so that lines of several threads do not mix.
const BUFFER: usize = 512;

/// Where text goes, piece by piece.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// Text on its way to a sink; the rest goes when it is dropped.
pub struct Text<'a> {
    buffer: [u8; BUFFER],
    len: usize,
    sink: Sink<'a>,
}

impl<'a> Text<'a> {
    /// Nothing yet.
    pub fn new(sink: Sink<'a>) -> Text<'a> {
        Text { buffer: [0; BUFFER], len: 0, sink }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            if self.len == BUFFER {
                self.flush();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
        }
        self
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Text on the left of a column `width` wide.
    pub fn left(&mut self, text: &str, width: usize) -> &mut Self {
        self.text(text).repeat(b' ', width.saturating_sub(text.len()))
    }

    /// Text on the right of a column `width` wide.
    pub fn right(&mut self, text: &str, width: usize) -> &mut Self {
        self.repeat(b' ', width.saturating_sub(text.len())).text(text)
    }

    /// A decimal number.
    pub fn number(&mut self, value: usize) -> &mut Self {
        self.column(value, 0)
    }

    /// A decimal number on the right of a column `width` wide.
    pub fn column(&mut self, value: usize, width: usize) -> &mut Self {
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
        self.repeat(b' ', width.saturating_sub(digits.len() - at)).bytes(&digits[at..])
    }

    /// A number in hexadecimal, `0x` before it.
    pub fn hex(&mut self, value: usize) -> &mut Self {
        self.text("0x");
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            self.bytes(&[b"0123456789abcdef"[value >> (digit * 4) & 15]]);
        }
        self
    }

    fn repeat(&mut self, byte: u8, count: usize) -> &mut Self {
        for _ in 0..count {
            self.bytes(&[byte]);
        }
        self
    }

    fn flush(&mut self) {
        (self.sink)(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if self.len != 0 {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Text)) -> String {
        let mut all = Vec::new();
        let mut sink = |piece: &[u8]| all.extend_from_slice(piece);
        write(&mut Text::new(&mut sink));
        String::from_utf8(all).expect("text")
    }

    #[test]
    fn columns_are_padded_and_never_cut() {
        let row = written(|t| {
            t.left("ab", 4).column(7, 3).right("xyz", 2).column(1234, 2);
        });
        assert_eq!(row, "ab    7xyz1234");
    }

    #[test]
    fn numbers_at_both_ends() {
        let row = written(|t| {
            t.number(0).text(" ").number(usize::MAX).text(" ").hex(0).text(" ").hex(usize::MAX);
        });
        assert_eq!(row, "0 18446744073709551615 0x0 0xffffffffffffffff");
    }

    #[test]
    fn text_longer_than_the_buffer_arrives_whole() {
        let long = "0123456789".repeat(200);
        assert_eq!(written(|t| _ = t.text(&long)), long);
    }
}
