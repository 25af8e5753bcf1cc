//! All tasks and cpus of a runtime at a glance.
//!
//! Each row is true of one moment, the rows of moments soon after each other: nothing is stopped for the look. A task's run time is that of its
//! last switch.

use crate::atomic::Ordering;
use crate::cpu::Cpu;
use crate::runtime::Runtime;
use crate::sched::{Class, Nice};
use crate::task::{Task, TaskId, TaskState};
use std::fmt;
use std::time::Duration;

/// What [`Runtime::ps`] returns. Its `Display` is a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ps {
    /// By id.
    pub tasks: Vec<TaskRow>,
    /// By number.
    pub cpus: Vec<CpuRow>,
}

/// A task in the listing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Who spawned it.
    pub parent: Option<TaskId>,
    /// Its name.
    pub name: Option<Box<str>>,
    /// What it is doing.
    pub state: TaskState,
    /// How it is scheduled.
    pub class: Class,
    /// The cpu it is on, or was on last.
    pub cpu: usize,
    /// How long it ran.
    pub runtime: Duration,
    /// How long it was ready to run and did not.
    pub wait: Duration,
    /// How often it was given a cpu.
    pub switches: u64,
    /// How often it moved to another cpu.
    pub migrations: u64,
    /// Times it was preempted.
    pub preemptions: u64,
}

/// A cpu in the listing. All counts are since the runtime was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CpuRow {
    /// Its number within the runtime.
    pub cpu: usize,
    /// The processor it is pinned to, if it is.
    pub processor: Option<u32>,
    /// Tasks that wait in its queue.
    pub queued: u32,
    /// Switches to a task.
    pub switches: u64,
    /// Tasks that were spawned here.
    pub spawned: u64,
    /// Parks: tasks that waited for somebody.
    pub parked: u64,
    /// Tasks that were woken from here.
    pub wakeups: u64,
    /// Times it took tasks from another cpu, and how many it took.
    pub steals: u64,
    /// See `steals`.
    pub migrations: u64,
    /// Tasks that were preempted.
    pub preemptions: u64,
    /// Times the cpu went from one kernel thread to another: preemptions, and tasks that go on on their own thread.
    pub handovers: u64,
    /// Times it was taken from a kernel thread that was blocked in the kernel.
    pub blocked: u64,
    /// Times it slept, and for how long.
    pub sleeps: u64,
    /// See `sleeps`.
    pub idle: Duration,
}

impl Runtime {
    /// All tasks that have not ended, and all cpus.
    ///
    /// # Examples
    /// ```
    /// use fairground_runtime::{Builder, Runtime, yield_now};
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let rests = Builder::new().name("rests").spawn_on(&runtime, || loop { yield_now() })?;
    /// let listing = runtime.ps();
    /// assert_eq!(listing.tasks[0].name.as_deref(), Some("rests"));
    /// println!("{listing}");
    /// rests.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ps(&self) -> Ps {
        let tasks = self
            .tasks()
            .map(|task| {
                let cpu = task.cpu.load(Ordering::Relaxed) as usize;
                let task = Task::new(task);
                TaskRow {
                    id: task.id(),
                    parent: task.parent(),
                    name: task.name().map(Box::from),
                    state: task.state(),
                    class: task.class(),
                    cpu,
                    runtime: task.run_time(),
                    wait: task.wait_time(),
                    switches: task.switches(),
                    migrations: task.migrations(),
                    preemptions: task.preemptions(),
                }
            })
            .collect();
        Ps { tasks, cpus: self.shared().cpus.iter().map(CpuRow::of).collect() }
    }
}

impl CpuRow {
    fn of(cpu: &Cpu) -> CpuRow {
        let stats = &cpu.stats;
        let of = |counter: &crate::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        CpuRow {
            cpu: cpu.index as usize,
            processor: cpu.processor.map(|processor| processor.get()),
            queued: cpu.queued.load(Ordering::Relaxed),
            switches: of(&stats.switches),
            spawned: of(&stats.spawned),
            parked: of(&stats.parks),
            wakeups: of(&stats.wakeups),
            steals: of(&stats.steals),
            migrations: of(&stats.migrations),
            preemptions: of(&stats.preemptions),
            handovers: of(&stats.handovers),
            blocked: of(&stats.blocked),
            sleeps: of(&stats.sleeps),
            idle: Duration::from_nanos(of(&stats.idle)),
        }
    }
}

/// As `ps` has them: one letter, and the kernel's where it has one.
fn letter(state: TaskState) -> char {
    match state {
        TaskState::New => 'N',
        TaskState::Ready | TaskState::Running => 'R',
        TaskState::Parked => 'S',
        TaskState::Stopped => 'T',
        TaskState::Dead => 'X',
        TaskState::Blocked => 'D',
    }
}

fn class(class: Class) -> (&'static str, String) {
    match class {
        Class::Fifo(priority) => ("FF", priority.get().to_string()),
        Class::RoundRobin(priority) => ("RR", priority.get().to_string()),
        Class::Fair(nice) => ("TS", Nice::get(nice).to_string()),
        Class::Idle => ("IDL", "-".to_owned()),
    }
}

impl fmt::Display for Ps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>8} {:>8} S CLS {:>4} {:>3} {:>12} {:>12} {:>10} {:>8} {:>6} NAME",
            "ID", "PARENT", "NI", "CPU", "RUN ms", "WAIT ms", "SWITCHES", "PREEMPT", "MIGR"
        )?;
        for task in &self.tasks {
            let (class, number) = class(task.class);
            writeln!(
                f,
                "{:>8} {:>8} {} {class:<3} {number:>4} {:>3} {:>12.3} {:>12.3} {:>10} {:>8} {:>6} {}",
                task.id,
                task.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string()),
                letter(task.state),
                task.cpu,
                task.runtime.as_secs_f64() * 1e3,
                task.wait.as_secs_f64() * 1e3,
                task.switches,
                task.preemptions,
                task.migrations,
                task.name.as_deref().unwrap_or("-"),
            )?;
        }
        writeln!(
            f,
            "\n{:>4} {:>5} {:>7} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
            "CPU",
            "PROC",
            "QUEUED",
            "SWITCHES",
            "SPAWNED",
            "PARKED",
            "WAKEUPS",
            "STEALS",
            "MIGR",
            "PREEMPT",
            "HANDOVER",
            "BLOCKED",
            "SLEEPS",
            "IDLE ms"
        )?;
        for cpu in &self.cpus {
            writeln!(
                f,
                "{:>4} {:>5} {:>7} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10.1}",
                cpu.cpu,
                cpu.processor.map_or_else(|| "-".to_owned(), |processor| processor.to_string()),
                cpu.queued,
                cpu.switches,
                cpu.spawned,
                cpu.parked,
                cpu.wakeups,
                cpu.steals,
                cpu.migrations,
                cpu.preemptions,
                cpu.handovers,
                cpu.blocked,
                cpu.sleeps,
                cpu.idle.as_secs_f64() * 1e3,
            )?;
        }
        Ok(())
    }
}
