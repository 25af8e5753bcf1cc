//! How large a stack is.

use fairground_allocator::page_size;
use std::fmt;

/// The size of a task's stack: a power of two from 16 KiB to 1 GiB, in pages of the machine.
///
/// It is address space; memory is used as far down as the stack is touched. The guard page comes on top.
///
/// # Examples
/// ```
/// use fairground_runtime::task::StackSize;
///
/// assert_eq!(StackSize::new(200 << 10)?.to_string(), "256 KiB"); // rounded up
/// assert_eq!(StackSize::default(), StackSize::new(256 << 10)?);
/// assert_eq!(
///     StackSize::new(100).unwrap_err().to_string(),
///     "a stack of 100 bytes: allowed are 16 KiB (16384) to 1 GiB (1073741824)"
/// );
/// # Ok::<(), fairground_runtime::task::StackSizeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackSize {
    shift: u8,
}

impl StackSize {
    /// 16 KiB: a panic with its message and backtrace off needs about 6; formatting a float or a path lookup fit as well.
    pub const MIN: StackSize = StackSize { shift: MIN_SHIFT };

    /// 1 GiB: what is larger belongs on the heap, and 100,000 of these are all the address space there is.
    pub const MAX: StackSize = StackSize { shift: MAX_SHIFT };

    /// `bytes` rounded up to a power of two and to a page.
    ///
    /// # Errors
    /// Less than [`StackSize::MIN`] or more than [`StackSize::MAX`].
    pub fn new(bytes: usize) -> Result<StackSize, StackSizeError> {
        if !(1 << MIN_SHIFT..=1 << MAX_SHIFT).contains(&bytes) {
            return Err(StackSizeError { bytes });
        }
        let shift = bytes.max(page_size()).next_power_of_two().trailing_zeros();
        Ok(StackSize { shift: shift as u8 })
    }

    /// In bytes, without the guard.
    #[inline]
    pub const fn bytes(self) -> usize {
        1 << self.shift
    }

    /// From 0 on, one after the other.
    pub(super) const fn class(self) -> usize {
        (self.shift - MIN_SHIFT) as usize
    }

    /// The inverse of [`StackSize::class`].
    pub(super) const fn of_class(class: usize) -> StackSize {
        StackSize { shift: MIN_SHIFT + class as u8 }
    }
}

const MIN_SHIFT: u8 = 14;
const MAX_SHIFT: u8 = 30;

/// How many sizes there are.
pub(super) const CLASSES: usize = (MAX_SHIFT - MIN_SHIFT + 1) as usize;

impl Default for StackSize {
    /// 256 KiB: a million of them are 0.2 % of the address space; Rust's own threads have 2 MiB, musl's 128 KiB.
    fn default() -> StackSize {
        StackSize { shift: 18 }
    }
}

impl fmt::Display for StackSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, unit) = match self.shift {
            30.. => (self.bytes() >> 30, "GiB"),
            20.. => (self.bytes() >> 20, "MiB"),
            _ => (self.bytes() >> 10, "KiB"),
        };
        write!(f, "{amount} {unit}")
    }
}

/// A stack's size that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSizeError {
    bytes: usize,
}

impl StackSizeError {
    /// What was asked for.
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

impl fmt::Display for StackSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (StackSize::MIN, StackSize::MAX);
        write!(f, "a stack of {} bytes: allowed are {min} ({}) to {max} ({})", self.bytes, min.bytes(), max.bytes())
    }
}

impl std::error::Error for StackSizeError {}
