//! Tests that need a process of their own: the test program starts itself again for each case.
//!
//! They have no harness (`harness = false`): its threads and its buffers would count against the limits, and would be there
//! when a case forks or dies. A case is chosen by its number, in the environment. The allocator under test is not the
//! program's own: what std allocates comes from the system's, and stays usable when memory of ours has run out.
//!
//! Under an emulator cases with a limit are skipped: limits are not passed on to the program, which would then take all the
//! memory there is.

// Each test binary compiles this module and uses a part of it.
#![allow(dead_code)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Output};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Names the case to a process that was started for it.
const VARIABLE: &str = "FAIRGROUND_TEST_CASE";

/// Starts programs that this processor cannot run by itself (an emulator: `make test-aarch64`).
const RUNNER: &str = "FAIRGROUND_TEST_RUNNER";

/// After this a case counts as hanging.
fn patience() -> Duration {
    // Emulators and sanitizers are ten to fifty times slower, and most of all where a case forks a thousand times.
    Duration::from_secs(if emulated() || sanitizer().is_some() { 1200 } else { 120 })
}

/// Whether this program runs in an emulator, which passes on no limits and installs no seccomp filters.
pub fn emulated() -> bool {
    std::env::var_os(RUNNER).is_some()
}

/// What a case must end with.
pub enum End {
    /// Normally.
    Success,
    /// By SIGABRT, with all of these on stderr (or one of several, separated by `|`).
    Abort(Vec<String>),
    /// Normally, with all of these on stderr.
    Reports(Vec<String>),
}

/// A process to run.
pub struct Case {
    name: String,
    limit: Option<(libc::__rlimit_resource_t, usize)>,
    body: Box<dyn Fn()>,
    end: End,
    configuration: Option<&'static str>,
    /// The case runs as a plain process only.
    plain: bool,
}

impl Case {
    /// A case in which calls fail that sanitizers and emulators cannot do without.
    pub fn plain(mut self) -> Case {
        self.plain = true;
        self
    }

    /// The same under a configuration.
    pub fn configured(mut self, configuration: &'static str) -> Case {
        self.name = format!("{} ({configuration})", self.name);
        self.configuration = Some(configuration);
        self
    }

    /// The same where the process goes on after the report, and then does `more`.
    pub fn going_on(mut self, more: impl Fn() + 'static) -> Case {
        let body = self.body;
        self.body = Box::new(move || {
            body();
            more();
        });
        if let End::Abort(words) = self.end {
            self.end = End::Reports(words);
        }
        self
    }

    /// A case that ends normally, under a limit if one is given.
    pub fn new(name: &str, limit: Option<(libc::__rlimit_resource_t, usize)>, body: impl Fn() + 'static) -> Case {
        Case { name: name.into(), limit, body: Box::new(body), end: End::Success, configuration: None, plain: false }
    }

    /// A case that must be aborted with these words on stderr.
    pub fn aborted(name: &str, words: &[&str], body: impl Fn() + 'static) -> Case {
        let words = words.iter().map(|&word| word.into()).collect();
        Case {
            name: name.into(),
            limit: None,
            body: Box::new(body),
            end: End::Abort(words),
            configuration: None,
            plain: false,
        }
    }
}

/// Runs all cases, or the one this process was started for. Arguments choose cases by parts of their names, or with `--exact`
/// by the whole name; `--list` names them as the standard harness does, which is all that cargo-nextest asks.
pub fn run(cases: Vec<Case>) -> ExitCode {
    if let Some(number) = std::env::var_os(VARIABLE) {
        let number: usize = number.to_str().and_then(|n| n.parse().ok()).expect("a number");
        (cases[number].body)();
        return ExitCode::SUCCESS;
    }
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    if flag("--list") {
        // None is marked as ignored.
        cases.iter().filter(|_| !flag("--ignored")).for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let exact = flag("--exact");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|part| if exact { name == part } else { name.contains(part.as_str()) })
    };
    let mut failed = 0;
    let mut ran = 0;
    for (number, case) in cases.iter().enumerate() {
        if !is_wanted(&case.name) {
            continue;
        }
        let no_limit = case.limit.map(|_| "itself takes terabytes of address space");
        let not_plain = case.plain.then_some("itself needs the calls that fail");
        if let (Some(sanitizer), Some(why)) = (sanitizer(), no_limit.or(not_plain)) {
            println!("{} ... skipped: {sanitizer} {why}", case.name);
            continue;
        }
        ran += 1;
        if (case.limit.is_some() || case.plain) && emulated() {
            println!("{} ... skipped: an emulator does not pass the limit on", case.name);
            continue;
        }
        let result = check(case, &start(number, case));
        println!("{} ... {}", case.name, if result.is_ok() { "ok" } else { "FAILED" });
        if let Err(why) = result {
            println!("{why}");
            failed += 1;
        }
    }
    println!("{ran} cases, {failed} failed");
    if failed == 0 && (ran != 0 || !wanted.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sanitizer the program was built with, as the makefile says: the compiler does not tell.
pub fn sanitizer() -> Option<String> {
    std::env::var("FAIRGROUND_SANITIZER").ok()
}

fn start(number: usize, case: &Case) -> Output {
    let program = std::env::current_exe().expect("this program's path");
    let mut command = match std::env::var_os(RUNNER) {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env(VARIABLE, number.to_string()).stdin(std::process::Stdio::null());
    if let Some(configuration) = case.configuration {
        // Behind what the whole run is configured with: reserving 1 TiB takes an emulator seconds in every process.
        let outer = std::env::var("FAIRGROUND_CONF").map_or(String::new(), |outer| outer + ",");
        command.env("FAIRGROUND_CONF", outer + configuration);
    }
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let limit = case.limit;
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &no_core);
            if let Some((resource, bytes)) = limit {
                let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
                if libc::setrlimit(resource, &limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let mut child = command.spawn().expect("start a process for a case");
    // Read meanwhile: a sanitizer's report is longer than a pipe, and who writes it would wait for ever.
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let since = Instant::now();
    while child.try_wait().expect("wait for a case").is_none() {
        if since.elapsed() > patience() {
            child.kill().expect("end a case that hangs");
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let read = |reader: JoinHandle<Vec<u8>>| reader.join().expect("read what a case printed");
    Output { status: child.wait().expect("wait for a case"), stdout: read(stdout), stderr: read(stderr) }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.map(|mut pipe| pipe.read_to_end(&mut bytes)).transpose().expect("a pipe can be read");
        bytes
    })
}

fn check(case: &Case, output: &Output) -> Result<(), String> {
    use std::os::unix::process::ExitStatusExt;
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = || format!("{}\n{}{errors}", output.status, String::from_utf8_lossy(&output.stdout));
    match &case.end {
        End::Success if output.status.success() => Ok(()),
        End::Success => Err(printed()),
        End::Abort(_) if output.status.signal() != Some(libc::SIGABRT) => Err(format!("not aborted: {}", printed())),
        End::Reports(_) if !output.status.success() => Err(format!("did not go on: {}", printed())),
        End::Abort(words) | End::Reports(words) => {
            // The address is not known beforehand: the case prints it.
            let address = String::from_utf8_lossy(&output.stdout).trim().to_string();
            let is_there = |word: &&String| word.split('|').any(|either| errors.contains(either));
            let missing: Vec<_> = words.iter().chain([&address]).filter(|&word| !is_there(&word)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("not on stderr: {missing:?}: {}", printed())) }
        }
    }
}

/// This thread's errno.
pub fn errno() -> i32 {
    // SAFETY: errno's address is valid for this thread.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno.
pub fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}
