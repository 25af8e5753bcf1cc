//! A task that overflows its stack: the process says whose, and aborts.

use fairground_runtime::Builder;
use fairground_runtime::task::StackSize;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const CHILD: &str = "FAIRGROUND_OVERFLOW_CHILD";

fn deeper(n: u64) -> u64 {
    let room = std::hint::black_box([n; 64]);
    if n == 0 { 0 } else { deeper(n - 1) + room[(n % 64) as usize] }
}

#[test]
fn it_is_named_with_the_size_of_its_stack() {
    if std::env::var_os(CHILD).is_some() {
        let size = StackSize::new(64 << 10).expect("allowed");
        let task = Builder::new().name("digger").stack_size(size).spawn(|| deeper(1 << 20)).expect("spawned");
        let _ = task.join();
        return;
    }
    let me = std::env::current_exe().expect("this program");
    let test = "it_is_named_with_the_size_of_its_stack";
    let output = Command::new(me).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "SIGABRT; it said: {said}");
    assert!(said.contains("'digger'") && said.contains("64 KiB"), "{said}");
}
