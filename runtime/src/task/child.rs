//! Tests that need a process of their own (it dies, or runs at a limit): the test binary starts itself.

use std::env;
use std::process::{Command, Output};

const CHILD: &str = "FAIRGROUND_TEST_CHILD";

/// Runs `body` in a child that has only the test `name` (its full path) to run, and returns what became of the child; None in
/// the child itself, whose body has returned.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) -> Option<Output> {
    if env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        return None;
    }
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name);
    Some(command.output().expect("a child"))
}

/// As [`in_child`], for a child that must live through it. What it wrote is shown if it did not.
pub(crate) fn succeeds_in_child(name: &str, body: impl FnOnce()) {
    if let Some(output) = in_child(name, body) {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        assert!(out.contains("1 passed"), "{name} is not a test: {out}");
    }
}
