//! `fairground-compare`: where the allocator stands among its peers, in one command.
//!
//! See `fairground_benches::compare` for the method. Exit status: 0 if all runs gave the right answer, 1 if one failed or the
//! run was interrupted, 2 for a wrong command line.

use clap::Parser;
use fairground_benches::compare::jobs::Job;
use fairground_benches::compare::losses::{self, Entry};
use fairground_benches::compare::machine::Machine;
use fairground_benches::compare::outputs::{Scratch, interrupted, write, write_raw};
use fairground_benches::compare::peers::{self, Places};
use fairground_benches::compare::report::{Report, Setting};
use fairground_benches::compare::sample::Load;
use fairground_benches::compare::{html, plot, schedule, table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Run workloads under several allocators, interleaved, and compare time and memory.
///
/// The first Ctrl-C ends the run after the program that runs just then and reports what there is, marked as partial; the
/// second ends the comparison at once. With --json the raw data are also written while the run goes on, after every row.
#[derive(Parser)]
#[command(name = "fairground-compare", version)]
struct Options {
    /// Workloads separated by commas, or `all`; `list` shows them.
    #[arg(long, default_value = "all")]
    workloads: String,
    /// Peers separated by commas: names, NAME=PATH for any other library, `all` for the known ones as far as they are
    /// there; `list` shows them. glibc always takes part.
    #[arg(long, default_value = "all")]
    peers: String,
    /// Runs of each workload under each allocator [default: 5, quick: 3].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: Option<u16>,
    /// Threads of the workloads; with several numbers (2,8) each is a row of its own, named as in larson-8.
    #[arg(long, default_value = "2", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
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
    /// Run nothing: report from raw data that an earlier run wrote by --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workloads", "peers", "repetitions", "threads", "scale", "quick"])]
    from: Option<PathBuf>,
    /// Write the report with pictures and tables here: one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the raw data here, while the run goes on and at its end.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables of the README here.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the picture of the summary here (SVG).
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.workloads == "list" {
        for job in Job::all() {
            println!("{:18} {}", job.name(), job.stands_for());
        }
        return ExitCode::SUCCESS;
    }
    if options.peers == "list" {
        return match places(&options).and_then(|places| peers::list(&places)) {
            Ok(list) => {
                print!("{list}");
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        };
    }
    match report(&options) {
        Ok(report) => ExitCode::from(u8::from(report.partial || report.failures().next().is_some())),
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("fairground-compare: {error}");
    ExitCode::from(2)
}

/// Runs or reads, then writes everything that was asked for.
fn report(options: &Options) -> Result<Report, String> {
    let entries = losses::recorded().map_err(|e| format!("benches/LOSSES.md: {e}"))?;
    let report = match &options.from {
        Some(path) => read(path)?,
        None => compare(options)?,
    };
    print!("{}", table::text(&report, &entries));
    write_all(options, &report, &entries)?;
    Ok(report)
}

fn compare(options: &Options) -> Result<Report, String> {
    let machine = Machine::here();
    let scratch = Scratch::new()?;
    let (mut allocators, missing_peers) = peers::resolve(&places(options)?, &options.peers)?;
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
    let cases = schedule::cases(&jobs, &options.threads);
    let setting = Setting {
        machine,
        threads: options.threads.clone(),
        scale: options.scale.unwrap_or(if options.quick { 0.2 } else { 1.0 }),
        repetitions: usize::from(options.repetitions.unwrap_or(if options.quick { 3 } else { 5 })),
        allocators,
        missing_peers,
        missing_jobs,
    };
    let load = Load {
        threads: options.threads[0],
        scale: setting.scale,
        settle_ms: 0,
        workload_program: beside_this_program("workload")?,
        scratch: scratch.0.clone(),
        limit: Duration::from_secs(options.timeout),
    };
    let stop = interrupted()?;
    let mut said = false;
    let outcomes = schedule::run_all(&cases, &setting.allocators, setting.repetitions, &load, &stop, |outcomes| {
        let Some(path) = &options.json else { return };
        let kept = write_raw(path, &Report::new(setting.clone(), &cases, outcomes, true));
        if let Err(error) = kept
            && !std::mem::replace(&mut said, true)
        {
            eprintln!("fairground-compare: what there is so far cannot be kept: {error}");
        }
    });
    Ok(Report::new(setting, &cases, &outcomes, stop.load(Ordering::Relaxed)))
}

fn write_all(options: &Options, report: &Report, entries: &[Entry]) -> Result<(), String> {
    if let Some(path) = &options.json {
        write_raw(path, report)?;
    }
    if let Some(path) = &options.markdown {
        write(path, &table::markdown(report, entries))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(report, entries)?)?;
    }
    if let Some(path) = &options.picture {
        write(path, &plot::summary::draw(report)?)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| format!("{}: not the raw data of this version (they come from --json): {e}", path.display()))?;
    let complete = report.rows.iter().all(|row| row.results.len() == report.allocators().len());
    if report.allocators().is_empty() || !complete {
        return Err(format!("{}: rows and allocators do not fit each other", path.display()));
    }
    Ok(report)
}

/// Where the allocators are: those of this build beside this program.
fn places(options: &Options) -> Result<Places, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(Places::of_build(program.parent().unwrap_or(Path::new(".")), ours(options)?))
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
