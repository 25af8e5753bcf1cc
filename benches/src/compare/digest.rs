//! A number that stands for an answer of any length: FNV-1a over its bytes. Nobody forges answers here, so it need not be
//! more.

/// The digest of what has been added so far.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    /// Of nothing yet: FNV's offset basis.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes; the multiplier is FNV's prime.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }

    /// As the tables and the raw data show it.
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn digests_are_those_of_fnv_1a() {
        let mut digest = Digest::new();
        digest.add(b"foo");
        digest.add(b"bar");
        // From the test vectors of FNV's authors.
        assert_eq!(digest.text(), "85944171f73967e8");
    }
}
