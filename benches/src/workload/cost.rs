//! What one run of a workload cost, measured from inside.
//!
//! The time is that from the start of the main function to the end of the work, without phases in which the workload is idle
//! on purpose. What the parent could measure would contain what comes after, the settling.
//!
//! **Settling.** How much memory a program keeps after it has freed everything is asked of a program that lives on: an
//! allocator may give memory back at the program's next activities instead of at once. So for a given time the main thread
//! goes on with a trickle of small blocks, `ACTIVITIES` times a second; everything else has been measured before. Settling
//! takes longer than many a workload, and what it shows hardly differs from run to run: `fairground-compare` asks for it in the
//! first repetition only.

use super::usage::{Usage, status_field};
use super::{Load, Workload, idle_time};
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A program that is all but idle: some timer fires, a log line is written.
const ACTIVITIES: u32 = 20;
/// The blocks of one activity: a line of text, a record and a buffer.
const ACTIVITY: [usize; 3] = [40, 200, 1000];

/// The result and the costs of one run, printed as words `key=value`.
pub struct Cost {
    checksum: u64,
    run: Duration,
    usage: Usage,
    peak_kib: u64,
    after_kib: u64,
}

impl Cost {
    /// Runs the workload in a process whose main function began at `begin`, then settles.
    pub fn of(workload: &Workload, load: &Load, begin: Instant, settle: Duration) -> Self {
        let checksum = (workload.run)(load);
        let run = begin.elapsed().saturating_sub(idle_time());
        let usage = Usage::own();
        let peak_kib = own_status("VmHWM:");
        let until = Instant::now() + settle;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_secs(1) / ACTIVITIES);
            for size in ACTIVITY {
                black_box(Vec::<u8>::with_capacity(black_box(size)));
            }
        }
        Self { checksum, run, usage, peak_kib, after_kib: own_status("VmRSS:") }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checksum, run, usage, peak_kib, after_kib } = self;
        write!(f, "checksum={checksum:016x} run_s={:.6}", run.as_secs_f64())?;
        write!(f, " user_s={:.6} system_s={:.6}", usage.user.as_secs_f64(), usage.system.as_secs_f64())?;
        write!(f, " minor_faults={} peak_kib={peak_kib} after_kib={after_kib}", usage.minor_faults)
    }
}

/// A field of this process's `/proc/self/status`; 0 where there is no such file.
fn own_status(name: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| status_field(&status, name)).unwrap_or(0)
}
