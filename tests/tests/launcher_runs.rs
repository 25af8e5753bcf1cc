//! `fairground run` becomes the program: its arguments, its exit status, its signals and its environment are as
//! without the launcher, but for the library in front of `LD_PRELOAD`.

use fairground_tests::{Need, Outcome, Run, launcher, library, require, temp_dir};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

fn run(arguments: &[&str]) -> Run {
    Run::new(launcher()).args(["run", "--library"]).args([library()]).args(arguments)
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stdout).into_owned()
}

#[test]
fn the_library_is_in_the_program() {
    let maps = run(&["--", "cat", "/proc/self/maps"]).text();
    assert!(maps.contains(library().to_str().unwrap()), "not mapped:\n{maps}");
}

#[test]
fn arguments_and_input_pass_through_unchanged() {
    let answer = run(&["--", "printf", "%s|", "a b", "", "--library", "-x", "*"]).text();
    assert_eq!(answer, "a b||--library|-x|*|");
    // Options after the program's name are the program's, with or without `--`.
    assert_eq!(run(&["echo", "--print-env", "--help"]).text(), "--print-env --help\n");
    assert_eq!(run(&["--", "cat"]).input("through").text(), "through");
}

#[test]
fn status_and_signal_are_the_programs() {
    assert_eq!(run(&["--", "sh", "-c", "exit 42"]).outcome().status.code(), Some(42));
    assert_eq!(run(&["--", "sh", "-c", "kill -TERM $$"]).outcome().status.signal(), Some(libc::SIGTERM));
}

#[test]
fn what_is_preloaded_already_is_kept_behind_the_library() {
    let Some([gcc]) = require("launcher_preload", [Need("gcc", "gcc libc6-dev")]) else { return };
    let dir = temp_dir();
    let (source, other) = (dir.path().join("other.c"), dir.path().join("other.so"));
    fs::write(&source, "int nothing_of_interest;\n").unwrap();
    let arguments = ["-shared".as_ref(), "-fPIC".as_ref(), "-o".as_ref(), other.as_os_str(), source.as_os_str()];
    Run::new(&gcc).args(arguments).text();
    let expected = format!("{}:{}", library().display(), other.display());
    let answer = run(&["--", "printenv", "LD_PRELOAD"]).env("LD_PRELOAD", &other).text();
    assert_eq!(answer.trim(), expected);
    let printed = run(&["--print-env"]).env("LD_PRELOAD", &other).text();
    assert_eq!(printed.trim(), format!("LD_PRELOAD={expected}"));
}

#[test]
fn the_printed_assignment_works_in_a_shell() {
    let printed = run(&["--print-env", "--", "cat"]).text();
    let script = format!("env {} cat /proc/self/maps", printed.trim());
    let maps = Run::new("sh").args(["-c", &script]).text();
    assert!(maps.contains(library().to_str().unwrap()));
}

#[test]
fn scripts_run_with_and_without_an_interpreter_line() {
    let dir = temp_dir();
    let script = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let body = "echo \"$0 $1\"; grep -c \"$LD_PRELOAD\" /proc/self/maps >/dev/null && echo mapped\n";
    for (name, first_line) in [("shebang", "#!/bin/sh\n"), ("env", "#!/usr/bin/env sh\n"), ("none", "")] {
        let path = script(name, &format!("{first_line}{body}"));
        assert_eq!(run(&["--", &path, "argument"]).text(), format!("{path} argument\nmapped\n"), "{name}");
    }
}

#[test]
fn a_program_with_its_own_malloc_is_warned_about_and_run() {
    let Some([gcc]) = require("launcher_own_malloc", [Need("gcc", "gcc libc6-dev")]) else { return };
    let dir = temp_dir();
    let (source, program) = (dir.path().join("own.c"), dir.path().join("own"));
    fs::write(&source, "void *malloc(unsigned long n) { return 0; }\nint main(void) { return 7; }\n").unwrap();
    let arguments =
        ["-rdynamic".as_ref(), "-fno-builtin".as_ref(), "-o".as_ref(), program.as_os_str(), source.as_os_str()];
    Run::new(&gcc).args(arguments).text();
    let outcome = run(&["--", program.to_str().unwrap()]).outcome();
    assert_eq!(outcome.status.code(), Some(7), "{}", outcome.describe());
    let warning = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(warning.contains("warning") && warning.contains("defines malloc itself"), "{warning}");
}

#[test]
fn settings_are_added_to_the_configuration_and_reach_the_allocator() {
    let conf = run(&["--conf", "arenas:2,decay_ms:0", "--stats=json", "--leaks", "--", "printenv", "FAIRGROUND_CONF"]);
    let conf = conf.env("FAIRGROUND_CONF", "decay_ms:5").text();
    assert_eq!(conf.trim(), "decay_ms:5,arenas:2,decay_ms:0,stats:json,leaks:true");

    let dir = temp_dir();
    let file = dir.path().join("heap.%p.json");
    run(&["--stats=json", "--stats-to", file.to_str().unwrap(), "--", "cat"]).text();
    let written: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(written.len(), 1, "{written:?}");
    let text = fs::read_to_string(&written[0]).unwrap();
    assert!(text.starts_with("{\"version\":1,") && text.ends_with("}\n"), "{text}");
}

/// cat closes stderr before it ends, as all coreutils do.
#[test]
fn statistics_reach_stderr_though_the_program_closes_it() {
    let outcome = run(&["--stats", "--", "cat"]).input("through").outcome();
    outcome.assert_success();
    assert_eq!(text(&outcome), "through");
    let tables = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(tables.starts_with("summary\n") && tables.contains("\nslabinfo - version: 2.1\n"), "{tables}");
    let leaks = run(&["--leaks", "--", "cat"]).outcome();
    assert!(String::from_utf8_lossy(&leaks.stderr).starts_with("fairground: leaks: "), "{}", leaks.describe());
}

#[test]
fn all_keys_of_the_configuration_are_listed() {
    let list = Run::new(launcher()).args(["conf"]).text();
    assert!(list.starts_with("KEY "), "{list}");
    for row in ["decay_ms         250      a number from 0 to 3600000", "stats            none     none, text, json"] {
        assert!(list.lines().any(|line| line == row), "no {row:?} in:\n{list}");
    }
}

#[test]
fn help_names_the_statuses_and_gives_examples() {
    for arguments in [&["--help"][..], &["run", "--help"], &["demo", "--help"], &["conf", "--help"]] {
        let outcome = Run::new(launcher()).args(arguments).outcome();
        outcome.assert_success();
        assert!(text(&outcome).contains("Examples:"), "{}", text(&outcome));
    }
    let help = Run::new(launcher()).args(["--help"]).text();
    assert!(help.contains("125") && help.contains("126") && help.contains("127"), "{help}");
}
