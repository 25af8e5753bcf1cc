//! What `include/fairground.h` declares beyond the standard names.
//!
//! `struct fairground_totals` may grow at its end. The caller passes the size it was compiled with, and gets that many
//! bytes of it: an old program goes on working with a newer library, and a newer program sees zeros for what an older
//! library does not know.

use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use fairground_allocator::{malloc as core_malloc, profile};

/// The library's version, with the zero byte C wants.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

#[repr(C)]
struct FairgroundTotals {
    mapped: usize,
    in_use: usize,
    free: usize,
    dirty: usize,
    huge: usize,
    huge_count: usize,
    metadata: usize,
}

#[unsafe(no_mangle)]
extern "C" fn fairground_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_get_totals(out: *mut u8, size: usize) -> c_int {
    if out.is_null() || size == 0 {
        return libc::EINVAL;
    }
    let core = core_malloc::totals();
    let totals = FairgroundTotals {
        mapped: core.mapped.saturating_add(core.huge),
        in_use: core.in_use,
        free: core.free,
        dirty: core.dirty,
        huge: core.huge,
        huge_count: core.huge_count,
        metadata: core.metadata,
    };
    // SAFETY: the caller says that `size` bytes at `out` are its own; no padding.
    unsafe { store(&totals, out, size) };
    0
}

/// Stores as much of a structure as the caller knows, and zeroes for what it knows beyond.
///
/// # Safety
/// `size` bytes at `out` may be written; `T` has no padding.
pub(crate) unsafe fn store<T>(from: &T, out: *mut u8, size: usize) {
    let known = size.min(size_of::<T>());
    // SAFETY: by the caller; `known` is at most `size`, and at most the size of `T`.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(from).cast::<u8>(), out, known);
        ptr::write_bytes(out.add(known), 0, size - known);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_profile_write(path: *const c_char) -> c_int {
    if path.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: the caller passes a text that ends with a zero byte.
    profile::write(unsafe { CStr::from_ptr(path) }).map_or_else(|error| error.errno(), |()| 0)
}
