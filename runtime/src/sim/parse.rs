//! Workloads from text. The format is described in the module above.

use super::workload::{GroupSpec, Span, TaskSpec, Then, Workload};
use crate::sched::{Bandwidth, Class, Nice, RtPriority, Shares};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is wrong with a workload, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadError {
    line: usize,
    what: String,
}

impl WorkloadError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for WorkloadError {}

/// If the text does not say.
const DURATION: u64 = 1_000_000_000;
/// Longer than anybody waits for, and far from where numbers wrap.
const MOST_NS: u64 = 100 * 3600 * 1_000_000_000;

impl FromStr for Workload {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Workload, WorkloadError> {
        let mut workload = Workload { duration: DURATION, groups: Vec::new(), tasks: Vec::new() };
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            workload.line(line).map_err(|what| WorkloadError { line: at + 1, what })?;
        }
        if workload.tasks.is_empty() {
            let line = text.lines().count().max(1);
            return Err(WorkloadError {
                line,
                what: "no line 'task NAME ...' up to here: one at least is needed".into(),
            });
        }
        Ok(workload)
    }
}

impl Workload {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut words = Words(line.split_whitespace());
        let Some(what) = words.0.next() else { return Ok(()) };
        match what {
            "duration" => self.duration = time(words.value("duration")?)?,
            "group" => {
                let group = group(&mut words, &self.groups)?;
                self.groups.push(group);
            }
            "task" => {
                let task = task(&mut words, &self.groups)?;
                self.tasks.push(task);
            }
            other => return Err(format!("'{other}': a line begins with duration, group or task")),
        }
        match words.0.next() {
            Some(more) => Err(format!("'{more}': nothing more is allowed here")),
            None => Ok(()),
        }
    }
}

struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn value(&mut self, of: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("'{of}' needs a value after it"))
    }

    fn number(&mut self, of: &str, least: u64, most: u64) -> Result<u64, String> {
        let text = self.value(of)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{of} '{text}': a number from {least} to {most} is allowed"))
    }

    fn name(&mut self, of: &str) -> Result<String, String> {
        let name = self.value(of)?;
        let good = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.chars().all(good) && name.len() <= 40 {
            Ok(name.into())
        } else {
            Err(format!("name '{name}': up to 40 letters, digits, '-', '_' and '.' are allowed"))
        }
    }

    fn group(&mut self, groups: &[GroupSpec]) -> Result<usize, String> {
        let name = self.value("in")?;
        groups.iter().position(|group| group.name == name).ok_or_else(|| {
            let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
            let known = if names.is_empty() { "none so far".into() } else { names.join(", ") };
            format!("no group '{name}' above this line: there is {known}")
        })
    }
}

fn group(words: &mut Words, groups: &[GroupSpec]) -> Result<GroupSpec, String> {
    let name = words.name("group")?;
    if groups.iter().any(|group| group.name == name) {
        return Err(format!("a second group '{name}': each has a name of its own"));
    }
    let mut group = GroupSpec { name, parent: None, shares: Shares::default(), bandwidth: None };
    while let Some(key) = words.0.next() {
        match key {
            "in" => group.parent = Some(words.group(groups)?),
            "weight" => {
                let weight = words.number("weight", u64::from(Shares::MIN.get()), u64::from(Shares::MAX.get()))?;
                group.shares = Shares::new(weight as u32).map_err(|error| error.to_string())?;
            }
            "quota" => group.bandwidth = Some(quota(words.value("quota")?)?),
            other => return Err(format!("'{other}': of a group in, weight and quota are known")),
        }
    }
    Ok(group)
}

fn quota(text: &str) -> Result<Bandwidth, String> {
    let (quota, period) = text.split_once('/').ok_or_else(|| format!("quota '{text}': it is written 5ms/20ms"))?;
    let (quota, period) = (Duration::from_nanos(time(quota)?), Duration::from_nanos(time(period)?));
    Bandwidth::new(quota, period).map_err(|error| error.to_string())
}

