//! CPython: threads, a process pool forked from a threaded process, growth by realloc; with its own object pools in
//! front of malloc (the default), and with every object from malloc.

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require};
use std::path::Path;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/work.py");

fn compute(python: &Path, allocator: Allocator, mode: &str) -> String {
    // Set and dict order of strings depends on the hash seed; the answers must not.
    let run = Run::on(allocator, python).args([SCRIPT, "4000"]).env("PYTHONHASHSEED", "0").env("PYTHONMALLOC", mode);
    run.text()
}

#[test]
fn threads_and_forked_children_compute_the_same() {
    let Some([python]) = require("python", [Need("python3", "python3")]) else { return };
    assert_same_answer("python3", |allocator| compute(&python, allocator, "default"));
}

#[test]
fn every_object_from_malloc_computes_the_same() {
    let Some([python]) = require("python_malloc", [Need("python3", "python3")]) else { return };
    assert_same_answer("python3 with PYTHONMALLOC=malloc", |allocator| compute(&python, allocator, "malloc"));
}

#[test]
fn malloc_is_the_librarys() {
    let Some([python]) = require("python_binding", [Need("python3", "python3")]) else { return };
    assert_binds(&python, ["-c", "pass"], &["python3"]);
}
