//! What the tests of the C library share: the library itself, compilers, runs with and without it, and tables of rows.
//!
//! A test program of `tests/c` is a table. It prints `ok`, `FAIL` or `skip`, the row's name and a reason, separated by
//! tabs, and at the end `end` and the number of rows. It runs once on the system's allocator, which is the oracle for
//! what glibc documents, and once with the library preloaded. Rows that the oracle cannot answer are skipped there.
//!
//! For another processor (`make test-aarch64`): `FAIRGROUND_LIBRARY` names the library, `CC` and `CXX` its compilers,
//! `FAIRGROUND_BINUTILS` is the prefix of nm, readelf and objdump, and `FAIRGROUND_TEST_RUNNER` the emulator. Under an
//! emulator only the library is tested: the oracle has been asked on the real processor.

// Each test binary compiles this module and uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::OnceLock;

/// Seconds after which a test program counts as hanging.
const PATIENCE: &str = "120";

/// The build directory of this test run.
pub fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the temporary directory is in the build directory")
}

/// The package's folder.
pub fn package_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for a test's own files, emptied.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ffi-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("create a folder for the test's files");
    folder
}

/// The emulator that test programs run in, if they do.
pub fn emulator() -> Option<std::ffi::OsString> {
    std::env::var_os("FAIRGROUND_TEST_RUNNER")
}

/// The library as it is shipped: built once, with the release profile, unless another is named.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Some(library) = std::env::var_os("FAIRGROUND_LIBRARY") {
            return library.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--package", "fairground-ffi", "--lib", "--target-dir"]).arg(target_dir());
        cargo.current_dir(package_dir()).env_remove("CARGO_TARGET_DIR");
        successful(&mut cargo);
        let library = target_dir().join("release/libfairground.so");
        assert!(library.is_file(), "cargo built no {}", library.display());
        library
    })
}

/// Runs a command that must succeed; returns its standard output.
pub fn successful(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{} is needed by this test and cannot be run: {error}", command.get_program().display())
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output in UTF-8")
}

/// The C compiler. Tests fail, and say so, where there is none.
pub fn cc() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or_else(|| "gcc".into()))
}

/// The C++ compiler.
pub fn cxx() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "g++".into()))
}

/// Compiles a source file of `tests/c` into `folder`, with warnings as errors.
pub fn compile(mut compiler: Command, source: &str, flags: &[&str], folder: &Path) -> PathBuf {
    let program = folder.join(Path::new(source).with_extension("").file_name().expect("a source's name"));
    compiler.args(["-Wall", "-Wextra", "-Werror", "-g", "-o"]).arg(&program);
    compiler.arg("-I").arg(package_dir().join("include"));
    compiler.arg(package_dir().join("tests/c").join(source)).args(flags);
    successful(&mut compiler);
    program
}

/// On which allocator a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The system's: the oracle.
    System,
    /// The library, preloaded.
    Fairground,
}

impl On {
    /// The name that test programs are given as their first argument.
    pub fn name(self) -> &'static str {
        match self {
            On::System => "system",
            On::Fairground => "fairground",
        }
    }
}

/// Runs a test program. `limit` is a bound of its address space in KiB, set before the program starts.
pub fn run(program: &Path, on: On, arguments: &[&str], limit: Option<usize>) -> Output {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "sh", "-c"]);
    command.arg(match limit {
        Some(kib) => format!("ulimit -v {kib} && exec env \"$@\""),
        None => "exec env \"$@\"".to_string(),
    });
    command.arg("sh");
    assert!(limit.is_none() || emulator().is_none(), "an emulator does not pass the limit on");
    if on == On::Fairground {
        let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
        preload.push(library());
        command.arg(preload);
    }
    // A static program itself, so that the preloading is for the emulated one alone.
    command.args(emulator());
    command.arg(program).arg(on.name()).args(arguments).env_remove("LD_PRELOAD").env_remove("MALLOC_PERTURB_");
    command.output().expect("run timeout(1)")
}

/// A row as a test program printed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The row's name.
    pub name: String,
    /// Whether the program skipped it on this allocator.
    pub skipped: bool,
}

/// Checks the table a program printed: complete, and no row failed.
pub fn rows(what: &str, output: &Output) -> Vec<Row> {
    let text = String::from_utf8_lossy(&output.stdout);
    let context = || format!("{what}: {}\n{text}{}", describe(output.status), String::from_utf8_lossy(&output.stderr));
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut end = None;
    for line in text.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next()) {
            (Some("ok"), Some(name)) => rows.push(Row { name: name.into(), skipped: false }),
            (Some("skip"), Some(name)) => rows.push(Row { name: name.into(), skipped: true }),
            (Some("FAIL"), Some(_)) => failed.push(line),
            (Some("end"), Some(count)) => end = count.parse().ok(),
            _ => panic!("not a row: {line:?}\n{}", context()),
        }
    }
    assert!(failed.is_empty(), "{what}: rows failed:\n{}", failed.join("\n"));
    assert!(output.status.success() && end == Some(rows.len()), "the table is not complete\n{}", context());
    assert!(!rows.is_empty(), "no rows\n{}", context());
    rows
}

/// Runs a table on both allocators. On the library no row may be skipped.
pub fn check_on_both(program: &Path, arguments: &[&str], limit: Option<usize>) {
    let what = program.file_name().expect("a program's name").to_string_lossy();
    let ours = rows(&format!("{what} on fairground"), &run(program, On::Fairground, arguments, limit));
    assert!(ours.iter().all(|row| !row.skipped), "{what}: skipped on fairground: {ours:?}");
    if emulator().is_some() {
        return;
    }
    let oracle = rows(&format!("{what} on the system's allocator"), &run(program, On::System, arguments, limit));
    let names = |rows: &[Row]| rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&oracle), names(&ours), "{what}: the same rows on both");
    assert!(oracle.iter().any(|row| !row.skipped), "{what}: the oracle answered no row");
}

/// An exit status in words.
pub fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(124) => format!("hung for {PATIENCE} seconds"),
        _ => status.to_string(),
    }
}
