//! `fairground-bench-runtime`: where the runtime stands among its peers, in one command.
//!
//! See `fairground_benches::runtimes` for the method. Exit status: 0 if our runtime did all rows right (failures of others are
//! reported, but are theirs), 1 if it did not or the run was interrupted, 2 for a wrong command line or if nothing can run.

use clap::Parser;
use fairground_benches::compare::machine::Machine;
use fairground_benches::compare::outputs::{Scratch, interrupted, write, write_raw};
use fairground_benches::runtimes::programs::{self, ECHO_LOAD, KNOWN, OURS};
use fairground_benches::runtimes::report::{Report, Setting};
use fairground_benches::runtimes::run::Load;
use fairground_benches::runtimes::{html, rows, schedule, table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Run rows of work under several green-thread runtimes, interleaved, and compare time, memory and latency.
///
/// The first Ctrl-C ends the run after the program that runs just then and reports what there is, marked as partial; the
/// second ends the comparison at once. With --json the raw data are also written while the run goes on, after every row.
#[derive(Parser)]
#[command(name = "fairground-bench-runtime", version)]
struct Options {
    /// Rows separated by commas, or `all`; `list` shows them.
    #[arg(long, default_value = "all")]
    rows: String,
    /// Runtimes separated by commas, or `all`; `list` shows them and what is missing.
    #[arg(long, default_value = "all")]
    runtimes: String,
    /// Runs of each row under each runtime [default: 5, quick: 3].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: Option<u16>,
    /// About how long a row measures; latencies three times as long [default: 1, quick: 0.2].
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// A rough answer in a few minutes: 3 repetitions of 0.2 s.
    #[arg(long)]
    quick: bool,
    /// Where the programs are [default: runtimes, beside this program's folder].
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Seconds after which a single run has failed.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Run nothing: report from raw data that an earlier run wrote by --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rows", "runtimes", "repetitions", "seconds", "quick"])]
    from: Option<PathBuf>,
    /// Write the report with its picture here: one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the raw data here, while the run goes on and at its end.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table here.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the picture here (SVG); nothing if there are no peers.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Long enough for clocks, short enough for the limit of a run.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if (0.01..=30.0).contains(&seconds) { Ok(seconds) } else { Err("0.01 to 30 are possible".into()) }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.rows == "list" {
        for row in rows::ALL {
            println!("{:17} {}", row.name, row.does);
        }
        return ExitCode::SUCCESS;
    }
    let done = if options.runtimes == "list" { list(&options) } else { report(&options) };
    done.unwrap_or_else(|error| {
        eprintln!("fairground-bench-runtime: {error}");
        ExitCode::from(2)
    })
}

fn list(options: &Options) -> Result<ExitCode, String> {
    let (runtimes, missing) = programs::resolve(&folder(options)?, "all")?;
    for name in KNOWN {
        if let Some(runtime) = runtimes.iter().find(|runtime| runtime.name == name) {
            println!("{name:12} {:16} {}", runtime.version, runtime.source);
        }
        if let Some(missing) = missing.iter().find(|missing| missing.name == name) {
            println!("{name:12} missing: {}", missing.remedy);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs or reads, then writes everything that was asked for.
fn report(options: &Options) -> Result<ExitCode, String> {
    let report = match &options.from {
        Some(path) => read(path)?,
        None => measure(options)?,
    };
    print!("{}", table::text(&report));
    if let Some(path) = &options.json {
        write_raw(path, &report)?;
    }
    if let Some(path) = &options.markdown {
        write(path, &table::markdown(&report))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(&report)?)?;
    }
    if let (Some(path), Some(svg)) = (&options.picture, html::picture(&report)?) {
        write(path, &svg)?;
    }
    let failed = report.failures().iter().any(|(_, runtime, _)| *runtime == OURS);
    Ok(ExitCode::from(u8::from(report.partial || failed)))
}

fn measure(options: &Options) -> Result<Report, String> {
    let machine = Machine::here();
    let scratch = Scratch::new()?;
    let rows = rows::named(&options.rows)?;
    let folder = folder(options)?;
    let (mut runtimes, missing) = programs::resolve(&folder, &options.runtimes)?;
    for missing in &missing {
        eprintln!("missing: {} ({})", missing.name, missing.remedy);
    }
    programs::add_control(&mut runtimes, &scratch.0)?;
    let seconds = options.seconds.unwrap_or(if options.quick { 0.2 } else { 1.0 });
    let setting = Setting {
        machine,
        repetitions: usize::from(options.repetitions.unwrap_or(if options.quick { 3 } else { 5 })),
        seconds,
        latency_seconds: 3.0 * seconds,
        runtimes,
        missing,
    };
    let load = Load {
        seconds,
        latency_seconds: setting.latency_seconds,
        echo_load: folder.join(ECHO_LOAD),
        limit: Duration::from_secs(options.timeout),
    };
    let stop = interrupted()?;
    let mut said = false;
    let outcomes = schedule::run_all(&rows, &setting.runtimes, setting.repetitions, &load, &stop, |outcomes| {
        let Some(path) = &options.json else { return };
        let kept = write_raw(path, &Report::new(setting.clone(), &rows, outcomes, true));
        if let Err(error) = kept
            && !std::mem::replace(&mut said, true)
        {
            eprintln!("fairground-bench-runtime: what there is so far cannot be kept: {error}");
        }
    });
    Ok(Report::new(setting, &rows, &outcomes, stop.load(Ordering::Relaxed)))
}

/// The folder that `benches/runtimes/build.sh` fills. Absolute: programs are started from there.
fn folder(options: &Options) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let built = program.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("runtimes");
    let folder = options.programs.as_ref().unwrap_or(&built);
    std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

fn read(path: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| format!("{}: not the raw data of this version (they come from --json): {e}", path.display()))?;
    let runtimes = report.runtimes().len();
    let fits = report.lines().all(|(row, line)| line.cells.len() == runtimes && row.outcomes.len() == runtimes);
    if runtimes == 0 || !fits {
        return Err(format!("{}: rows and runtimes do not fit each other", path.display()));
    }
    Ok(report)
}
