//! What can go wrong when runtimes and tasks are made.

use crate::task::stack::StackError;
use std::fmt;

/// Why a runtime was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// No such number of workers.
    #[non_exhaustive]
    Workers {
        /// What was asked for.
        workers: usize,
        /// What is allowed.
        most: usize,
    },
    /// The program has a handler for the signal that preempts tasks.
    #[non_exhaustive]
    SignalInUse {
        /// Its number.
        signal: i32,
    },
    /// No such signal, or one that cannot be used.
    #[non_exhaustive]
    NoSuchSignal {
        /// What was asked for.
        signal: i32,
    },
    /// No such number of kernel threads.
    #[non_exhaustive]
    KernelThreads {
        /// What was asked for.
        threads: usize,
        /// The least that is allowed: one for each worker, and one to go on with.
        least: usize,
        /// The most.
        most: usize,
    },
    /// No stacks.
    Stacks(StackError),
    /// The system refused a thread or a poller.
    System(std::io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Workers { workers, most } => write!(f, "{workers} workers: 1 to {most} are allowed"),
            BuildError::SignalInUse { signal } => write!(
                f,
                "signal {signal}, which preempts tasks, has a handler of the program: RuntimeBuilder::preempt_signal takes another"
            ),
            BuildError::NoSuchSignal { signal } => write!(
                f,
                "signal {signal} cannot preempt tasks: SIGURG ({}), SIGIO, SIGUSR1, SIGUSR2 and real-time signals ({} to {}) can",
                libc::SIGURG,
                libc::SIGRTMIN(),
                libc::SIGRTMAX()
            ),
            BuildError::KernelThreads { threads, least, most } => {
                write!(f, "{threads} kernel threads: {least} to {most} are allowed for so many workers")
            }
            BuildError::Stacks(error) => write!(f, "no stacks for tasks: {error}"),
            BuildError::System(error) => write!(f, "no thread or poller for a worker: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Workers { .. }
            | BuildError::SignalInUse { .. }
            | BuildError::NoSuchSignal { .. }
            | BuildError::KernelThreads { .. } => None,
            BuildError::Stacks(error) => Some(error),
            BuildError::System(error) => Some(error),
        }
    }
}

/// Why a task was not spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime has no such cpu.
    #[non_exhaustive]
    NoSuchCpu {
        /// What was asked for.
        cpu: usize,
        /// How many there are; they are counted from 0.
        cpus: usize,
    },
    /// The group belongs to another runtime, whose cpus are not this one's.
    #[non_exhaustive]
    OtherRuntimesGroup {
        /// Its name.
        group: Box<str>,
    },
    /// The runtime is migrating and does not preempt, so no task can stay on a kernel thread.
    NoOwnThread,
    /// No memory for the task.
    OutOfMemory,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NoSuchCpu { cpu, cpus } => {
                write!(f, "a task for cpu {cpu}: the runtime has cpus 0 to {}", cpus - 1)
            }
            SpawnError::OtherRuntimesGroup { group } => {
                write!(
                    f,
                    "a task of group '{group}', which another runtime made: groups are for tasks of their own runtime"
                )
            }
            SpawnError::NoOwnThread => f.write_str(
                "a task with a kernel thread of its own, in a migrating runtime that was built with preempt(false): it has none to give",
            ),
            SpawnError::OutOfMemory => f.write_str("no memory for a task"),
        }
    }
}

impl std::error::Error for SpawnError {}
