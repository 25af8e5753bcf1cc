//! `fairground demo`: real programs on the system's allocator and on Fairground, side by side.
//!
//! The question a visitor has is not how fast a malloc is but what *their* programs gain and whether they still give
//! right answers. So each workload is a program as the distribution ships it, given a job of about a second that ends
//! in an answer; the answers of both allocators are compared by length and hash, and a difference fails the demo.
//!
//! Fairness of the figures: runs are interleaved (system, Fairground, then the other way round), so that a machine
//! that warms up or slows down treats both alike; the median is shown; the peak is the kernel's own (`ru_maxrss` over
//! the process tree, `VmHWM` for the server). 'System' means what the program uses when left alone, and that is not
//! always glibc: Debian's redis-server asks for jemalloc. The table says so.
//!
//! The whole demo stays under two minutes: each workload has an equal share of what is left of the budget, and stops
//! repeating when the next round would not fit. Rounds made are shown with the figures.

mod interrupt;
mod measure;
mod redis;
mod table;
mod workload;

use crate::library::{self, Library};
use crate::refusal::Refusal;
use crate::{elf, program, run};
use clap::Args;
use measure::Measured;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use workload::{WORKLOADS, Workload};

pub const HELP: &str = "\
Programs used where installed: python3, g++, git, sqlite3, redis-server, node, bash, perl. A missing one is named,
with the Debian package that has it; nothing is installed. Files go to a fresh temporary directory (TMPDIR), which is
removed at the end. LD_PRELOAD is cleared for the demo's programs.

Exit status: 0 if every answer agrees, 1 if one differs or a program failed, 125 if the demo could not run.

Examples:
  fairground demo                     three rounds, at most two minutes
  fairground demo --quick             one round, about half a minute
  fairground demo --only git,python3  some of the programs
  fairground demo --json demo.json    the table's figures for other tools";

#[derive(Args)]
pub struct Options {
    /// One round instead of three
    #[arg(long)]
    quick: bool,
    /// Write the figures to FILE as JSON (`-`: to stdout, instead of the table)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these workloads, by name, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// The library to measure [default: as for `fairground run`]
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// For the whole demo; what is left of two minutes after set-up on a slow machine.
const BUDGET: Duration = Duration::from_secs(105);
/// A single run takes about a second; one that takes this long is stuck.
const RUN_LIMIT: Duration = Duration::from_secs(40);

/// Where a workload runs: its directory and the programs it asked for.
pub struct Stage {
    dir: PathBuf,
    tools: BTreeMap<&'static str, PathBuf>,
}

impl Stage {
    fn tool(&self, name: &str) -> &Path {
        &self.tools[name]
    }
}

/// The median figures of one workload on one allocator.
#[derive(Clone, Copy, Serialize)]
pub struct Figures {
    pub seconds: f64,
    pub peak_rss_kib: u64,
}

/// How a workload ended.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Measured {
        rounds: usize,
        system: Figures,
        fairground: Figures,
        same_answer: bool,
        answer_system: String,
        answer_fairground: String,
    },
    Failed {
        reason: String,
    },
    Missing {
        programs: Vec<&'static str>,
        packages: Vec<&'static str>,
    },
}

/// One line of the table.
#[derive(Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub notes: Vec<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Serialize)]
struct Report<'a> {
    library: &'a Path,
    rows: &'a [Row],
    time_ratio_geometric_mean: Option<f64>,
    peak_rss_ratio_geometric_mean: Option<f64>,
}

/// Runs the demo.
pub fn demo(options: Options) -> Result<ExitCode, Refusal> {
    let chosen = select(&options.only)?;
    let library = library::find(options.library.as_deref())?;
    let dir = tempfile::Builder::new().prefix("fairground-demo.").tempdir().map_err(|error| {
        Refusal::launcher(format!("cannot make a temporary directory: {error}"), "set TMPDIR to a writable directory")
    })?;
    interrupt::clean_up_on_signal(dir.path().to_owned()).map_err(|error| {
        Refusal::launcher(format!("cannot handle signals: {error}"), "report this; it should work on any Linux")
    })?;
    check_preloading(&library, dir.path())?;

    let mut progress = Progress::new();
    let rounds = if options.quick { 1 } else { 3 };
    let began = Instant::now();
    let mut rows = Vec::new();
    for (index, workload) in chosen.iter().enumerate() {
        // What quick workloads leave over is shared among the rest.
        let share = BUDGET.saturating_sub(began.elapsed()) / (chosen.len() - index) as u32;
        let place = format!("[{}/{}] {}", index + 1, chosen.len(), workload.name);
        rows.push(perform(workload, &library, dir.path(), rounds, share, &mut |step| {
            progress.show(&format!("{place}: {step}"));
        }));
    }
    progress.clear();
    report(&rows, &library, options.json.as_deref())?;
    let good = rows.iter().all(|row| match &row.outcome {
        Outcome::Measured { same_answer, .. } => *same_answer,
        Outcome::Failed { .. } => false,
        Outcome::Missing { .. } => true,
    });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn select(only: &[String]) -> Result<Vec<&'static Workload>, Refusal> {
    if let Some(unknown) = only.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != **name)) {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        return Err(Refusal::launcher(
            format!("--only names {unknown:?}, which is no workload of the demo"),
            format!("choose among {}", names.join(", ")),
        ));
    }
    Ok(WORKLOADS.iter().filter(|workload| only.is_empty() || only.iter().any(|name| name == workload.name)).collect())
}

