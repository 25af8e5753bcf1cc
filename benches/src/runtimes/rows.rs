//! The rows, the figures of each, and the aims.
//!
//! What a row does is the business of the programs: `benches/runtimes/src/lib.rs`.

use super::run::Sample;
use serde::{Deserialize, Serialize};

/// A row of work.
pub struct Row {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// Its name for the programs, and what else they are told.
    pub arguments: &'static [&'static str],
    /// Workers, and processors.
    pub workers: usize,
    /// How long the programs are to measure.
    pub length: Length,
    /// What is read from it.
    pub figures: &'static [Figure],
}

/// How long a row takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as enough operations of some kind take.
    Operations,
    /// Some seconds: latencies need many periods of the schedulers that are compared.
    Latencies,
}

/// Whether a figure is good when it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A cost.
    Less,
    /// A speed.
    More,
}

/// What is read from a row.
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// How it comes from the line of a program.
    pub value: Value,
    /// Which way is better.
    pub better: Better,
    /// What this project wants to reach on two cores of 2026's cloud machines, where it has said so.
    pub aim: Option<f64>,
}

/// How a figure comes from the line of a program.
#[derive(Clone, Copy)]
pub enum Value {
    /// Nanoseconds of CPU time for an operation.
    CpuNs,
    /// Nanoseconds for an operation.
    WallNs,
    /// Microseconds for an operation.
    WallUs,
    /// Milliseconds for everything.
    AllMs,
    /// Milliseconds of CPU time for everything.
    AllCpuMs,
    /// Million operations in a second.
    MillionPerSecond,
    /// What the program says under that name.
    Said(&'static str),
    /// The same in thousands.
    SaidThousands(&'static str),
}

impl Value {
    /// The figure, if the line has it.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let (operations, wall, cpu) = (sample.operations, sample.wall_ns, sample.cpu_ns);
        let each = |total: f64| (operations > 0.0).then(|| total / operations);
        match self {
            Self::CpuNs => each(cpu),
            Self::WallNs => each(wall),
            Self::WallUs => each(wall / 1e3),
            Self::AllMs => Some(wall / 1e6),
            Self::AllCpuMs => Some(cpu / 1e6),
            Self::MillionPerSecond => (wall > 0.0).then(|| operations / wall * 1e3),
            Self::Said(name) => sample.further.get(name).copied(),
            Self::SaidThousands(name) => sample.further.get(name).map(|value| value / 1e3),
        }
    }
}

const fn less(name: &'static str, value: Value) -> Figure {
    Figure { name, value, better: Better::Less, aim: None }
}

const fn more(name: &'static str, value: Value) -> Figure {
    Figure { name, value, better: Better::More, aim: None }
}

impl Figure {
    const fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }
}

/// What parked tasks of a stackful runtime cannot do without is a page of stack each.
const PARKED: [Figure; 2] = [
    less("bytes resident each", Value::Said("resident_bytes")).aim(4600.0),
    less("bytes of page tables each", Value::Said("page_table_bytes")),
];

/// How late the task is; the third is the worst of the run.
const LATE: [Figure; 3] = [
    less("late by, p50, us", Value::Said("p50_us")),
    less("late by, p99, us", Value::Said("p99_us")),
    less("late by, most, us", Value::Said("max_us")),
];

