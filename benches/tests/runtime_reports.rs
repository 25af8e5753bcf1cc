//! `fairground-bench-runtime` as a program, with scripts in place of the runtimes: what it writes, draws anew, keeps when it is
//! interrupted, and says of runtimes that are missing, fail or are ours. No runtime is built and no time matters.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The line of a row that took a millisecond for a thousand operations.
const FINE: &str = "echo '{\"operations\": 1000, \"wall_ns\": 1000000, \"cpu_ns\": 900000}'";

fn put(folder: &Path, runtime: &str, script: &str) {
    let program = folder.join(format!("runtime-{runtime}"));
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(folder.join(format!("{runtime}.txt")), "version=1.2.3\nsource=a script\n").unwrap();
}

/// The comparison of the programs in `folder`, which is where it writes too. Of rows that one processor is enough for.
fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairground-bench-runtime"));
    command.current_dir(folder).args(arguments).args(["--programs", "."]);
    command
}

fn output(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = bench(folder, arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn reports_drawn_anew_from_raw_data_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokio", FINE);
    put(folder.path(), "threads", FINE);
    let files = |name: &str| {
        ["json", "html", "markdown", "picture"].map(|kind| [format!("--{kind}"), format!("{name}.{kind}")]).concat()
    };
    let (first, again) = (files("a"), files("b"));
    let first: Vec<&str> = ["--rows", "yield,ping-pong", "--repetitions", "2"]
        .into_iter()
        .chain(first.iter().map(String::as_str))
        .collect();
    let again: Vec<&str> = ["--from", "a.json"].into_iter().chain(again.iter().map(String::as_str)).collect();
    assert_eq!(output(folder.path(), &first).0, Some(0));
    assert_eq!(output(folder.path(), &again).0, Some(0));
    for kind in ["json", "html", "markdown", "picture"] {
        let read = |name: &str| std::fs::read_to_string(folder.path().join(format!("{name}.{kind}"))).unwrap();
        assert!(read("a").contains("threads"), "no runtime of that name in {kind}");
        assert_eq!(read("a"), read("b"), "{kind}");
    }
}

#[test]
fn what_is_missing_is_named_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "smol", FINE);
    let (code, text) = output(folder.path(), &["--rows", "yield", "--runtimes", "go,smol", "--repetitions", "1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Missing: go (benches/runtimes/build.sh go builds it)"), "{text}");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert!(words.join(" ").contains("yield: ns of CPU *900 35.0"), "{text}");
    let (_, list) = output(folder.path(), &["--runtimes", "list"]);
    assert!(list.contains("smol         1.2.3") && list.contains("go           missing: "), "{list}");
}

#[test]
fn a_failure_of_a_peer_is_reported_and_one_of_ours_is_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let count = "echo >>runs; echo wrong answer: 3 >&2; exit 1";
    put(folder.path(), "may", count);
    put(folder.path(), "fairground", FINE);
    let arguments = ["--rows", "yield", "--repetitions", "3"];
    let (code, text) = output(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("FAILED: yield under may: exit status 1: wrong answer: 3"), "{text}");
    let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 1, "what fails is not tried again");
    put(folder.path(), "fairground", "exit 7");
    assert_eq!(output(folder.path(), &arguments).0, Some(1));
}

#[test]
fn an_interrupted_run_keeps_what_there_is_and_says_that_it_is_partial() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokio", FINE);
    let arguments = ["--rows", "yield", "--json", "a.json", "--markdown", "a.md", "--repetitions", "60000"];
    let mut command = bench(folder.path(), &arguments);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
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
    assert!(raw["rows"][0]["outcomes"][0].as_array().is_some_and(|outcomes| !outcomes.is_empty()));
    assert!(read("a.md").contains("PARTIAL"));
}

#[test]
fn wrong_command_lines_and_files_are_errors_that_name_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.json"), "{}").unwrap();
    for (arguments, named) in [
        (&["--from", "other.json"][..], "other.json"),
        (&["--rows", "yeld"], "yeld"),
        (&["--runtimes", "tokyo"], "tokyo"),
        (&["--repetitions", "0"], "0"),
        (&["--seconds", "nan"], "0.01 to 30"),
        // An empty folder: nothing can run.
        (&["--rows", "yield"], "build.sh"),
    ] {
        let (code, text) = output(folder.path(), arguments);
        assert!(code == Some(2) && text.contains(named), "{arguments:?}: {code:?}: {text}");
    }
}
