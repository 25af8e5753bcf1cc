//! The encoding of protocol buffers, as much of it as a profile needs: varints, and fields with a length before them.
//!
//! A message inside another has its length before it, so it is made first, in a [`Message`]; the outermost one has none and is
//! written field by field. Fields may come in any order, and more than once.

use super::output::Output;

/// Wire types.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// Bytes of the longest message inside a profile: a sample with 64 locations of 10 bytes at most, and what is around them.
const LONGEST: usize = 1024;

/// A message that is part of another.
pub(crate) struct Message {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Message {
    pub(crate) fn new() -> Message {
        Message { bytes: [0; LONGEST], len: 0 }
    }

    /// A field with a number. 0 is what an absent field means, and not written.
    pub(crate) fn number(mut self, field: u64, value: u64) -> Message {
        if value != 0 {
            self.varint(field << 3 | VARINT);
            self.varint(value);
        }
        self
    }

    /// A field with several numbers, packed.
    pub(crate) fn numbers(mut self, field: u64, values: impl Iterator<Item = u64> + Clone) -> Message {
        self.varint(field << 3 | LENGTH);
        self.varint(values.clone().map(varint_len).sum());
        values.for_each(|value| self.varint(value));
        self
    }

    fn varint(&mut self, value: u64) {
        varint(value, |byte| {
            self.bytes[self.len] = byte;
            self.len += 1;
        });
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes a field with a number into the outermost message.
pub(crate) fn write_number(output: &mut Output, field: u64, value: u64) {
    output.bytes(Message::new().number(field, value).bytes());
}

/// Writes a field with a text or a message into the outermost message.
pub(crate) fn write_bytes(output: &mut Output, field: u64, bytes: &[u8]) {
    for value in [field << 3 | LENGTH, bytes.len() as u64] {
        varint(value, |byte| output.bytes(&[byte]));
    }
    output.bytes(bytes);
}

/// Seven bits a byte, the lowest first, the upper bit set on all but the last.
fn varint(mut value: u64, mut each: impl FnMut(u8)) {
    while value >= 0x80 {
        each(value as u8 | 0x80);
        value >>= 7;
    }
    each(value as u8);
}

fn varint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_formats_description() {
        assert_eq!(Message::new().number(1, 150).bytes(), [0x08, 0x96, 0x01]);
        let packed = Message::new().numbers(6, [3, 270, 86942].into_iter());
        assert_eq!(packed.bytes(), [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]);
    }

    #[test]
    fn lengths_are_those_of_the_encoding() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut len = 0;
                varint(value, |_| len += 1);
                assert_eq!(varint_len(value), len, "{value}");
            }
        }
    }

    #[test]
    fn the_longest_sample_fits() {
        let sample = Message::new().numbers(1, [u64::MAX; super::super::unwind::MAX_DEPTH].into_iter());
        assert!(sample.numbers(2, [u64::MAX; 4].into_iter()).len < LONGEST);
    }
}
