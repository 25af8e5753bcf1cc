//! The job `true`: what a preloaded library costs a process that allocates next to nothing.
//!
//! Shell scripts and build systems start thousands of such processes. Time, faults and CPU time are sums over all starts of
//! `/bin/true`. It is too short-lived to be asked for its memory, so the peak is what `/bin/cat` (of the same kind and size)
//! reads of itself from `/proc/self/status`.

use super::peers::Allocator;
use super::process::{self, Usage};
use super::sample::{Load, Sample};
use std::process::{Command, Stdio};
use std::time::Instant;

const STARTS: f64 = 200.0;

pub(super) fn run(allocator: &Allocator, load: &Load) -> Result<Sample, String> {
    let starts = (STARTS * load.scale).ceil() as usize;
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::preload(&mut command, allocator.library.as_deref());
    let mut total = Usage::default();
    let begin = Instant::now();
    for _ in 0..starts {
        let child = command.spawn().map_err(|e| format!("cannot start /bin/true: {e}"))?;
        let (status, usage) = process::reap(&child)?;
        if status != 0 {
            return Err(format!("/bin/true ended with wait status {status}"));
        }
        total.user += usage.user;
        total.system += usage.system;
        total.minor_faults += usage.minor_faults;
    }
    let wall = begin.elapsed();
    let mut cat = Command::new("/bin/cat");
    cat.arg("/proc/self/status");
    process::preload(&mut cat, allocator.library.as_deref());
    let status = process::run(cat, load.limit)?.output;
    let peak_kib = process::status_field(&status, "VmHWM:").ok_or("no VmHWM in /proc/self/status")?;
    Ok(Sample {
        wall_s: wall.as_secs_f64(),
        user_s: total.user.as_secs_f64(),
        system_s: total.system.as_secs_f64(),
        minor_faults: total.minor_faults,
        peak_kib,
        after_kib: None,
        checksum: format!("{starts} starts"),
        series: None,
    })
}
