//! Time for decay: coarse, monotonic, and read through the vDSO, so without a system call.

use crate::arch::syscall6;

/// Milliseconds since some fixed moment, a few of them late.
pub(crate) fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure; fails only for unknown clocks, and then time stands still, which delays decay.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Sleeps, for so many milliseconds or less.
pub(crate) fn sleep_ms(ms: u64) {
    let time = libc::timespec { tv_sec: (ms / 1000) as libc::time_t, tv_nsec: (ms % 1000 * 1_000_000) as i64 };
    // SAFETY: reads the structure; a null second one means that the rest is not wanted. By system call, for errno's sake.
    unsafe { syscall6(libc::SYS_nanosleep as usize, [(&raw const time).addr(), 0, 0, 0, 0, 0]) };
}