fn task(words: &mut Words, groups: &[GroupSpec]) -> Result<TaskSpec, String> {
    let name = words.name("task")?;
    let (mut run, mut forever, mut then) = (None, false, None);
    let mut task = TaskSpec {
        name,
        count: 1,
        per_cpu: false,
        class: Class::default(),
        group: None,
        run: None,
        then: Then::End,
        times: None,
        start: Span::Fixed(0),
        every: None,
        on: None,
    };
    while let Some(key) = words.0.next() {
        match key {
            "count" | "per-cpu" => {
                task.count = words.number(key, 1, Workload::MOST_TASKS as u64)? as u32;
                task.per_cpu = key == "per-cpu";
            }
            "nice" => task.class = Class::Fair(nice(words.value("nice")?)?),
            "class" => task.class = class(words.value("class")?)?,
            "in" => task.group = Some(words.group(groups)?),
            "run" => match words.value("run")? {
                "forever" => forever = true,
                text => run = Some(span(text)?),
            },
            "sleep" => then = Some(Then::Sleep(span(words.value("sleep")?)?)),
            "yield" => then = Some(Then::Yield),
            "end" => then = Some(Then::End),
            "times" => task.times = Some(words.number("times", 1, u64::MAX)?),
            "start" => task.start = span(words.value("start")?)?,
            "every" => task.every = Some(span(words.value("every")?)?),
            "on" => task.on = Some(words.number("on", 0, 1023)? as u32),
            other => {
                return Err(format!(
                    "'{other}': of a task count, per-cpu, nice, class, in, run, sleep, yield, end, times, start, every and on are known"
                ));
            }
        }
    }
    match (forever, run, then) {
        (true, None, None) => (),
        (true, ..) => return Err("'run forever': nothing follows it, neither sleep, yield nor end".into()),
        (false, None, _) => return Err("a task without 'run': 'run 5ms', or 'run forever', is needed".into()),
        (false, Some(_), None) => {
            return Err("what follows the run is missing: sleep with a time, yield, or end".into());
        }
        (false, Some(run), Some(then)) => (task.run, task.then) = (Some(run), then),
    }
    if task.group.is_some() && !matches!(task.class, Class::Fair(_)) {
        return Err("a task of another class than the fair one cannot be in a group".into());
    }
    Ok(task)
}

fn nice(text: &str) -> Result<Nice, String> {
    let number = text.parse().map_err(|_| format!("nice '{text}': -20 to 19 are allowed"))?;
    Nice::new(number).map_err(|error| error.to_string())
}

fn class(text: &str) -> Result<Class, String> {
    let error = || {
        format!(
            "class '{text}': fifo:50, rr:50 (priorities 1 to 99) and idle are allowed; fair is what has a nice value"
        )
    };
    let priority = |text: &str| text.parse().ok().and_then(|number| RtPriority::new(number).ok()).ok_or_else(error);
    match text.split_once(':') {
        None if text == "idle" => Ok(Class::Idle),
        Some(("fifo", number)) => priority(number).map(Class::Fifo),
        Some(("rr", number)) => priority(number).map(Class::RoundRobin),
        _ => Err(error()),
    }
}

/// `5ms`, `1ms..5ms`, or `~5ms`.
fn span(text: &str) -> Result<Span, String> {
    if let Some(mean) = text.strip_prefix('~') {
        return time(mean).map(Span::About);
    }
    match text.split_once("..") {
        None => time(text).map(Span::Fixed),
        Some((from, to)) => match (time(from)?, time(to)?) {
            (from, to) if from <= to => Ok(Span::Between(from, to)),
            _ => Err(format!("'{text}': the first time is the smaller one")),
        },
    }
}

/// Reads a time as workloads have it: `5ms`, `1.5s`.
///
/// # Errors
/// It is none.
pub fn parse_time(text: &str) -> Result<Duration, TimeError> {
    time(text).map(Duration::from_nanos).map_err(TimeError)
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimeError {}

/// Nanoseconds.
fn time(text: &str) -> Result<u64, String> {
    let error = || {
        format!(
            "time '{text}': a number with ns, us, ms or s is allowed (5ms, 1.5s), up to 360000s; random ones are 1ms..5ms and ~5ms"
        )
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ if text == "0" => 1.0,
        _ => return Err(error()),
    };
    let number: f64 = number.parse().map_err(|_| error())?;
    let ns = (number * factor).round();
    if ns > MOST_NS as f64 { Err(error()) } else { Ok(ns as u64) }
}
