//! The programs of the comparison, at a twentieth of their work: each answers the same on the C library's allocator and
//! on the library under test, malloc in them is the preloaded library's, and what they cost is measured of the right
//! process.

use fairground_benches::compare::process;
use fairground_benches::compare::programs::{self, Program};
use fairground_benches::compare::sample::{Load, Sample};
use fairground_tests::{Need, assert_binds, library, program, require, temp_dir};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn run(program: &Program, library: Option<&Path>) -> Sample {
    let scratch = temp_dir();
    let load = Load {
        threads: 1,
        scale: 0.05,
        settle_ms: 0,
        workload_program: env!("CARGO_BIN_EXE_workload").into(),
        scratch: scratch.path().into(),
        limit: Duration::from_secs(120),
    };
    program.run(library, &load).unwrap_or_else(|e| panic!("{} on {library:?}: {e}", program.name))
}

#[test]
fn answers_are_the_same_on_both_allocators() {
    for program in programs::ALL {
        if let Some(reason) = program.missing() {
            program::skip(&format!("comparison of {}", program.name), &reason);
            continue;
        }
        let (expected, actual) = (run(program, None), run(program, Some(library())));
        assert_eq!(expected.checksum, actual.checksum, "{} answers differently on Fairground", program.name);
        for sample in [expected, actual] {
            // A process that has loaded a C library has more than that.
            assert!(sample.peak_kib > 512 && sample.wall_s > 0.0, "{}: {sample:?}", program.name);
        }
    }
}

/// Of the other programs the tests of real programs have it.
#[test]
fn malloc_is_the_librarys_in_programs_that_only_the_comparison_has() {
    let dir = temp_dir();
    let problem = dir.path().join("problem");
    std::fs::write(&problem, "(check-sat)\n").unwrap();
    let problem = problem.to_str().unwrap();
    let needs: [(Need, &[&str]); 4] = [
        (Need("gs", "ghostscript"), &["-q", "-dNODISPLAY", "-dBATCH"]),
        (Need("z3", "z3"), &[problem]),
        (Need("perl", "perl"), &["-e", "1"]),
        (Need("lua5.4", "lua5.4"), &["-e", "print(1)"]),
    ];
    for (need, arguments) in needs {
        let Some([program]) = require(&format!("{}_binding", need.0), [need]) else { continue };
        assert_binds(&program, arguments, &[need.0]);
    }
}

/// What `measure` says of a program under `sh`.
fn measure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_measure")).args(arguments).output().expect("measure runs");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn peak_kib(arguments: &[&str]) -> u64 {
    let (code, text) = measure(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    let peak = text.trim().rsplit_once("peak_kib=").unwrap_or_else(|| panic!("no peak in {text}")).1;
    peak.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A Perl program that has one string of 64 MiB.
const FILL_64_MIB: &str = "vec(my $text, 64 << 20, 8) = 1";

#[test]
fn the_peak_is_that_of_the_largest_process_below() {
    let Some([perl]) = require("peak_of_tree", [Need("perl", "perl")]) else { return };
    let script = format!("{} -e \"{}\"; exit 0", perl.display(), FILL_64_MIB.replace('$', "\\$"));
    let tree = peak_kib(&["sh", "-c", &script]);
    // The string, and an interpreter of some MiB; two processes of that size would be more.
    assert!((64 << 10..96 << 10).contains(&tree), "{tree} KiB");
}

#[test]
fn the_peak_is_not_that_of_the_process_that_measures() {
    let Some([perl]) = require("peak_of_parent", [Need("perl", "perl")]) else { return };
    // A large process starts `measure`, which measures a small program.
    let script = format!("{FILL_64_MIB}; system @ARGV; exit($? >> 8)");
    let measure = env!("CARGO_BIN_EXE_measure");
    let output = Command::new(perl).args(["-e", &script, measure, "/bin/true"]).output().expect("perl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let peak: u64 = text.trim().rsplit_once("peak_kib=").unwrap_or_else(|| panic!("{text}")).1.parse().unwrap();
    assert!(peak < 16 << 10, "{peak} KiB for /bin/true");
}

#[test]
fn the_peak_is_what_the_program_reads_of_itself() {
    let dir = temp_dir();
    let output: PathBuf = dir.path().join("status");
    let peak = peak_kib(&["--output", output.to_str().unwrap(), "cat", "/proc/self/status"]);
    let status = std::fs::read_to_string(output).unwrap();
    let read = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM is in the status");
    let read: u64 = read.trim().trim_end_matches(" kB").parse().unwrap();
    // After reading it has only to write that and to end: it touches a few pages more of code and buffers, which come in
    // groups of 16 around the fault, and has given back a buffer of which the kernel had no full count.
    assert!(peak.abs_diff(read) < 256, "{peak} KiB measured, {read} KiB read");
}

#[test]
fn failures_are_those_of_the_program() {
    assert_eq!(measure(&["sh", "-c", "echo why >&2; exit 3"]), (Some(3), "why\n".into()));
    let (code, text) = measure(&["sh", "-c", "kill -SEGV $$"]);
    assert!(code == Some(125) && text.contains("ended by signal: 11"), "{code:?}: {text}");
    let (code, text) = measure(&["/nonexistent"]);
    assert!(code == Some(125) && text.contains("/nonexistent"), "{code:?}: {text}");
}

#[test]
fn a_program_that_hangs_is_killed_with_what_it_has_started() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_measure"));
    command.args(["sh", "-c", "sleep 100; exit 0"]);
    let begin = Instant::now();
    let error = process::run(command, Duration::from_millis(300)).unwrap_err();
    assert!(error.starts_with("killed after"), "{error}");
    // `run` returns when nobody has standard error open any more: before `sleep` is done, if it was killed.
    assert!(begin.elapsed() < Duration::from_secs(90), "the process below was left to its end");
}

#[test]
fn signals_that_a_program_handles_reach_it() {
    let script = "trap 'exit 0' USR1; kill -USR1 $$; exit 1";
    assert_eq!(measure(&["sh", "-c", script]).0, Some(0));
}
