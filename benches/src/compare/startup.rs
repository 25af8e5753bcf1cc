//! The job `true`: what a preloaded library costs a process that allocates next to nothing.
//!
//! Shell scripts and build systems start thousands of such processes. Time, faults and CPU time are sums over all starts of
//! `/bin/true`, started as cheaply as can be (vfork), so that the start itself is what is seen.
//!
//! The peak is the median of some more starts through [`measured`], for the way in which the many are started gives them the
//! peak of this program. A single one says little: nearly all of it is file pages, which the kernel maps in groups around
//! each fault, and how a file falls into such groups changes with the random addresses.

use super::measured;
use super::peers::Allocator;
use super::process::{self, Usage};
use super::sample::{Load, Sample};
use super::statistics::Summary;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const TRUE: &str = "/bin/true";
/// At scale 1; together about a third of a second.
const STARTS: f64 = 500.0;
/// Starts for the peak. Single ones differ by a tenth.
const PEAKS: usize = 15;

pub(super) fn run(allocator: &Allocator, load: &Load) -> Result<Sample, String> {
    let starts = (STARTS * load.scale).ceil() as usize;
    let mut command = Command::new(TRUE);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::preload(&mut command, allocator.library.as_deref());
    let mut total = Usage::default();
    let begin = Instant::now();
    for _ in 0..starts {
        let child = command.spawn().map_err(|e| format!("cannot start {TRUE}: {e}"))?;
        let (status, usage) = process::reap(&child)?;
        if status != 0 {
            return Err(format!("{TRUE} ended with wait status {status}"));
        }
        total.user += usage.user;
        total.system += usage.system;
        total.minor_faults += usage.minor_faults;
    }
    let wall = begin.elapsed();
    let peaks: Vec<f64> = (0..PEAKS).map(|_| peak_kib(allocator, load)).collect::<Result<_, _>>()?;
    let peak_kib = Summary::of(peaks).map_or(0, |summary| summary.median as u64);
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

fn peak_kib(allocator: &Allocator, load: &Load) -> Result<f64, String> {
    let mut command = measured::command(load, allocator.library.as_deref(), Path::new("/dev/null"));
    command.arg(TRUE);
    Ok(measured::run(command, load)?.peak_kib as f64)
}
