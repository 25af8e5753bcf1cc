//! Runs a program to its end and says what it cost.
//!
//! The costs come from `wait4`, so they are those of this child and the children it waited for. The peak of its memory does
//! **not**: Linux carries the high-water mark of the process that called exec into `ru_maxrss`, so a small child shows its
//! parent's size. Who needs the peak reads `VmHWM` from inside (`workload`), or while the program lives
//! ([`high_water_kib`]), or has it read at the last moment (`measured.rs`).

pub use crate::workload::usage::{Usage, status_field};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A program that has ended with success.
#[derive(Debug)]
pub struct Finished {
    /// Everything it wrote to standard output.
    pub output: String,
    /// From just before the start to the end.
    pub wall: Duration,
    /// What the kernel accounted to it.
    pub usage: Usage,
}

/// Makes `command` run with `library` in place of the C library's allocator; with none, no preload is inherited.
pub fn preload(command: &mut Command, library: Option<&Path>) {
    match library {
        Some(library) => command.env("LD_PRELOAD", library),
        None => command.env_remove("LD_PRELOAD"),
    };
}

/// Runs `command` to its end, killing it after `limit`. An unsuccessful end is an error that quotes standard error.
pub fn run(mut command: Command, limit: Duration) -> Result<Finished, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Standard error is read beside, so that neither pipe can fill up while the other is read.
    let errors = std::thread::spawn(move || text(stderr));
    let (ended, waiting) = channel::<()>();
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        let late = waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            // SAFETY: the child is not waited for before this thread is told, so the id is still its own.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        late
    });
    let output = text(stdout);
    let status = wait_unreaped(pid);
    let wall = start.elapsed();
    drop(ended);
    let late = watchdog.join().unwrap_or(false);
    let (status, usage) = status.and_then(|()| reap(&child))?;
    let errors = errors.join().unwrap_or_default();
    if late {
        return Err(format!("killed after {} s", limit.as_secs()));
    }
    if status == 0 { Ok(Finished { output, wall, usage }) } else { Err(describe(status, &errors)) }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // An error here means that the program is gone; its status tells why.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the process has ended but leaves it in the process table.
fn wait_unreaped(pid: u32) -> Result<(), String> {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    loop {
        // SAFETY: `info` is writable; with WNOWAIT the child stays in the table.
        let result = unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(format!("waitid: {error}"));
        }
    }
}

/// Waits for the end of a child and collects its raw status and its usage.
pub fn reap(child: &Child) -> Result<(i32, Usage), String> {
    // Child::wait was not called, so the id is still the child's.
    let (_, status, usage) = wait(child.id() as libc::pid_t).map_err(|e| format!("wait4: {e}"))?;
    Ok((status, usage))
}

/// wait4: which process (`pid` may be -1 for any), its raw status, and its usage.
pub fn wait(pid: libc::pid_t) -> io::Result<(libc::pid_t, i32, Usage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: both out pointers are writable.
    let result = unsafe { libc::wait4(pid, &raw mut status, libc::__WALL, usage.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: wait4 succeeded and has filled it.
    let usage = unsafe { usage.assume_init() };
    Ok((result, status, usage.into()))
}

fn describe(status: i32, errors: &str) -> String {
    let end = if libc::WIFSIGNALED(status) {
        format!("killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit status {}", libc::WEXITSTATUS(status))
    };
    match errors.lines().next_back() {
        Some(last) => format!("{end}: {last}"),
        None => end,
    }
}

/// The highest resident memory of a living process so far, in KiB.
pub fn high_water_kib(pid: u32) -> Option<u64> {
    status_field(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn success_carries_the_output() {
        let mut echo = Command::new("echo");
        echo.arg("hello");
        assert_eq!(run(echo, Duration::from_secs(10)).unwrap().output, "hello\n");
    }

    #[test]
    fn failure_quotes_status_and_last_words() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo why >&2; exit 3"]);
        assert_eq!(run(shell, Duration::from_secs(10)).unwrap_err(), "exit status 3: why");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        assert!(run(sleep, Duration::from_millis(50)).unwrap_err().starts_with("killed after"));
    }
}
