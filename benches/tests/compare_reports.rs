//! `fairground-compare` as a program: what it writes, draws anew from raw data, and keeps when it is interrupted.
//!
//! Only `/bin/true` is run, a few times, under the C library's allocator and its control; no time matters.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program without a library under test, so that the tests need no build of one.
fn compare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairground-compare"));
    command.current_dir(folder).args(arguments).env_remove("FAIRGROUND_LIBRARY").stdout(Stdio::null());
    command
}

const FEW_STARTS: [&str; 6] = ["--workloads", "true", "--peers", "glibc", "--scale", "0.01"];

#[test]
fn reports_drawn_anew_from_raw_data_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first =
        ["--json", "a.json", "--html", "a.html", "--markdown", "a.md", "--picture", "a.svg", "--repetitions", "2"];
    assert!(compare(folder.path(), &[&FEW_STARTS[..], &first].concat()).status().unwrap().success());
    let again =
        ["--from", "a.json", "--json", "b.json", "--html", "b.html", "--markdown", "b.md", "--picture", "b.svg"];
    assert!(compare(folder.path(), &again).status().unwrap().success());
    for kind in ["json", "html", "md", "svg"] {
        let read = |name: &str| std::fs::read_to_string(folder.path().join(format!("{name}.{kind}"))).unwrap();
        let text = read("a");
        assert!(text.contains("glibc"), "no allocator of that name in {kind}");
        assert_eq!(text, read("b"), "{kind}");
    }
}

#[test]
fn an_interrupted_run_keeps_what_there_is_and_says_that_it_is_partial() {
    let folder = tempfile::tempdir().unwrap();
    let endless = ["--json", "a.json", "--html", "a.html", "--repetitions", "60000"];
    let mut running = compare(folder.path(), &[&FEW_STARTS[..], &endless].concat()).spawn().unwrap();
    let begin = Instant::now();
    while !folder.path().join("a.json").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no raw data after a minute of short runs");
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: the child is not waited for before, so the id is its own.
    assert_eq!(unsafe { libc::kill(running.id() as libc::pid_t, libc::SIGINT) }, 0);
    assert_eq!(running.wait().unwrap().code(), Some(1));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let raw: serde_json::Value = serde_json::from_str(&read("a.json")).unwrap();
    assert_eq!(raw["partial"], true);
    assert!(raw["rows"][0]["results"][0]["samples"].as_array().is_some_and(|samples| !samples.is_empty()));
    assert!(read("a.html").contains("PARTIAL"));
}

#[test]
fn what_is_not_raw_data_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.json"), "{}").unwrap();
    let output = compare(folder.path(), &["--from", "other.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other.json"));
}
