//! `fairground_stats_print`: the core's tables, written to a descriptor.
//!
//! By write(2) and piece by piece, past every stream's lock and buffer, so nothing is allocated while the numbers are looked at.
//! After a write that failed the rest is dropped.

use core::ffi::c_int;
use fairground_allocator::stats;

/// `FAIRGROUND_STATS_TEXT` and `FAIRGROUND_STATS_JSON` of fairground.h.
const TEXT: c_int = 0;
const JSON: c_int = 1;

#[unsafe(no_mangle)]
extern "C" fn fairground_stats_print(fd: c_int, format: c_int) -> c_int {
    let errno = crate::errno();
    let mut result = 0;
    let mut sink = |piece: &[u8]| {
        if result == 0 {
            result = write_all(fd, piece);
        }
    };
    match format {
        TEXT => stats::write_text(&mut sink),
        JSON => stats::write_json(&mut sink),
        _ => return libc::EINVAL,
    }
    crate::set_errno(errno);
    result
}

/// Writes all of it; returns 0 or the error number.
pub(crate) fn write_all(fd: c_int, mut rest: &[u8]) -> c_int {
    while !rest.is_empty() {
        // SAFETY: `rest` is readable for its length.
        match usize::try_from(unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) }) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(_) if crate::errno() == libc::EINTR => {}
            Err(_) => return crate::errno(),
        }
    }
    0
}
