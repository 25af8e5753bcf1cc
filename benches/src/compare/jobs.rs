//! What is run under each allocator: the workloads, programs of others, a redis server, and the start of a program that does
//! nothing.

use super::peers::{self, Allocator};
use super::process::{self, Finished};
use super::programs::{self, Program};
use super::sample::{Load, Sample};
use super::series::Series;
use super::{redis, startup};
use crate::workload::{self, Kind, Workload};
use std::path::Path;
use std::process::Command;

/// A job.
#[derive(Clone, Copy)]
pub enum Job {
    /// One of the workloads.
    Workload(&'static Workload),
    /// A program with work of ours.
    Program(&'static Program),
    /// A redis server under load.
    Redis,
    /// The start of `/bin/true`.
    Startup,
}

impl Job {
    /// All jobs in the order of the tables.
    pub fn all() -> Vec<Self> {
        let programs = programs::ALL.iter().map(Self::Program);
        workload::ALL.iter().map(Self::Workload).chain([Self::Redis]).chain(programs).chain([Self::Startup]).collect()
    }

    /// The jobs named in a list separated by commas; `all` for all.
    pub fn named(names: &str) -> Result<Vec<Self>, String> {
        if names == "all" {
            return Ok(Self::all());
        }
        let find = |name: &str| {
            let known = || Self::all().iter().map(|job| job.name()).collect::<Vec<_>>().join(", ");
            Self::all()
                .into_iter()
                .find(|j| j.name() == name)
                .ok_or_else(|| format!("no workload '{name}'; known: {}", known()))
        };
        names.split(',').map(|name| find(name.trim())).collect()
    }

    /// The name on the command line and in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Workload(workload) => workload.name,
            Self::Program(program) => program.name,
            Self::Redis => "redis",
            Self::Startup => "true",
        }
    }

    /// What kind of program it stands for.
    pub fn stands_for(&self) -> &'static str {
        match self {
            Self::Workload(workload) => workload.stands_for,
            Self::Program(program) => program.stands_for,
            Self::Redis => "redis-server under redis-benchmark: set, get, lpush, lrange",
            Self::Startup => "start and end of /bin/true: what preloading costs each process",
        }
    }

    /// Whether it runs with as many threads as it is told to: only such a job is a row of its own for each number.
    pub fn threaded(&self) -> bool {
        matches!(self, Self::Workload(_))
    }

    /// Why the job cannot run on this machine, if it cannot.
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::Redis => redis::missing(),
            Self::Program(program) => program.missing(),
            Self::Workload(_) | Self::Startup => None,
        }
    }

    /// By which door the program of the job gets its blocks: not every allocator serves both.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Workload(workload) => workload.kind,
            Self::Program(_) | Self::Redis | Self::Startup => Kind::C,
        }
    }

    /// Runs the job once.
    pub fn run(&self, allocator: &Allocator, load: &Load) -> Result<Sample, String> {
        match self {
            Self::Workload(workload) => run_workload(workload, allocator, load),
            Self::Program(program) => program.run(allocator.library.as_deref(), load),
            Self::Redis => redis::run(allocator, load),
            Self::Startup => startup::run(allocator, load),
        }
    }
}

fn run_workload(workload: &Workload, allocator: &Allocator, load: &Load) -> Result<Sample, String> {
    let linked = allocator.program.as_ref().filter(|_| workload.kind == Kind::Rust);
    let library = if linked.is_some() { None } else { allocator.library.as_deref() };
    let mut command = Command::new(linked.unwrap_or(&load.workload_program));
    command.arg(workload.name);
    command.args(["--threads", &load.threads.to_string(), "--scale", &load.scale.to_string()]);
    command.args(["--settle-ms", &load.settle_ms.to_string()]);
    process::preload(&mut command, library);
    let Finished { output, .. } = process::run(command, load.limit)?;
    let field = |name: &str| {
        let found = output.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| format!("no {name} in the output: {output}"))
    };
    let served_by = field("allocator")?;
    match linked {
        Some(program) => linked_with(program, served_by)?,
        None => preloaded_with(library, served_by, peers::c_library().as_deref())?,
    }
    let number = |name: &str| field(name)?.parse::<u64>().map_err(|e| format!("{name}: {e}"));
    let seconds = |name: &str| field(name)?.parse::<f64>().map_err(|e| format!("{name}: {e}"));
    Ok(Sample {
        // What the program measured itself: it lives on after its work, to settle.
        wall_s: seconds("run_s")?,
        user_s: seconds("user_s")?,
        system_s: seconds("system_s")?,
        minor_faults: number("minor_faults")?,
        peak_kib: number("peak_kib")?,
        after_kib: if load.settle_ms > 0 { Some(number("after_kib")?) } else { None },
        checksum: field("checksum")?.to_owned(),
        series: Series::in_output(&output)?,
    })
}

/// Programs that are linked with an allocator bear its name, so one that was built or copied as another is found out.
fn linked_with(program: &Path, served_by: &str) -> Result<(), String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if name == format!("workload-{served_by}") {
        return Ok(());
    }
    Err(format!("{name} is linked with {served_by}; build it anew"))
}

/// A library that has no malloc leaves the C library's in place, and would pass for one that is as fast.
fn preloaded_with(library: Option<&Path>, served_by: &str, c_library: Option<&Path>) -> Result<(), String> {
    let serves = |path: &Path| path.file_name().is_some_and(|name| name == served_by);
    if c_library.is_some_and(serves) && library.is_some_and(|library| !serves(library)) {
        return Err(format!("the preloaded library did not take malloc over: it is that of {served_by}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{linked_with, preloaded_with};
    use std::path::Path;

    #[test]
    fn a_preload_that_does_not_serve_malloc_is_an_error() {
        let c_library = Some(Path::new("/lib/libc.so.6"));
        let preloaded = |library: &str, served_by| preloaded_with(Some(Path::new(library)), served_by, c_library);
        assert!(preloaded("/usr/lib/libz.so.1", "libc.so.6").is_err());
        assert!(preloaded("/usr/lib/libjemalloc.so.2", "libjemalloc.so.2").is_ok());
        assert!(preloaded("/lib/libc.so.6", "libc.so.6").is_ok());
        assert!(preloaded_with(None, "libc.so.6", c_library).is_ok());
    }

    #[test]
    fn a_program_linked_with_another_allocator_than_its_name_says_is_an_error() {
        assert!(linked_with(Path::new("/peers/workload-snmalloc"), "snmalloc").is_ok());
        assert!(linked_with(Path::new("/peers/workload-snmalloc"), "rpmalloc").is_err());
    }
}
