//! Runs one program and takes its time, its peak memory and its answer.
//!
//! The peak comes from wait4(2): the kernel keeps the largest resident set of the child and of every descendant that
//! was waited for, so a compiler driver's cc1plus counts. The child is first waited for with WNOWAIT, which leaves it
//! a zombie: its process id cannot be reused while the watchdog may still want to kill its group.
//!
//! Two floors to know of. The kernel carries the peak of the process that calls exec over to the program, so no
//! program can show less than the launcher's own few MiB; for the same reason the launcher must stay small: inputs are
//! streamed to files, and of an answer only length and hash are kept.

use super::interrupt;
use std::fmt;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// One run.
pub struct Measured {
    pub seconds: f64,
    pub peak_rss_kib: u64,
    pub answer: Answer,
}

/// What a program wrote to standard output, by length and hash (SipHash with fixed keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    bytes: u64,
    hash: u64,
}

impl Answer {
    fn of(mut output: impl Read) -> io::Result<Self> {
        let mut hasher = std::hash::DefaultHasher::new();
        let mut buffer = [0; 16 * 1024];
        let mut bytes = 0;
        loop {
            match output.read(&mut buffer)? {
                0 => return Ok(Self { bytes, hash: hasher.finish() }),
                count => {
                    hasher.write(&buffer[..count]);
                    bytes += count as u64;
                }
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} ({} bytes)", self.hash, self.bytes)
    }
}

/// A command in the demo's environment: the given preload or none, and nothing that makes output vary.
pub fn command(program: &Path, preload: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_PRELOAD").env("LC_ALL", "C").env("TZ", "UTC").env("PYTHONHASHSEED", "0");
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    command
}

/// Where `measure` leaves a program's standard output, for those who want to read it.
pub fn output_of_last_run(dir: &Path) -> PathBuf {
    dir.join("stdout")
}

/// Runs the command to its end; its standard output is the answer. Standard input, if not set, is empty.
pub fn measure(mut command: Command, dir: &Path, limit: Duration) -> Result<Measured, String> {
    let output = output_of_last_run(dir);
    let errors = dir.join("stderr");
    let created = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    command.stdout(created(&output)?).stderr(created(&errors)?);
    let name = command.get_program().to_string_lossy().into_owned();

    let began = Instant::now();
    let child = interrupt::spawn(&mut command).map_err(|error| format!("{name}: {error}"))?;
    let (status, peak_rss_kib) = wait(child.id(), limit).map_err(|error| format!("{name}: {error}"))?;
    let seconds = began.elapsed().as_secs_f64();

    if !status.success() {
        let how = match status.signal() {
            Some(libc::SIGKILL) if seconds >= limit.as_secs_f64() => format!("did not end within {limit:?}"),
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit status {}", status.code().unwrap_or(-1)),
        };
        let text = fs::read(&errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing on stderr");
        return Err(format!("{name}: {how} ({})", last.trim()));
    }
    let answer = File::open(&output).and_then(Answer::of).map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(Measured { seconds, peak_rss_kib, answer })
}

/// Runs a command whose output does not matter, outside the measurement.
pub fn prepare(mut command: Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let done = done.map_err(|error| format!("{name}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {} ({})", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

/// Waits for the child, killing its process group at the limit. Returns the status and the tree's peak in KiB.
fn wait(pid: u32, limit: Duration) -> io::Result<(ExitStatus, u64)> {
    let pid = pid as libc::pid_t;
    let (ended, watch) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt::kill_group(pid as u32);
        }
    });
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: the kernel writes one siginfo_t into memory of that size.
        let waited = unsafe { libc::waitid(libc::P_PID, pid as u32, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if waited == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    drop(ended);
    watchdog.join().map_err(|_| io::Error::other("the watchdog thread panicked"))?;
    interrupt::forget(pid as u32);
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes an int and one rusage into memory of those sizes.
    if unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed at creation, and all zeroes is a valid rusage.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), usage.ru_maxrss as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Measured, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut sh = command(Path::new("/bin/sh"), None);
        sh.arg("-c").arg(script);
        measure(sh, dir.path(), limit)
    }

    #[test]
    fn the_answer_is_the_output_and_the_peak_is_not_zero() {
        let measured = shell("echo forty-two", Duration::from_secs(20)).unwrap();
        assert_eq!(measured.answer, Answer::of(b"forty-two\n".as_slice()).unwrap());
        assert_ne!(measured.answer, Answer::of(b"forty-one\n".as_slice()).unwrap());
        assert!(measured.peak_rss_kib > 100);
        assert!(measured.seconds > 0.0);
    }

    #[test]
    fn a_failure_carries_status_and_last_words() {
        let error = shell("echo first >&2; echo last words >&2; exit 3", Duration::from_secs(20)).err().unwrap();
        assert!(error.contains("exit status 3 (last words)"), "{error}");
        let error = shell("kill -ABRT $$", Duration::from_secs(20)).err().unwrap();
        assert!(error.contains("signal 6"), "{error}");
    }

    #[test]
    fn what_never_ends_is_ended_with_its_children() {
        let error = shell("sleep 600 & sleep 600", Duration::from_millis(300)).err().unwrap();
        assert!(error.contains("did not end within 300ms"), "{error}");
    }
}
