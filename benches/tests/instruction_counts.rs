//! The instruction-count gate: no hot call takes more instructions than its budget.
//!
//! The budgets are in `fairground_benches::instruction_counts::BUDGETS`, the only place to change them. The gate measures the
//! *release* build of the library, whatever profile the tests are built with, so it builds that first. `FAIRGROUND_LIBRARY`
//! names another library to measure. Without valgrind the gate is skipped and says so; with `FAIRGROUND_REQUIRE_ALL=1`
//! that is a failure.

use fairground_benches::instruction_counts::{self, callgrind};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn hot_calls_stay_within_their_budgets() {
    let target = target_folder();
    if !cfg!(target_arch = "x86_64") {
        return skip(&target, "the budgets are for x86-64");
    }
    if !callgrind::available() {
        return skip(&target, "valgrind is not installed (apt-get install valgrind)");
    }
    let release = build_release(&target);
    let library =
        std::env::var_os("FAIRGROUND_LIBRARY").map_or_else(|| release.join("libfairground.so"), PathBuf::from);
    let scratch = std::env::temp_dir();
    let mut measured = instruction_counts::measure_preloaded(&release.join("hot_calls"), Some(&library), &scratch)
        .unwrap_or_else(|e| panic!("{e}"));
    measured.extend(
        instruction_counts::measure_linked(&release.join("hot_layout"), &scratch).unwrap_or_else(|e| panic!("{e}")),
    );
    assert_eq!(measured.len(), instruction_counts::BUDGETS.len(), "a budget was not measured");
    let table = instruction_counts::table(&measured);
    print!("{table}");
    assert!(measured.iter().all(|line| line.holds()), "a call is above its budget:\n{table}");
}

/// The folder of all build output: two levels above the programs of this test's profile.
fn target_folder() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_hot_calls"));
    program.ancestors().nth(2).expect("programs lie in TARGET/PROFILE").to_owned()
}

fn build_release(target: &Path) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "-p", "fairground-ffi", "-p", "fairground-benches"]);
    cargo.args(["--lib", "--bin", "hot_calls", "--bin", "hot_layout", "--target-dir"]);
    let status = cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "the release build failed");
    target.join("release")
}

fn skip(target: &Path, reason: &str) {
    let line = format!("SKIPPED instruction_counts::hot_calls_stay_within_their_budgets: {reason}");
    assert!(std::env::var_os("FAIRGROUND_REQUIRE_ALL").is_none_or(|value| value != "1"), "{line}");
    println!("{line}");
    let list = std::fs::OpenOptions::new().create(true).append(true).open(target.join("skipped-tests.txt"));
    // A list that cannot be written must not turn a skipped test into a failed one: the line was printed.
    let _ = list.and_then(|mut list| writeln!(list, "{line}"));
}
