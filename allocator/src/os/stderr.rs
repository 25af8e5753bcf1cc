//! The stderr that the process had at its start, for what is written at its very end.
//!
//! Many programs (the coreutils) close stderr in their own exit handlers, to see whether everything was written, and those run
//! before ours. So where something is to be written at exit, stderr is duplicated early. What is written while the program runs
//! goes to descriptor 2, for a daemon may have opened a log since.

use crate::arch::syscall6;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// Descriptor of stderr.
pub(crate) const STDERR: i32 = 2;

static KEPT: AtomicI32 = AtomicI32::new(STDERR);

/// The least number of the duplicate: out of the way of programs that count on low numbers being free, and below the usual limit
/// of 1,024. Where the limit is lower there is no duplicate.
const KEPT_FROM: usize = 512;

/// Duplicates stderr, once; the duplicate ends with the process, and is closed by `exec`.
pub(crate) fn keep() {
    // SAFETY: makes a descriptor; touches no memory.
    let kept = unsafe {
        syscall6(libc::SYS_fcntl as usize, [STDERR as usize, libc::F_DUPFD_CLOEXEC as usize, KEPT_FROM, 0, 0, 0])
    };
    if kept >= 0 {
        KEPT.store(kept as i32, Relaxed);
    }
}

/// The duplicate; stderr itself if there is none.
pub(crate) fn kept() -> i32 {
    KEPT.load(Relaxed)
}
