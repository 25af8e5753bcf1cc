//! Memory before and after a program's own time: from `.preinit_array` and constructors, to destructors of threads, `atexit`
//! and the last destructor of the program.
//!
//! The program has an IFUNC too, whose resolver the loader calls before any of these. It does not allocate: then the loader
//! has not given thread-local variables their values, the heap's among them, and malloc would find no heap.

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require, temp_dir};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/early_and_late.c");
const CC: Need = Need("cc", "gcc");

/// All places, in the order in which a C program comes to them.
const PLACES: &str = "pre-init\nconstructor 101\nconstructor\nmain\nthread\nthread destructor\nthread destructor\n\
                      thread destructor\natexit\ndestructor\ndestructor 101\n";

fn check(test: &str, arguments: &[&str]) {
    let Some([cc]) = require(test, [CC]) else { return };
    let dir = temp_dir();
    let program = dir.path().join("early_and_late");
    let usual = ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", SOURCE, "-o"];
    Run::new(&cc).args(usual).args([&program]).args(arguments).text();
    assert_binds(&program, [""; 0], &["early_and_late"]);
    assert_same_answer("the places", |allocator| Run::on(allocator, &program).text());
    assert_eq!(Run::on(Allocator::Fairground, &program).text(), PLACES);
}

#[test]
fn calls_bound_when_they_are_made() {
    check("early_and_late_lazy", &["-Wl,-z,lazy"]);
}

#[test]
fn calls_bound_when_the_program_starts() {
    check("early_and_late_now", &["-Wl,-z,now"]);
}
