//! What preloading costs a program that does nothing. Shells and build systems start thousands of those; an allocator
//! that builds its tables at start is paid for by each. Counted in pages touched (minor faults), because that repeats;
//! time does not.

use fairground_tests::{library, program};
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;

/// Beyond what the program itself touches: the library's own mapping (text, relocations, data) and its first tables.
const BUDGET: i64 = 12;
/// The least of so many; the rest is disturbance (page cache, scheduling).
const RUNS: usize = 20;

#[expect(clippy::zombie_processes, reason = "wait4 reaps it; Child::wait would not tell the faults")]
fn faults(program: &Path, preload: Option<&Path>) -> i64 {
    let once = || {
        let mut command = Command::new(program);
        command.env_clear();
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library);
        }
        let child = command.spawn().expect("running true");
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes an int and one rusage into memory of those sizes; nobody else waits for this child.
        let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, usage.as_mut_ptr()) };
        assert!(waited > 0 && status == 0, "true ended with status {status:#x}");
        // SAFETY: zeroed at creation, and all zeroes is a valid rusage.
        unsafe { usage.assume_init() }.ru_minflt
    };
    (0..RUNS).map(|_| once()).min().expect("some runs")
}

#[test]
fn a_program_that_does_nothing_touches_few_more_pages() {
    let program = program::find("true").expect("every Linux has true");
    let alone = faults(&program, None);
    let preloaded = faults(&program, Some(library()));
    // Past the harness, which swallows what the macros print when a test passes.
    let figures = format!("pages touched by true: {alone} alone, {preloaded} preloaded (at most {})\n", alone + BUDGET);
    let _ = std::io::stderr().write_all(figures.as_bytes());
    assert!(preloaded > alone, "{preloaded} pages preloaded, {alone} alone: the library was not loaded");
    assert!(preloaded <= alone + BUDGET, "{preloaded} pages preloaded, {alone} alone: more than {BUDGET} extra");
}
