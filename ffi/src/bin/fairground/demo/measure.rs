//! Runs one program and takes its time, its peak memory and its answer.
//!
//! The peak comes from wait4(2): the kernel keeps the largest resident set of the child and of every descendant that
//! was waited for, so a compiler driver's cc1plus counts. The child is first waited for with WNOWAIT, which leaves it
//! a zombie: its process id cannot be reused while the watchdog may still want to kill its group.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// One run.
pub struct Measured {
    pub seconds: f64,
    pub peak_rss_kib: u64,
    pub answer: Vec<u8>,
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

/// Runs the command to its end; its standard output is the answer. Standard input, if not set, is empty.
pub fn measure(mut command: Command, dir: &Path, limit: Duration) -> Result<Measured, String> {
    let output = dir.join("stdout");
    let errors = dir.join("stderr");
    let created = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    command.stdout(created(&output)?).stderr(created(&errors)?).process_group(0);
    let name = command.get_program().to_string_lossy().into_owned();

    let began = Instant::now();
    let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
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
    let answer = fs::read(&output).map_err(|error| format!("{}: {error}", output.display()))?;
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
            // SAFETY: a system call without pointers; the group's leader is not reaped yet, so the id is still its.
            unsafe { libc::killpg(pid, libc::SIGKILL) };
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

/// A short name for an answer, the same in every run of this program.
pub fn hash(answer: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(answer);
    format!("{:016x}", hasher.finish())
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
        assert_eq!(measured.answer, b"forty-two\n");
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
