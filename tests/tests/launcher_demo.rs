//! `fairground demo`: a table when all is well, and a failure with the culprit named when an allocator is wrong. The
//! second is shown with allocators that are wrong on purpose (programs/broken_malloc.c).

use fairground_tests::{Need, Outcome, Run, launcher, require, temp_dir};
use std::path::{Path, PathBuf};

const NEEDS: [Need; 2] = [Need("gcc", "gcc libc6-dev"), Need("perl", "perl")];
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/broken_malloc.c");

/// Builds the allocator, with one of its faults or right as it stands.
fn allocator(gcc: &Path, dir: &Path, fault: Option<&str>) -> PathBuf {
    let output = dir.join("liballocator.so");
    let define = fault.map(|fault| format!("-D{fault}"));
    let run = Run::new(gcc).args(["-shared", "-fPIC", "-O2", "-fno-builtin"]).args(define);
    run.args([SOURCE, "-o"]).args([&output]).text();
    output
}

/// A short demo with a temporary directory of its own.
fn demo(library: &Path, temporary: &Path, more: &[&str]) -> Outcome {
    let run = Run::new(launcher()).args(["demo", "--quick", "--only", "perl,bash", "--library"]).args([library]);
    run.args(more).env("TMPDIR", temporary).outcome()
}

#[test]
fn a_right_allocator_gets_its_table_and_its_json() {
    let Some([gcc, _]) = require("demo", NEEDS) else { return };
    let dir = temp_dir();
    let scratch = temp_dir();
    let json = dir.path().join("demo.json");
    let library = allocator(&gcc, dir.path(), None);
    let outcome = demo(&library, scratch.path(), &["--json", json.to_str().unwrap()]);
    outcome.assert_success();
    let table = String::from_utf8_lossy(&outcome.stdout).into_owned();
    for name in ["perl", "bash"] {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}:\n{table}"));
        assert!(line.ends_with("same"), "{table}");
    }
    let figures = std::fs::read_to_string(&json).unwrap();
    assert!(figures.contains("\"peak_rss_kib\"") && figures.contains("\"same_answer\": true"), "{figures}");
    let left = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "files left behind in {}", scratch.path().display());
}

#[test]
fn a_wrong_allocator_fails_the_demo() {
    let Some([gcc, _]) = require("demo_broken", NEEDS) else { return };
    for fault in ["BREAK_REALLOC", "BREAK_ABORT"] {
        let dir = temp_dir();
        let library = allocator(&gcc, dir.path(), Some(fault));
        let outcome = demo(&library, dir.path(), &[]);
        let table = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert_eq!(outcome.status.code(), Some(1), "{fault}: {}", outcome.describe());
        assert!(table.contains("DIFFERENT") || table.contains("FAILED"), "{fault}:\n{table}");
    }
}

#[test]
fn an_interrupted_demo_leaves_neither_files_nor_programs() {
    let Some([gcc, _]) = require("demo_interrupted", NEEDS) else { return };
    let (dir, scratch) = (temp_dir(), temp_dir());
    let library = allocator(&gcc, dir.path(), None);
    let run = Run::new(launcher()).args(["demo", "--only", "perl", "--library"]).args([&library]);
    let mut demo = run.env("TMPDIR", scratch.path()).server(&dir.path().join("log"));
    let working =
        || scratch.path().read_dir().unwrap().flatten().find(|entry| entry.path().join("perl/stdout").exists());
    demo.wait_until(|| working().is_some());
    let status = demo.interrupt();
    assert_eq!(status.code(), Some(128 + libc::SIGINT), "{status}");
    assert_eq!(scratch.path().read_dir().unwrap().count(), 0, "files left in {}", scratch.path().display());

    // Its perl worked in that directory, which is how it can be told from others.
    let still_there = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut places = processes.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
        places.any(|place| place.starts_with(scratch.path()))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while still_there() {
        assert!(std::time::Instant::now() < deadline, "a program of the demo lives on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