/// All rows, in the order of the tables.
pub const ALL: &[Row] = &[
    Row {
        name: "yield",
        does: "two tasks on one core do nothing but yield to each other",
        arguments: &["yield", "--tasks", "2"],
        workers: 1,
        length: Length::Operations,
        figures: &[less("ns of CPU", Value::CpuNs).aim(35.0), less("ns", Value::WallNs)],
    },
    Row {
        name: "spawn-1",
        does: "spawn and join: a task starts a thousand tasks and joins them, again and again, on one core",
        arguments: &["spawn"],
        workers: 1,
        length: Length::Operations,
        figures: &[less("ns of CPU a task", Value::CpuNs).aim(180.0), less("ns a task", Value::WallNs)],
    },
    Row {
        name: "spawn-2",
        does: "spawn and join on two cores",
        arguments: &["spawn"],
        workers: 2,
        length: Length::Operations,
        figures: &[less("ns of CPU a task", Value::CpuNs).aim(300.0), less("ns a task", Value::WallNs)],
    },
    Row {
        name: "skynet-1m",
        does: "a tree of tasks, ten below each, with a million leaves whose numbers are summed",
        arguments: &["skynet"],
        workers: 2,
        length: Length::Operations,
        figures: &[less("ms", Value::AllMs).aim(700.0), less("ms of CPU", Value::AllCpuMs)],
    },
    Row {
        name: "ping-pong",
        does: "two tasks on one core send a number to and fro over two channels",
        arguments: &["ping-pong"],
        workers: 1,
        length: Length::Operations,
        figures: &[less("ns of CPU a round trip", Value::CpuNs).aim(200.0), less("ns a round trip", Value::WallNs)],
    },
    Row {
        name: "ping-pong-across",
        does: "the same, each of the two kept on a core of its own",
        arguments: &["ping-pong-across"],
        workers: 2,
        length: Length::Operations,
        figures: &[less("us a round trip", Value::WallUs).aim(8.0), less("ns of CPU a round trip", Value::CpuNs)],
    },
    Row {
        name: "mpsc",
        does: "four tasks send to a fifth over one channel (of 1024 messages where the runtime has bounded ones), on two cores",
        arguments: &["mpsc"],
        workers: 2,
        length: Length::Operations,
        figures: &[
            more("million messages/s", Value::MillionPerSecond).aim(35.0),
            less("ns of CPU a message", Value::CpuNs),
        ],
    },
    Row {
        name: "parked-10k",
        does: "10,000 tasks that all wait for one thing",
        arguments: &["parked", "--tasks", "10000"],
        workers: 2,
        length: Length::Operations,
        figures: &PARKED,
    },
    Row {
        name: "parked-100k",
        does: "100,000 tasks that all wait for one thing",
        arguments: &["parked", "--tasks", "100000"],
        workers: 2,
        length: Length::Operations,
        figures: &PARKED,
    },
    Row {
        name: "parked-1m",
        does: "1,000,000 tasks that all wait for one thing",
        arguments: &["parked", "--tasks", "1000000"],
        workers: 2,
        length: Length::Operations,
        figures: &PARKED,
    },
    Row {
        name: "echo",
        does: "a TCP server with a task for each of 64 connections, each with one request of 64 bytes under way",
        arguments: &["echo", "--connections", "64"],
        workers: 2,
        length: Length::Latencies,
        figures: &[
            more("thousand requests/s", Value::SaidThousands("requests_per_s")).aim(270.0),
            less("p50, us", Value::Said("p50_us")),
            less("p99, us", Value::Said("p99_us")).aim(400.0),
            less("p99.9, us", Value::Said("p999_us")),
            less("ns of the server's CPU a request", Value::CpuNs),
        ],
    },
    Row {
        name: "hog",
        does: "a task that wants to run every millisecond beside eight that compute and never yield, on two cores",
        arguments: &["hog"],
        workers: 2,
        length: Length::Latencies,
        figures: &LATE,
    },
    Row {
        name: "hog-50ms",
        does: "the same with eight that yield after each 50 ms",
        arguments: &["hog", "--slice-ms", "50"],
        workers: 2,
        length: Length::Latencies,
        figures: &LATE,
    },
];

/// The rows named in a list separated by commas; `all` for all. A name ends where it stops being different: `spawn` is both.
pub fn named(names: &str) -> Result<Vec<&'static Row>, String> {
    if names == "all" {
        return Ok(ALL.iter().collect());
    }
    let mut found = Vec::new();
    for name in names.split(',').map(str::trim) {
        let exact = ALL.iter().filter(|row| row.name == name);
        let meant: Vec<_> = match exact.clone().count() {
            0 => {
                ALL.iter().filter(|row| row.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))).collect()
            }
            _ => exact.collect(),
        };
        if meant.is_empty() {
            let known: Vec<&str> = ALL.iter().map(|row| row.name).collect();
            return Err(format!("no row '{name}'; known: {}", known.join(", ")));
        }
        found.extend(meant);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{ALL, Value, named};
    use crate::runtimes::run::Sample;

    #[test]
    fn names_select_rows_and_groups_of_them() {
        let names = |list| named(list).unwrap().iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names("hog, spawn"), ["hog", "spawn-1", "spawn-2"]);
        assert_eq!(names("all").len(), ALL.len());
        let error = named("yields").err().unwrap();
        assert!(error.contains("'yields'") && error.contains("skynet-1m"), "{error}");
        assert!(named("").is_err());
    }

    #[test]
    fn figures_are_what_their_names_say() {
        let further = [("resident_bytes".to_owned(), 4500.0)].into();
        let sample = Sample { operations: 1000.0, wall_ns: 2e6, cpu_ns: 4e6, further };
        let of = |value: Value| value.of(&sample);
        assert_eq!([of(Value::CpuNs), of(Value::WallNs), of(Value::WallUs)], [Some(4000.0), Some(2000.0), Some(2.0)]);
        assert_eq!([of(Value::AllMs), of(Value::AllCpuMs)], [Some(2.0), Some(4.0)]);
        assert_eq!(of(Value::MillionPerSecond), Some(0.5));
        assert_eq!(of(Value::Said("resident_bytes")), Some(4500.0));
        assert_eq!(of(Value::SaidThousands("resident_bytes")), Some(4.5));
        assert_eq!(of(Value::Said("p99_us")), None);
    }
}
