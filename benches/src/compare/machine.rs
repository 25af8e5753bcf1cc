//! On what machine and when: without it no number means anything.

use serde::{Deserialize, Serialize};
use std::mem::MaybeUninit;

/// The machine and the day of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors this process may use.
    pub processors: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub distribution: String,
    /// Load average over the minute before: above about 0.5 somebody else was working too.
    pub load_average: String,
    /// Day of the run, year first.
    pub date: String,
}

impl Machine {
    /// This machine, now. Taken before a run, for a run is itself a load.
    pub fn here() -> Self {
        let processor = line_value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
        let memory = line_value("/proc/meminfo", "MemTotal");
        let memory_kib = memory.and_then(|m| m.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let distribution = line_value("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| "unknown".into());
        Self {
            processor,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (memory_kib + (1 << 19)) >> 20,
            kernel: release.trim().into(),
            distribution: distribution.trim_matches('"').into(),
            load_average: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next().map(str::to_owned))
                .unwrap_or_else(|| "unknown".into()),
            date: today(),
        }
    }
}

/// The value of the first `name : value` or `name=value` line of a file.
fn line_value(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim_start_matches([' ', '\t', ':', '=']).trim().to_owned())
}

fn today() -> String {
    let mut broken_down = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: time accepts null; gmtime_r reads the time and fills the structure, or returns null.
    let filled = unsafe {
        let now = libc::time(std::ptr::null_mut());
        !libc::gmtime_r(&raw const now, broken_down.as_mut_ptr()).is_null()
    };
    if !filled {
        return "date unknown".into();
    }
    // SAFETY: gmtime_r succeeded.
    let tm = unsafe { broken_down.assume_init() };
    format!("{:04}-{:02}-{:02}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday)
}
