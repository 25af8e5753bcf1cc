//! What the kernel says that a process has used.

use std::mem::MaybeUninit;
use std::time::Duration;

/// Resources that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Page faults served without I/O.
    pub minor_faults: u64,
}

impl Usage {
    /// That of this process, all threads, so far.
    pub fn own() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` is writable; with RUSAGE_SELF the call cannot fail.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
        // SAFETY: all zeroes is a valid value, and getrusage has written no other.
        unsafe { usage.assume_init() }.into()
    }
}

impl From<libc::rusage> for Usage {
    fn from(usage: libc::rusage) -> Self {
        let duration = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Self { user: duration(usage.ru_utime), system: duration(usage.ru_stime), minor_faults: usage.ru_minflt as u64 }
    }
}

/// The number behind `name` in the text of a `/proc/PID/status`.
pub fn status_field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Usage, status_field};

    #[test]
    fn status_fields_are_found_by_name() {
        assert_eq!(status_field("VmPeak:\t  10 kB\nVmHWM:\t  85172 kB\n", "VmHWM:"), Some(85172));
        assert_eq!(status_field("VmPeak:\t  10 kB\n", "VmHWM:"), None);
    }

    #[test]
    fn own_usage_grows_with_touched_memory() {
        let before = Usage::own().minor_faults;
        std::hint::black_box(vec![1_u8; 16 << 20]);
        assert!(Usage::own().minor_faults > before);
    }
}
