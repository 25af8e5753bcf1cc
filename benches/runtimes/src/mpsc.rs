//! Four to one.

/// Senders.
pub const SENDERS: u64 = 4;
/// Messages that a bounded channel holds: more than is sent between two switches, less than makes it an unbounded one.
pub const CAPACITY: usize = 1024;

/// What the `index`th message of a sender is.
pub fn message(sender: u64, index: u64) -> u64 {
    sender << 48 | index
}

/// What has come from each sender.
#[derive(Default)]
pub struct Received([u64; SENDERS as usize]);

impl Received {
    /// Takes a message: each sender's come in their order.
    pub fn take(&mut self, message: u64) -> Result<(), String> {
        let expected = &mut self.0[(message >> 48) as usize];
        let index = message & ((1 << 48) - 1);
        if index != *expected {
            return Err(format!("wrong answer: message {index} of a sender came when {expected} was due"));
        }
        *expected += 1;
        Ok(())
    }

    /// Checks that everything came that was sent, and says how many that are.
    pub fn all(&self, each: u64) -> Result<u64, String> {
        self.0.iter().try_for_each(|&received| crate::check("the number of messages from a sender", received, each))?;
        Ok(each * SENDERS)
    }
}
