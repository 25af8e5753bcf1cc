//! A program with an input, a time limit, and a readable failure.
//!
//! A broken allocator deadlocks as readily as it crashes, so every program runs in a process group of its own that is
//! killed at the limit: the test fails, and nothing hangs. The group is killed after a normal end too: what a program
//! leaves behind (a daemon, a build server) must not live on under the next test.
//!
//! Output goes to files, not pipes: no reader threads, no deadlock on a full pipe, and a child that keeps the
//! descriptor open does not keep the test waiting.

use crate::{Allocator, build};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Generous: a loaded machine must not fail a test, and a deadlock is found at any limit.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at a running child. No test measures time.
const POLL: Duration = Duration::from_millis(5);

/// A fresh directory that others may enter (servers run as other users), removed when dropped.
pub fn temp_dir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    let made = tempfile::Builder::new().prefix("fairground-test.").permissions(permissions).tempdir();
    made.expect("a temporary directory (TMPDIR)")
}

/// A program to run.
pub struct Run {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

/// How it ended.
pub struct Outcome {
    /// The program and its arguments, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Whether it was killed at its limit.
    pub timed_out: bool,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

impl Run {
    /// A program on the system's allocator.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        // Cargo points LD_LIBRARY_PATH at its own directories; a user's program would not see that.
        command.env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH").env("LC_ALL", "C").env("TZ", "UTC");
        Self { command, input: Vec::new(), limit: DEFAULT_LIMIT }
    }

