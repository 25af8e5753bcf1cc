//! One row on one runtime: the program on its processors, and what its line says.

use super::rows::{Length, Row};
use crate::compare::process;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a program measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What the times are for.
    pub operations: f64,
    /// Wall time.
    pub wall_ns: f64,
    /// CPU time of the whole process.
    pub cpu_ns: f64,
    /// What else it measured, by name.
    pub further: BTreeMap<String, f64>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With figures.
    Measured(Sample),
    /// The runtime has no means for this row.
    Unsupported(String),
    /// A wrong answer, a crash, or a limit of the machine.
    Failed(String),
}

/// What all runs have in common.
#[derive(Clone)]
pub struct Load {
    /// Seconds that rows of operations measure.
    pub seconds: f64,
    /// Seconds that rows of latencies measure.
    pub latency_seconds: f64,
    /// The load generator of the row echo.
    pub echo_load: PathBuf,
    /// When a run has failed.
    pub limit: Duration,
}

/// Variables that change how a runtime works: measured is what it does by itself.
const TUNING: [&str; 7] =
    ["GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "SMOL_THREADS", "TOKIO_WORKER_THREADS", "FAIRGROUND_CONF"];

/// Does it.
pub fn run(row: &Row, program: &Path, load: &Load) -> Outcome {
    let mut command = Command::new(program);
    let seconds = match row.length {
        Length::Operations => load.seconds,
        Length::Latencies => load.latency_seconds,
    };
    command.args(row.arguments).args(["--workers", &row.workers.to_string(), "--seconds", &seconds.to_string()]);
    if row.name == "echo" {
        command.arg("--load").arg(&load.echo_load);
    }
    process::preload(&mut command, None);
    // The last line of what a program says is the reason, not a picture of its stack.
    command.env("RUST_BACKTRACE", "0");
    TUNING.iter().for_each(|name| _ = command.env_remove(name));
    let outcome = on_processors(&mut command, row.workers).and_then(|()| process::run(command, load.limit));
    match outcome {
        Ok(finished) => read(&finished.output),
        Err(error) => Outcome::Failed(error),
    }
}

/// Has the program run on the first `count` of the processors that are allowed here.
fn on_processors(command: &mut Command, count: usize) -> Result<(), String> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zeroes are a set, the empty one, and the kernel writes a set of the size given; the numbers tried are those of
    // the set's bits.
    let set = unsafe {
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) != 0 {
            return Err(format!("sched_getaffinity: {}", std::io::Error::last_os_error()));
        }
        let mut set = set.assume_init();
        let mut kept = 0;
        for cpu in 0..libc::CPU_SETSIZE as usize {
            if libc::CPU_ISSET(cpu, &set) {
                kept += 1;
                if kept > count {
                    libc::CPU_CLR(cpu, &mut set);
                }
            }
        }
        if kept < count {
            return Err(format!("{kept} processors are allowed here, and the row is for {count}"));
        }
        set
    };
    // SAFETY: between fork and exec only this one system call is made, on a set that the closure owns.
    unsafe {
        command.pre_exec(move || match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    Ok(())
}

/// What a program's line says.
fn read(output: &str) -> Outcome {
    let unreadable = || Outcome::Failed(format!("not the line of a row: {}", output.trim()));
    let Ok(Value::Object(mut said)) = serde_json::from_str(output.trim()) else { return unreadable() };
    if let Some(Value::String(reason)) = said.remove("unsupported") {
        return Outcome::Unsupported(reason);
    }
    let mut number = |name: &str| said.remove(name).and_then(|value| value.as_f64());
    let (Some(operations), Some(wall_ns), Some(cpu_ns)) = (number("operations"), number("wall_ns"), number("cpu_ns"))
    else {
        return unreadable();
    };
    let further = said.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect();
    Outcome::Measured(Sample { operations, wall_ns, cpu_ns, further })
}

#[cfg(test)]
mod tests {
    use super::{Load, Outcome, read, run};
    use crate::runtimes::rows;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    #[test]
    fn a_line_has_times_and_operations_and_may_have_more() {
        let Outcome::Measured(sample) =
            read("{\"operations\": 10, \"wall_ns\": 20, \"cpu_ns\": 30.5, \"p50_us\": 1.5}\n")
        else {
            panic!("not measured")
        };
        assert_eq!((sample.operations, sample.wall_ns, sample.cpu_ns), (10.0, 20.0, 30.5));
        assert_eq!(sample.further["p50_us"], 1.5);
        assert_eq!(read("{\"unsupported\": \"no means\"}"), Outcome::Unsupported("no means".into()));
    }

    #[test]
    fn what_is_no_such_line_is_a_failure_that_quotes_it() {
        for line in ["", "hello", "[1]", "{\"operations\": 1, \"wall_ns\": 2}", "{\"operations\": \"many\"}"] {
            let Outcome::Failed(reason) = read(line) else { panic!("{line} was taken") };
            assert!(reason.contains(line), "{reason}");
        }
    }

    /// A program in shell that says `line` with what the shell makes of it.
    fn outcome_of(script: &str) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("runtime");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let echo_load = folder.path().join("echo-load");
        let load = Load { seconds: 0.1, latency_seconds: 0.1, echo_load, limit: Duration::from_secs(20) };
        run(rows::named("spawn-1").unwrap()[0], &program, &load)
    }

    #[test]
    fn a_program_gets_row_workers_and_as_many_processors() {
        let said = outcome_of("echo \"{\\\"unsupported\\\": \\\"$* on $(nproc)\\\"}\"");
        assert_eq!(said, Outcome::Unsupported("spawn --workers 1 --seconds 0.1 on 1".into()));
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        assert_eq!(outcome_of("echo wrong answer >&2; exit 1"), Outcome::Failed("exit status 1: wrong answer".into()));
        let Outcome::Failed(reason) = outcome_of("kill -SEGV $$") else { panic!("taken for a success") };
        assert!(reason.contains("signal 11"), "{reason}");
    }
}
