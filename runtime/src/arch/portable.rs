//! Any processor.

use core::ffi::c_void;

pub(crate) fn counter() -> u64 {
    0
}

/// So the scheduler's clock is the system's.
pub(crate) fn is_constant() -> bool {
    false
}

pub(crate) fn frequency() -> Option<u64> {
    None
}

/// Nobody knows, so any fault in a guard counts as an overflow.
///
/// # Safety
/// None.
pub(crate) unsafe fn stack_pointer(_: *mut c_void) -> Option<usize> {
    None
}