    /// A program on the allocator of choice.
    pub fn on(allocator: Allocator, program: impl AsRef<OsStr>) -> Self {
        match allocator {
            Allocator::System => Self::new(program),
            Allocator::Fairground => Self::new(program).env("LD_PRELOAD", build::library()),
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives it something to read; otherwise standard input is empty.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Changes the time limit.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end or its limit.
    pub fn outcome(mut self) -> Outcome {
        let command = describe(&self.command);
        let mut input = tempfile::tempfile().expect("a temporary file");
        input.write_all(&self.input).and_then(|()| input.rewind()).expect("writing the input");
        let mut stdout = tempfile::tempfile().expect("a temporary file");
        let mut stderr = tempfile::tempfile().expect("a temporary file");
        self.command.stdin(input).stdout(handle(&stdout)).stderr(handle(&stderr)).process_group(0);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{command}: {error}"));
        let status = wait(&mut child, self.limit);
        let timed_out = status.is_none();
        kill_group(&child);
        let status = status.unwrap_or_else(|| child.wait().expect("waiting for a killed child"));
        Outcome { command, status, timed_out, stdout: content(&mut stdout), stderr: content(&mut stderr) }
    }

    /// Runs it; panics with its last words unless it succeeds. Returns its standard output as text.
    pub fn text(self) -> String {
        let outcome = self.outcome();
        outcome.assert_success();
        String::from_utf8_lossy(&outcome.stdout).into_owned()
    }

    /// Starts a server, whose output goes to the file `log`. It is killed with its group when dropped.
    pub fn server(mut self, log: &Path) -> Server {
        let file = File::create(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let command = describe(&self.command);
        self.command.stdin(Stdio::null()).stdout(handle(&file)).stderr(file).process_group(0);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{command}: {error}"));
        Server { child, command, log: log.to_owned(), limit: self.limit }
    }
}

impl Outcome {
    /// Panics, with how it ended and its last words, unless it succeeded.
    pub fn assert_success(&self) {
        assert!(self.status.success() && !self.timed_out, "{}", self.describe());
    }

    /// How it ended, in words, with the tail of both outputs.
    pub fn describe(&self) -> String {
        let how = match (self.timed_out, self.status.signal()) {
            (true, _) => "did not end within its time limit and was killed".into(),
            (false, Some(signal)) => format!("was killed by signal {signal} ({})", signal_name(signal)),
            (false, None) => format!("ended with status {}", self.status.code().unwrap_or(-1)),
        };
        format!("{} {how}{}{}", self.command, tail("stdout", &self.stdout), tail("stderr", &self.stderr))
    }
}

/// A running server.
pub struct Server {
    child: Child,
    command: String,
    log: std::path::PathBuf,
    limit: Duration,
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so; panics with the log if the server ends before, or at the limit.
    pub fn wait_until(&mut self, ready: impl Fn() -> bool) {
        let deadline = Instant::now() + self.limit;
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("waiting for a server") {
                panic!("{} ended too early: {status}{}", self.command, self.log_tail());
            }
            assert!(Instant::now() < deadline, "{} is not ready in time{}", self.command, self.log_tail());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends it SIGINT (Ctrl-C) and returns how it ended; panics with the log if it does not.
    pub fn interrupt(mut self) -> ExitStatus {
        // SAFETY: a system call without pointers, on a child that is not reaped yet.
        unsafe { libc::kill(self.pid() as libc::pid_t, libc::SIGINT) };
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        let status = wait(&mut self.child, self.limit);
        status.unwrap_or_else(|| panic!("{} does not shut down{}", self.command, self.log_tail()))
    }

    /// Waits for its end after it was asked to shut down; panics with the log unless it ends well.
    pub fn assert_ends(mut self) {
        let status = self.end();
        assert!(status.success(), "{} ended with {status}{}", self.command, self.log_tail());
    }

    /// Asserts that the library is mapped in this process and in all of its children; returns how many there are.
    pub fn assert_mapped(&self) -> usize {
        let mut processes = children(self.pid());
        processes.push(self.pid());
        for pid in &processes {
            let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            let library = build::library().file_name().unwrap_or_default().to_string_lossy();
            // A child may have ended meanwhile; the server itself has not.
            assert!(
                (maps.is_empty() && *pid != self.pid()) || maps.lines().any(|line| line.ends_with(&*library)),
                "{library} is not mapped in process {pid} of {}",
                self.command
            );
        }
        processes.len()
    }

    fn log_tail(&self) -> String {
        tail("log", &std::fs::read(&self.log).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_group(&self.child);
        let _ = self.child.wait();
    }
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim().parse() == Ok(parent)))
    })
    .collect()
}

fn handle(file: &File) -> File {
    file.try_clone().expect("duplicating a descriptor")
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("reading a program's output");
    bytes
}

/// None at the limit; the child is then still there.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Kills what is left of the child's process group.
fn kill_group(child: &Child) {
    // SAFETY: a system call without pointers. The group's id is the child's; it stays taken while a member lives, and
    // with none the call fails harmlessly (a new group of this id would need the pid counter to go once around).
    unsafe { libc::killpg(child.id() as libc::pid_t, libc::SIGKILL) };
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let text = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let preloaded = command.get_envs().any(|(name, value)| name == "LD_PRELOAD" && value.is_some());
    let short: String = text.chars().take(300).collect();
    if preloaded { format!("[preloaded] {short}") } else { short }
}

fn tail(name: &str, bytes: &[u8]) -> String {
    const LINES: usize = 30;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return format!("\n--- {name}: empty");
    }
    let from = lines.len().saturating_sub(LINES);
    let shown: Vec<String> = lines[from..].iter().map(|line| line.chars().take(400).collect()).collect();
    format!("\n--- {name}, last {} of {} lines:\n{}", lines.len() - from, lines.len(), shown.join("\n"))
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS, a forbidden system call",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        _ => "see signal(7)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_reaches_the_program_and_its_output_comes_back() {
        assert_eq!(Run::new("cat").input("forty-two").text(), "forty-two");
    }

    #[test]
    fn what_never_ends_is_killed_with_its_children_and_said_so() {
        let outcome = Run::new("sh").args(["-c", "echo begun; sleep 600 & wait"]).limit(Duration::from_millis(300));
        let outcome = outcome.outcome();
        assert!(outcome.timed_out);
        let text = outcome.describe();
        assert!(text.contains("time limit") && text.contains("begun"), "{text}");
    }

    #[test]
    #[should_panic(expected = "SIGABRT")]
    fn a_crash_names_its_signal() {
        Run::new("sh").args(["-c", "kill -ABRT $$"]).text();
    }

    #[test]
    #[should_panic(expected = "ended with status 3")]
    fn a_failure_names_its_status() {
        Run::new("sh").args(["-c", "exit 3"]).text();
    }
}
