//! Time for decay: coarse, monotonic, and read through the vDSO, so without a system call.

/// Milliseconds since some fixed moment, a few of them late.
pub(crate) fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure; fails only for unknown clocks, and then time stands still, which delays decay.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
