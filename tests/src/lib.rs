//! Support for tests with whole programs.
//!
//! What an allocator breaks shows up in programs, and rarely as a crash: a hash that differs, a row that is missing, a
//! process that never ends. So each test runs a program under `LD_PRELOAD`, compares its *answer* with one that was
//! computed without the library, and proves that the library was in it (a preload that the loader rejected would pass
//! everything).
//!
//! | module | what it gives |
//! |---|---|
//! | [`build`] | the library and the launcher under test, built once per process |
//! | [`program`] | where programs are, and what is reported when one is missing |
//! | [`run`] | a program with an input, a time limit for its whole process group, and a readable failure |
//! | [`binding`] | the proof that malloc in a process is the library's |
//! | [`git_history`] | a history for `git fast-import` |
//!
//! Invariants: no test waits longer than its limit; no process outlives its test; nothing is left in the temporary
//! directory; a skipped test says so by name, on stderr and in `skipped-tests.txt` in the target directory.
//!
//! Environment: `FAIRGROUND_LIBRARY` names another library to test, `FAIRGROUND_LAUNCHER` another launcher,
//! `FAIRGROUND_REQUIRE_ALL=1` turns skipped tests into failures.

pub mod binding;
pub mod build;
pub mod git_history;
pub mod program;
pub mod run;

pub use binding::assert_binds;
pub use build::{launcher, library};
pub use program::{Need, require};
pub use run::{Outcome, Run, temp_dir};

/// The two allocators a program is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// Whatever the program uses when left alone.
    System,
    /// The library under test, preloaded.
    Fairground,
}

/// Asserts that `answer` is the same text on both allocators, and not empty; shows the first line that differs.
pub fn assert_same_answer(what: &str, answer: impl Fn(Allocator) -> String) {
    let expected = answer(Allocator::System);
    let actual = answer(Allocator::Fairground);
    assert!(!expected.trim().is_empty(), "{what}: the answer is empty, so it proves nothing");
    if actual == expected {
        return;
    }
    let mut lines = expected.lines().zip(actual.lines()).enumerate();
    match lines.find(|(_, (expected, actual))| expected != actual) {
        Some((number, (expected, actual))) => panic!(
            "{what}: the answer differs from line {} on\n  system:     {expected}\n  Fairground: {actual}",
            number + 1
        ),
        None => panic!(
            "{what}: the answer has {} lines on the system's allocator, {} on Fairground",
            expected.lines().count(),
            actual.lines().count()
        ),
    }
}
