//! `fairground-compare`: where the allocator stands among its peers, in one command.
//!
//! See `fairground_benches::compare` for the method. Exit status: 0 if all runs gave the right answer, 1 if one failed,
//! 2 for a wrong command line.

use clap::Parser;
use fairground_benches::compare::jobs::Job;
use fairground_benches::compare::machine::Machine;
use fairground_benches::compare::report::{Report, Setting};
use fairground_benches::compare::sample::Load;
use fairground_benches::compare::{peers, schedule, table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run workloads under several allocators, interleaved, and compare time and memory.
#[derive(Parser)]
#[command(name = "fairground-compare", version)]
struct Options {
    /// Workloads separated by commas, or `all`; `list` shows them.
    #[arg(long, default_value = "all")]
    workloads: String,
    /// Peers separated by commas: glibc, jemalloc, mimalloc, tcmalloc or NAME=PATH. glibc always takes part.
    #[arg(long, default_value_t = peers::default_names())]
    peers: String,
    /// Runs of each workload under each allocator [default: 5, quick: 3].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: Option<u16>,
    /// Threads of the workloads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Multiplies the work [default: 1, quick: 0.2].
    #[arg(long)]
    scale: Option<f64>,
    /// A rough answer in a few minutes: 3 repetitions of a fifth of the work.
    #[arg(long)]
    quick: bool,
    /// The library under test [default: libfairground.so beside this program].
    #[arg(long, env = "FAIRGROUND_LIBRARY")]
    library: Option<PathBuf>,
    /// Seconds after which a single run has failed.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Write the raw data here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables of the README here.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.workloads == "list" {
        for job in Job::all() {
            println!("{:18} {}", job.name(), job.stands_for());
        }
        return ExitCode::SUCCESS;
    }
    match compare(&options) {
        Ok(report) => {
            print!("{}", table::text(&report));
            ExitCode::from(u8::from(report.failures().next().is_some()))
        }
        Err(error) => {
            eprintln!("fairground-compare: {error}");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> Result<Report, String> {
    let machine = Machine::here();
    let scratch = Scratch::new()?;
    let ours = ours(options)?;
    let (mut allocators, missing_peers) = peers::resolve(ours.as_deref(), &options.peers)?;
    peers::add_control(&mut allocators, &scratch.0)?;
    for missing in &missing_peers {
        eprintln!("missing: {} ({})", missing.name, missing.remedy);
    }
    let mut missing_jobs = Vec::new();
    let mut jobs = Job::named(&options.workloads)?;
    jobs.retain(|job| {
        job.missing().is_none_or(|reason| {
            eprintln!("skipped: {}: {reason}", job.name());
            missing_jobs.push((job.name().to_owned(), reason));
            false
        })
    });
    let load = Load {
        threads: options.threads,
        scale: options.scale.unwrap_or(if options.quick { 0.2 } else { 1.0 }),
        settle_ms: 0,
        workload_program: beside_this_program("workload")?,
        scratch: scratch.0.clone(),
        limit: Duration::from_secs(options.timeout),
    };
    let repetitions = usize::from(options.repetitions.unwrap_or(if options.quick { 3 } else { 5 }));
    let outcomes = schedule::run_all(&jobs, &allocators, repetitions, &load);
    let setting = Setting {
        machine,
        threads: load.threads,
        scale: load.scale,
        repetitions,
        allocators,
        missing_peers,
        missing_jobs,
    };
    let report = Report::new(setting, &jobs, outcomes);
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &options.markdown {
        write(path, &table::markdown(&report))?;
    }
    Ok(report)
}

/// The library under test; `None` if it was not named and is not built.
fn ours(options: &Options) -> Result<Option<PathBuf>, String> {
    let library = match &options.library {
        Some(named) if !named.is_file() => return Err(format!("no library at {}", named.display())),
        Some(named) => Some(named.clone()),
        None => beside_this_program("libfairground.so").ok(),
    };
    // Absolute: redis and others may run elsewhere, and LD_PRELOAD takes a bare name for one to search.
    library.map(|path| path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))).transpose()
}

/// A file in the folder of this program, which is the build's output folder.
fn beside_this_program(name: &str) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let path = program.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(format!("{} is not there; build the whole package", path.display())) }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A folder of this run's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("fairground-compare-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