/// A library that the loader rejects is ignored with a message, and every answer would agree: so make sure once.
fn check_preloading(library: &Library, dir: &Path) -> Result<(), Refusal> {
    let cat = program::find("cat".as_ref())?;
    let mut command = measure::command(&cat.path, Some(&library.path));
    command.arg("/proc/self/maps").current_dir(dir);
    let failed = |why: String| {
        Refusal::launcher(
            format!("{} does not load: {why}", library.path.display()),
            "build the library again: cargo build --release -p fairground-ffi",
        )
    };
    measure::measure(command, dir, RUN_LIMIT).map_err(failed)?;
    let maps = std::fs::read_to_string(measure::output_of_last_run(dir)).unwrap_or_default();
    let mapped = library.path.canonicalize().unwrap_or_else(|_| library.path.clone());
    if maps.contains(&*mapped.to_string_lossy()) {
        return Ok(());
    }
    Err(failed("the dynamic loader did not map it into a program".into()))
}

/// One workload: its tools, its rounds, its row.
fn perform(
    workload: &'static Workload,
    library: &Library,
    root: &Path,
    rounds: usize,
    share: Duration,
    step: &mut dyn FnMut(&str),
) -> Row {
    let row = |notes, outcome| Row { name: workload.name, what: workload.what, notes, outcome };
    let mut tools = BTreeMap::new();
    let mut missing = Vec::new();
    for &(name, package) in workload.tools {
        match program::find_binary(name) {
            Some(path) => drop(tools.insert(name, path)),
            None => missing.push((name, package)),
        }
    }
    if !missing.is_empty() {
        let (programs, mut packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
        packages.dedup();
        return row(Vec::new(), Outcome::Missing { programs, packages });
    }
    let measured_tool = &tools[workload.tools[0].0];
    let notes = match preload_notes(measured_tool, library) {
        Ok(notes) => notes,
        Err(refusal) => return row(Vec::new(), Outcome::Failed { reason: refusal.what().to_owned() }),
    };
    let stage = Stage { dir: root.join(workload.name), tools };
    match take_rounds(workload, &stage, library, rounds, share, step) {
        Ok(outcome) => row(notes, outcome),
        Err(reason) => row(notes, Outcome::Failed { reason }),
    }
}

/// What a reader should know of this program: that it cannot or may not be preloaded, or brings an allocator along.
fn preload_notes(executable: &Path, library: &Library) -> Result<Vec<String>, Refusal> {
    let mut notes: Vec<String> = run::check(executable, library)?.into_iter().collect();
    if let Ok(facts) = elf::inspect(executable) {
        let known = ["libjemalloc", "libtcmalloc", "libmimalloc", "libtbbmalloc"];
        for name in facts.needed.iter().filter(|name| known.iter().any(|known| name.starts_with(known))) {
            notes.push(format!("left alone it uses {name}, not glibc's allocator"));
        }
    }
    Ok(notes)
}

fn take_rounds(
    workload: &Workload,
    stage: &Stage,
    library: &Library,
    rounds: usize,
    share: Duration,
    step: &mut dyn FnMut(&str),
) -> Result<Outcome, String> {
    let began = Instant::now();
    step("preparing");
    std::fs::create_dir_all(&stage.dir).map_err(|error| format!("{}: {error}", stage.dir.display()))?;
    (workload.prepare)(stage)?;

    let mut taken: [Vec<Measured>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let round_began = Instant::now();
        // The second round begins with the other allocator.
        for side in [round % 2, 1 - round % 2] {
            let (name, preload) = [("system", None), ("Fairground", Some(library.path.as_path()))][side];
            step(&format!("{name}, round {} of {rounds}", round + 1));
            let measured = (workload.run)(stage, preload).map_err(|error| format!("on {name}: {error}"))?;
            taken[side].push(measured);
        }
        if began.elapsed() + round_began.elapsed() > share {
            break;
        }
    }
    let [system, fairground] = &taken;
    // Every round's answer, not only the last one's: an error that shows up in one run of three is an error.
    let expected = system[0].answer;
    let same_answer = system.iter().chain(fairground).all(|measured| measured.answer == expected);
    let odd_one = fairground.iter().find(|measured| measured.answer != expected).unwrap_or(&fairground[0]);
    Ok(Outcome::Measured {
        rounds: system.len(),
        system: figures(system),
        fairground: figures(fairground),
        same_answer,
        answer_system: expected.to_string(),
        answer_fairground: odd_one.answer.to_string(),
    })
}

fn figures(runs: &[Measured]) -> Figures {
    Figures {
        seconds: median(runs.iter().map(|run| run.seconds).collect()),
        peak_rss_kib: median(runs.iter().map(|run| run.peak_rss_kib as f64).collect()) as u64,
    }
}

/// The middle value; of an even number of values, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

fn report(rows: &[Row], library: &Library, json: Option<&Path>) -> Result<(), Refusal> {
    let report = Report {
        library: &library.path,
        rows,
        time_ratio_geometric_mean: table::geometric_mean(rows, |figures| figures.seconds),
        peak_rss_ratio_geometric_mean: table::geometric_mean(rows, |figures| figures.peak_rss_kib as f64),
    };
    let to_stdout = json == Some(Path::new("-"));
    if !to_stdout {
        print!("{}", table::render(rows, &library.path));
    }
    let Some(path) = json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&report).expect("plain figures and strings") + "\n";
    let written =
        if to_stdout { std::io::stdout().write_all(text.as_bytes()) } else { std::fs::write(path, text.as_bytes()) };
    written.map_err(|error| {
        Refusal::launcher(format!("cannot write {}: {error}", path.display()), "name a writable file after --json")
    })
}

/// A line that overwrites itself on a terminal; a line a step elsewhere.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else {
            eprintln!("{text}");
        }
    }

    fn clear(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
    }
}
