//! Runs a program to its end and prints what it and the processes it started cost; see
//! `fairground_benches::compare::measured` for what is measured how.
//!
//! Output is one line of `key=value` words: `wall_us`, `user_us`, `system_us`, `minor_faults`, `peak_kib`. A program that
//! ends with an error has no costs: its exit status becomes that of `measure`, and standard error is its own. Exit status
//! 125 is for what `measure` itself finds wrong, as env(1) has it.
//!
//! Each process is stopped by ptrace at its end, while it still has its memory, and asked for its high-water mark;
//! nothing else is traced, so it runs at its own speed until then. The calls are libc's: nix's safe ones have no word for
//! real-time signals, and a tracer must hand on every signal.

use clap::Parser;
use fairground_benches::compare::process;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// Run a program and print what it and the processes it started cost.
#[derive(Parser)]
struct Options {
    /// The library to preload into the program.
    #[arg(long, value_name = "LIBRARY")]
    preload: Option<PathBuf>,
    /// Where its standard output goes.
    #[arg(long, value_name = "FILE", default_value = "/dev/null")]
    output: PathBuf,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::from(125)
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, String> {
    die_with_parent().map_err(|e| format!("prctl: {e}"))?;
    let program = options.command[0].display();
    let output = File::create(&options.output).map_err(|e| format!("{}: {e}", options.output.display()))?;
    let mut command = Command::new(&options.command[0]);
    command.args(&options.command[1..]).stdin(Stdio::null()).stdout(output);
    process::preload(&mut command, options.preload.as_deref());
    // SAFETY: the closure makes one system call, which is async-signal-safe, and takes no lock.
    unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0)) };
    let child = command.spawn().map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM) => {
            format!("cannot trace {program}: {e}; in a container, allow ptrace (--cap-add=SYS_PTRACE)")
        }
        _ => format!("cannot start {program}: {e}"),
    })?;
    let root = child.id() as libc::pid_t;
    let begin = start(root).map_err(|e| format!("cannot trace {program}: {e}"))?;
    let (status, usage, peak_kib) = follow(root)?;
    let wall = begin.elapsed();
    match status.code() {
        Some(0) => {}
        Some(code) => return Ok(ExitCode::from(code as u8)),
        None => return Err(format!("the program was ended by {status}")),
    }
    let peak_kib = peak_kib.ok_or_else(|| format!("{program} has ended without a stop: its peak is not known"))?;
    println!(
        "wall_us={} user_us={} system_us={} minor_faults={} peak_kib={peak_kib}",
        wall.as_micros(),
        usage.user.as_micros(),
        usage.system.as_micros(),
        usage.minor_faults,
    );
    Ok(ExitCode::SUCCESS)
}

/// Lets the program, which waits at its first instruction, run. All it starts will be traced too, and killed if this
/// process ends.
fn start(root: libc::pid_t) -> io::Result<Instant> {
    let (_, status, _) = process::wait(root)?;
    if !libc::WIFSTOPPED(status) {
        return Err(io::Error::other(ExitStatus::from_raw(status).to_string()));
    }
    let options = libc::PTRACE_O_TRACEEXIT
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        // Without it, exec would send a signal that cannot be told from a real one.
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    ptrace(libc::PTRACE_SETOPTIONS, root, options as usize)?;
    let begin = Instant::now();
    ptrace(libc::PTRACE_CONT, root, 0)?;
    Ok(begin)
}

/// Waits for the end of the root process; returns its status, its usage, and the greatest high-water mark of all.
fn follow(root: libc::pid_t) -> Result<(ExitStatus, process::Usage, Option<u64>), String> {
    let mut peak_kib = None;
    loop {
        let (pid, status, usage) = process::wait(-1).map_err(|e| format!("wait4: {e}"))?;
        if !libc::WIFSTOPPED(status) {
            if pid == root {
                return Ok((ExitStatus::from_raw(status), usage, peak_kib));
            }
            continue;
        }
        let event = status >> 16;
        if event == libc::PTRACE_EVENT_EXIT {
            peak_kib = peak_kib.max(process::high_water_kib(pid as u32));
        }
        // A stop that is no event is the arrival of a signal, which is handed on; but SIGSTOP is how a new process begins.
        let signal = if event != 0 || libc::WSTOPSIG(status) == libc::SIGSTOP { 0 } else { libc::WSTOPSIG(status) };
        // It may have been killed meanwhile, which the next wait tells.
        let _ = ptrace(libc::PTRACE_CONT, pid, signal as usize);
    }
}

fn ptrace(request: libc::c_uint, pid: libc::pid_t, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take numbers only and write to no memory of this process.
    match unsafe { libc::ptrace(request, pid, 0_usize, data) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Nothing is to run on after an interrupted comparison.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
