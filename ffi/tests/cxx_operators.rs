//! The C++ operators do what the standard says, on libstdc++ and on the library.

mod support;

use std::os::unix::process::ExitStatusExt;
use support::On;

/// Bound of the address space in KiB for the handler that frees memory: 2 GiB, where the program's reserve is 1.2 GiB.
const LIMIT: usize = 2 << 20;

#[test]
fn every_operator_and_every_end_of_memory() {
    let folder = support::scratch("cxx-operators");
    // Both, for what is held in registers across a throw depends on it.
    for level in ["-O0", "-O2"] {
        let flags =
            ["-std=c++17", level, "-fno-builtin", "-fsized-deallocation", "-Wno-alloc-size-larger-than", "-ldl"];
        let program = support::compile(support::cxx(), "cxx_operators.cpp", &flags, &folder);
        support::check_on_both(&program, &[], None);
    }
}

#[test]
fn a_handler_that_frees_memory_is_asked_once() {
    if support::emulator().is_some() {
        return eprintln!("skipped a_handler_that_frees_memory_is_asked_once: an emulator does not pass the limit on");
    }
    let folder = support::scratch("cxx-limited");
    let flags = ["-std=c++17", "-O1", "-fno-builtin", "-Wno-alloc-size-larger-than", "-ldl"];
    let program = support::compile(support::cxx(), "cxx_operators.cpp", &flags, &folder);
    support::check_on_both(&program, &["limited"], Some(LIMIT));
}

#[test]
fn a_cxx_runtime_that_is_loaded_late_is_found() {
    let folder = support::scratch("cxx-late");
    let flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wno-alloc-size-larger-than"];
    let plugin = support::compile(support::cxx(), "cxx_plugin.cpp", &flags, &folder);
    let program = support::compile(support::cc(), "cxx_late.c", &["-std=gnu11", "-ldl"], &folder);
    support::check_on_both(&program, &[plugin.to_str().expect("a path in UTF-8")], None);
}

#[test]
fn without_a_cxx_runtime_the_end_is_an_abort_with_a_message() {
    let folder = support::scratch("cxx-absent");
    let program = support::compile(support::cc(), "cxx_absent.c", &["-std=gnu11", "-fno-builtin", "-ldl"], &folder);
    let output = support::run(&program, On::Fairground, &[], None);
    let message = String::from_utf8_lossy(&output.stderr);
    // timeout(1) passes the signal on as its own end, or as a status of 128 and more.
    let signal = output.status.signal().or(output.status.code().map(|code| code - 128));
    assert_eq!(signal, Some(libc::SIGABRT), "{}\n{message}", output.status);
    assert_eq!(output.stdout, b"before\n");
    assert_eq!(
        message.lines().find(|line| line.starts_with("fairground")),
        Some(
            "fairground: operator new cannot give 9223372036854775807 bytes, and there is no C++ runtime to throw \
             std::bad_alloc"
        )
    );
}
