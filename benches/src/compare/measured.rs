//! What a program of others cost, with the processes that it started: time, faults, and the peak of its largest process.
//!
//! Its peak resident memory is not easy to have from outside:
//!
//! * `VmHWM` in `/proc` is gone when the process has ended, and polling misses the end of short programs.
//! * `ru_maxrss` of `wait4` is the greatest high-water mark in the whole tree of waited-for children, which is what is wanted.
//!   But Linux carries the mark of the memory in which exec was called into it, so a child shows its parent's size if that is
//!   larger. (Children started by vfork or `posix_spawn` have their parent's memory at that time, forked ones their copy.)
//!   And the kernel counts resident pages per processor and adds them up now and then; `ru_maxrss` misses what was not added
//!   yet, which is a fifth of `/bin/true`.
//! * `memory.peak` of a control group counts the page cache and needs a group of one's own.
//!
//! So the program runs under `measure`, which has it and every process it starts stopped by ptrace at exit, and reads
//! `VmHWM` then; recent kernels add the counters up for that. The peak is that of the largest process: what a machine must
//! have for the tree depends on what runs at the same time.
//!
//! Time, faults and CPU time are those of `wait4`, which include the children waited for. Wall time begins when exec is
//! done and ends when the program's memory has been given back; fork and exec themselves are not in it. Being traced
//! costs a program two switches at each signal, fork and exit, and nothing between. Only first threads are traced: what
//! another thread starts would be missed, but none of these programs does that. Containers that forbid ptrace get an error
//! that says so.
//!
//! `measure` itself runs without a preload. The kernel kills what is traced when the tracer ends, so a run that hangs, or a
//! comparison that is interrupted, leaves nothing behind.

use super::process;
use super::sample::{Load, Sample};
use std::path::Path;
use std::process::Command;

/// A command that measures; the program and its arguments are to be added. Its standard output goes to `output`.
pub(super) fn command(load: &Load, library: Option<&Path>, output: &Path) -> Command {
    let mut command = Command::new(load.workload_program.with_file_name("measure"));
    process::preload(&mut command, None);
    if let Some(library) = library {
        command.arg("--preload").arg(library);
    }
    command.arg("--output").arg(output).arg("--");
    command
}

/// Runs what [`command`] began; the sample lacks its checksum.
pub(super) fn run(command: Command, load: &Load) -> Result<Sample, String> {
    let line = process::run(command, load.limit)?.output;
    let number = |name: &str| {
        let found = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| format!("no {name} in what measure says: {line}"))
    };
    let seconds = |name: &str| number(name).map(|us| us as f64 / 1e6);
    Ok(Sample {
        wall_s: seconds("wall_us")?,
        user_s: seconds("user_us")?,
        system_s: seconds("system_us")?,
        minor_faults: number("minor_faults")?,
        peak_kib: number("peak_kib")?,
        after_kib: None,
        checksum: String::new(),
        series: None,
    })
}
