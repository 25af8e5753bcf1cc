//! GCC: the compiler itself (one huge, growing heap), and the C++ program it makes (operator new in all its forms,
//! exceptions, threads).

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require, temp_dir};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/templates.cpp");
const GXX: Need = Need("g++", "g++");

#[test]
fn the_assembly_is_the_same_to_the_letter() {
    let Some([gxx]) = require("g++_assembly", [GXX]) else { return };
    assert_same_answer("g++ -S", |allocator| {
        Run::on(allocator, &gxx).args(["-std=c++17", "-O1", "-S", "-o", "-", SOURCE]).text()
    });
}

#[test]
fn the_program_it_makes_computes_the_same() {
    let Some([gxx]) = require("g++_program", [GXX]) else { return };
    let dir = temp_dir();
    let program = dir.path().join("program");
    let arguments = ["-std=c++17", "-O1", "-pthread", "-o"];
    Run::on(Allocator::Fairground, &gxx).args(arguments).args([program.as_os_str(), SOURCE.as_ref()]).text();
    assert_same_answer("the program", |allocator| Run::on(allocator, &program).text());
}

#[test]
fn malloc_is_the_librarys_in_every_stage() {
    let Some([gxx]) = require("g++_binding", [GXX]) else { return };
    let dir = temp_dir();
    let source = dir.path().join("small.cpp");
    std::fs::write(&source, "int main() { return *new int(0); }\n").unwrap();
    let output = dir.path().join("small");
    let arguments = [source.as_os_str(), "-o".as_ref(), output.as_os_str()];
    assert_binds(&gxx, arguments, &["g++", "cc1plus", "as", "collect2", "ld"]);
    assert_binds(&output, [""; 0], &["small"]);
}
