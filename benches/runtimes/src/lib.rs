//! What the programs of the runtime comparison share, so that they differ in nothing but the runtime.
//!
//! Each runtime has a program with the same rows of work and the same command line; `PROGRAM ROW` does one row, checks its
//! answer, and prints one line of JSON: operations, wall time and CPU time, and what else the row measures. A wrong answer, or
//! a row that the runtime cannot do on this machine, is an exit status other than 0 with the reason on standard error; a
//! row that it has no means for says so in JSON (`unsupported`).
//!
//! * **How much work** is found by the program itself ([`measure::repeated`]): runtimes differ by a factor of 400 in a row.
//!   Finding it is also the warm-up. Start and end of process and runtime are in no figure.
//! * **CPU time** is that of the whole process: what helper threads spend for a runtime is part of its price.
//! * **How many cores** a process has is for whoever starts it to say, by affinity. The number of workers is told by
//!   `--workers` and should be the same.
//! * **A panic ends the program**, wherever it is: no row has one, and runtimes that run into a limit of the machine tell by one.
//! * Every runtime as it comes: its default stack size, queues and pools, a bounded channel where it has one, the multi-thread
//!   scheduler also for one worker. The rows run in tasks, not in the thread that starts the runtime.

pub mod cpus;
pub mod echo;
pub mod hog;
pub mod measure;
pub mod memory;
pub mod mpsc;
pub mod skynet;

use clap::{Parser, ValueEnum};
use measure::Outcome;
use std::path::PathBuf;
use std::process::ExitCode;

/// A row of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Some tasks that do nothing but yield to each other.
    Yield,
    /// Tasks spawned by one task, a thousand at a time, and then joined.
    Spawn,
    /// A tree of tasks, ten below each, with a million leaves; every task sums what those below it return.
    Skynet,
    /// Two tasks that send a number to and fro over two channels.
    PingPong,
    /// The same with each of the two on a core of its own.
    PingPongAcross,
    /// Four tasks send to a fifth over one channel.
    Mpsc,
    /// Tasks that all wait for the same thing: how much memory is resident for each.
    Parked,
    /// A TCP server that sends back what it gets, a task for each connection.
    Echo,
    /// A task that wants to run every millisecond beside eight that compute.
    Hog,
}

/// Do one row of work on this runtime and print one line of JSON.
#[derive(Clone, Parser)]
pub struct Options {
    /// What to do.
    pub row: Row,
    /// Workers, or processors, of the runtime.
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Tasks of the rows that take a number of them (yield, parked).
    #[arg(long, default_value_t = 4)]
    pub tasks: usize,
    /// About how long the measured part is to take.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Hogs yield after so many milliseconds; without it they never do.
    #[arg(long)]
    pub slice_ms: Option<u64>,
    /// Connections of the row echo.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// The load generator of the row echo [default: echo-load beside this program].
    #[arg(long)]
    pub load: Option<PathBuf>,
}

/// How a row ended, if nothing went wrong.
pub enum End {
    /// It was measured.
    Measured(Outcome),
    /// This runtime has no means for it.
    Unsupported(&'static str),
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self::Measured(outcome)
    }
}

/// The `main` of every program: reads the command line, has the row done, prints.
pub fn run(row: impl FnOnce(&Options) -> Result<End, String>) -> ExitCode {
    let options = Options::parse();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        // SAFETY: it only ends the process. Nothing may run on: the thread may be one that could not even be set up.
        unsafe { libc::_exit(1) }
    }));
    match row(&options) {
        Ok(end) => {
            println!("{}", json(&end));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn json(end: &End) -> String {
    match end {
        End::Measured(outcome) => outcome.json(),
        End::Unsupported(reason) => serde_json::json!({ "unsupported": reason }).to_string(),
    }
}

/// An error unless the answer is the expected one.
pub fn check<T: PartialEq + std::fmt::Display>(what: &str, answer: T, expected: T) -> Result<(), String> {
    if answer == expected { Ok(()) } else { Err(format!("wrong answer: {what} is {answer}, not {expected}")) }
}
