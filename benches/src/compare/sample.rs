//! What goes into a run, and what comes out of it.

use super::series::Series;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How much every job does.
#[derive(Clone, Debug)]
pub struct Load {
    /// Threads of the workloads.
    pub threads: u16,
    /// Multiplies the work of all jobs.
    pub scale: f64,
    /// Milliseconds that a workload lives on after its work before its memory is read; 0 if that is not asked for.
    pub settle_ms: u32,
    /// The `workload` program.
    pub workload_program: PathBuf,
    /// A folder for sockets and copies.
    pub scratch: PathBuf,
    /// After this long a run has failed.
    pub limit: Duration,
}

/// One run of one job under one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of CPU time in user mode.
    pub user_s: f64,
    /// Seconds of CPU time in the kernel.
    pub system_s: f64,
    /// Page faults served without I/O.
    pub minor_faults: u64,
    /// High-water mark of resident memory.
    pub peak_kib: u64,
    /// Resident memory after everything was freed, where the job can tell.
    pub after_kib: Option<u64>,
    /// Made of what the program read back from its memory.
    pub checksum: String,
    /// Resident memory over time, if the program recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}
