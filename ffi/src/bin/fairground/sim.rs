//! `fairground sim`: the runtime's scheduler in virtual time, on a machine that is not there.
//!
//! | module | concern |
//! |---|---|
//! | `table` | the figures as text, policies under each other |
//! | `json` | the same for other tools |
//! | `page` | the same as a page with pictures |
//! | `gantt`, `vruntime`, `picture` | who runs when; virtual run time over time; what both have in common |

mod gantt;
mod json;
mod page;
mod picture;
mod table;
mod vruntime;

use crate::refusal::Refusal;
use clap::Args;
use fairground_runtime::sched::policy::{PolicyError, PolicyRef};
use fairground_runtime::sim::{Report, Simulation, Workload};
use fairground_runtime::topology::Shape;
use page::Origin;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub const HELP: &str = "\
Workloads with names: hogs-and-sleepers, web-requests, batch-and-interactive, fork-storm, tenants; --print shows
their text, which is the format of files:

  duration TIME
  group NAME [in GROUP] [weight N] [quota TIME/TIME]
  task NAME run SPAN (sleep SPAN | yield | end) [more]
  task NAME run forever [more]

more: count N, per-cpu N, nice N, class fifo:P, class rr:P, class idle, in GROUP, times N, start SPAN, every SPAN,
on CPU. A TIME is 5ms, 1.5s or 200us; a SPAN is a TIME, 1ms..5ms (as likely anywhere) or ~5ms (exponential).

Machines: 16 (cores), 2x8 (packages x cores), 2x8x2 (with threads), 4+8@512 (4 fast cores and 8 of half the speed).

All policies get the same work. The same seed gives the same figures. An interrupt ends it; nothing is written then.

Policies: cfs, eevdf, rr (round robin), fcfs (first come, first served), sjf (shortest job first), priority (strict).

Examples:
  fairground sim --policy cfs,eevdf,rr,fcfs,sjf,priority
  fairground sim                                               hogs and sleepers on 4 cores
  fairground sim --cpus 2x8 --workload web-requests --html page.html
  fairground sim --workload tenants --print > mine.txt; fairground sim --workload mine.txt";

#[derive(Args)]
pub struct Options {
    /// The policies to compare, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "cfs")]
    policy: Vec<String>,
    /// The machine: a number of cores, or packages x cores (x threads); 1,024 cpus at most
    #[arg(long, value_name = "MACHINE", default_value = "4")]
    cpus: String,
    /// The workload: a name, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "hogs-and-sleepers")]
    workload: String,
    /// Print the workload's text instead of simulating it
    #[arg(long)]
    print: bool,
    /// How long the simulated machine runs [default: as the workload says]
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Tasks that have run stay on their cpu, as in the runtime's default mode
    #[arg(long)]
    stay: bool,
    /// Write the figures to FILE as JSON (`-`: to stdout, instead of the table)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and pictures to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What the pictures show: some turns of each policy, and slices that can be seen still.
const WINDOW: Duration = Duration::from_millis(50);

/// Runs the simulation and prints what came out.
pub fn sim(options: Options) -> Result<ExitCode, Refusal> {
    let text = workload_text(&options.workload)?;
    if options.print {
        return print(&text);
    }
    let workload: Workload = text.parse().map_err(|error| {
        let what = format!("workload {}: {error}", options.workload);
        Refusal::launcher(what, "correct the line; `fairground sim --help` has the format")
    })?;
    let shape: Shape =
        options.cpus.parse().map_err(|error| Refusal::launcher(format!("{error}"), "see the examples of --help"))?;
    let topology = shape.topology();
    let duration = match &options.duration {
        Some(text) => fairground_runtime::sim::parse_time(text)
            .map_err(|error| Refusal::launcher(format!("--duration: {error}"), "give a time such as 500ms or 2s"))?,
        None => workload.duration(),
    };
    let policies = policies(&options.policy)?;
    let simulation =
        Simulation::new(&workload, &topology).duration(duration).seed(options.seed).migrating(!options.stay);
    let window = WINDOW.min(duration);
    let simulation = if options.html.is_some() { simulation.follow(Duration::ZERO..window) } else { simulation };
    let mut reports = Vec::new();
    for policy in policies {
        let mut progress = Progress::new(policy.name().to_owned(), duration);
        let report = simulation.clone().policy(policy).run_with(|now| progress.reached(now));
        reports.push(report.map_err(|error| {
            let what = format!("workload {}: {error}", options.workload);
            Refusal::launcher(what, "change the workload, or choose another machine")
        })?);
    }
    if let Some(path) = &options.html {
        let origin = Origin {
            workload: &options.workload,
            text: &text,
            machine: &options.cpus,
            window,
            command: command(&options, duration),
        };
        let page = page::page(&reports, &origin).map_err(|error| {
            Refusal::launcher(
                format!("cannot draw {error}"),
                "leave out --html, and report this as a fault of Fairground",
            )
        })?;
        write(path, &page)?;
    }
    match &options.json {
        Some(path) if path.as_os_str() == "-" => print(&json::text(&reports)),
        Some(path) => {
            write(path, &json::text(&reports))?;
            print(&table::text(&reports))
        }
        None => print(&table::text(&reports)),
    }
}

/// What gives the same figures again.
fn command(options: &Options, duration: Duration) -> String {
    format!(
        "fairground sim --policy {} --cpus {} --workload {} --duration {}us --seed {}{}",
        options.policy.join(","),
        options.cpus,
        options.workload,
        duration.as_micros(),
        options.seed,
        if options.stay { " --stay" } else { "" }
    )
}

fn policies(names: &[String]) -> Result<Vec<PolicyRef>, Refusal> {
    let refuse = |error: PolicyError| Refusal::launcher(error.to_string(), "name some of these, with commas between");
    names.iter().map(|name| name.trim().parse().map_err(refuse)).collect()
}

fn workload_text(name: &str) -> Result<String, Refusal> {
    if let Some(text) = Workload::text(name) {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(name).map_err(|error| {
        let names: Vec<_> = Workload::names().collect();
        let what = format!("no workload '{name}': it is no name, and as a file: {error}");
        Refusal::launcher(what, format!("name one of {}, or a file that can be read", names.join(", ")))
    })
}

fn print(text: &str) -> Result<ExitCode, Refusal> {
    // Who reads it may have had enough (head): no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn write(path: &PathBuf, text: &str) -> Result<(), Refusal> {
    std::fs::write(path, text).map_err(|error| {
        Refusal::launcher(format!("cannot write {}: {error}", path.display()), "name a file that can be written")
    })
}

/// Tells on stderr how far it is, if it takes more than a moment.
struct Progress {
    policy: String,
    duration: Duration,
    said: Instant,
    began: bool,
}

impl Progress {
    fn new(policy: String, duration: Duration) -> Progress {
        Progress { policy, duration, said: Instant::now(), began: false }
    }

    fn reached(&mut self, now: Duration) {
        // On a terminal one line that is written over; in a log a line now and then.
        let terminal = std::io::stderr().is_terminal();
        if self.said.elapsed() < Duration::from_secs(if terminal { 1 } else { 10 }) {
            return;
        }
        (self.said, self.began) = (Instant::now(), terminal);
        let part = 100.0 * now.as_secs_f64() / self.duration.as_secs_f64();
        let end = if terminal { "\r" } else { "\n" };
        eprint!("fairground: {}: {part:3.0} % of {:?} simulated{end}", self.policy, self.duration);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.began {
            eprintln!();
        }
    }
}
