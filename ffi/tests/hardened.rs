//! Hardening through the C interface, in a program that turns it on by its own `fairground_conf`.
//!
//! `allocator/tests/hardened.rs` has every kind of mistake for every size; here are the C calls that must notice one, the check
//! at normal exit by the library's destructor, and the shortest paths of the library as it is shipped.

mod support;

use std::os::unix::process::ExitStatusExt;
use support::On;

/// Of slabs with and without a slack, bins, and runs.
const SIZES: [usize; 6] = [8, 81, 1_000, 1_024, 20_000, 300_000];

/// Name, the call that reports it, and its words.
const CASES: [(&str, &str, &str); 7] = [
    ("final-zero", "free", "overflow: the bytes behind"),
    ("calloc", "free", "overflow: the bytes behind"),
    ("aligned", "free", "overflow: the bytes behind"),
    ("realloc", "realloc", "overflow: the bytes behind"),
    ("usable-size", "malloc_usable_size", "overflow: the bytes behind"),
    ("free-twice", "free", "double free: the block of"),
    ("write-after-free", "free", "use after free: the block has been written to at byte 0 since"),
];

#[test]
fn what_hardening_catches_is_reported_and_the_process_aborted() {
    let folder = support::scratch("hardened");
    // The program's symbol must be seen by a library that is preloaded.
    let flags = ["-O0", "-fno-builtin", "-w", "-rdynamic"];
    let program = support::compile(support::cc(), "hardened.c", &flags, &folder);
    for size in SIZES {
        for (case, call, words) in CASES {
            let output = support::run(&program, On::Fairground, &[case, &size.to_string()], None);
            let errors = String::from_utf8_lossy(&output.stderr);
            let said = String::from_utf8_lossy(&output.stdout).trim().to_string();
            let context = format!("{case}, {size} bytes: {}: {said}: {errors}", output.status);
            // timeout(1) passes the signal on as it is, or as a status, by its version.
            assert!(output.status.signal() == Some(6) || output.status.code() == Some(134), "not aborted: {context}");
            assert!(errors.contains(&format!("fairground: {call}{said}: ")), "call and address: {context}");
            assert!(errors.contains(words), "{words}: {context}");
        }
        let output = support::run(&program, On::Fairground, &["no-misuse", &size.to_string()], None);
        assert!(output.status.success() && output.stderr.is_empty(), "no misuse, {size} bytes: {output:?}");
    }
}
