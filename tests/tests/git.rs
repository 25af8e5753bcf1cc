//! git: a history made on the spot, repacked with threads, checked by git's own fsck. Dates and names are fixed, so
//! the hashes of every commit, tree and file are the answer.

use fairground_tests::git_history::history;
use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require, temp_dir};
use std::path::Path;

const GIT: Need = Need("git", "git");

fn git(allocator: Allocator, program: &Path, dir: &Path, arguments: &[&str]) -> Run {
    let run = Run::on(allocator, program).args(arguments).dir(dir).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    let run = run.env("GIT_AUTHOR_NAME", "A").env("GIT_AUTHOR_EMAIL", "a@example.org");
    let run = run.env("GIT_COMMITTER_NAME", "A").env("GIT_COMMITTER_EMAIL", "a@example.org");
    run.env("GIT_AUTHOR_DATE", "1700000000 +0000").env("GIT_COMMITTER_DATE", "1700000000 +0000")
}

fn make_and_repack(program: &Path, allocator: Allocator) -> String {
    let dir = temp_dir();
    let run = |arguments: &[&str]| git(allocator, program, dir.path(), arguments);
    run(&["init", "-q", "-b", "main", "."]).text();
    run(&["fast-import", "--quiet"]).input(history(250)).text();
    run(&["reset", "-q", "--hard", "main"]).text();
    for number in 0..25 {
        std::fs::write(dir.path().join(format!("own{}", number % 6)), format!("{number}\n").repeat(2000)).unwrap();
        run(&["add", "."]).text();
        run(&["commit", "-q", "-m", "by hand"]).text();
    }
    run(&["-c", "pack.threads=4", "repack", "-a", "-d", "-f", "-q", "--window=40", "--depth=40"]).text();
    let mut answer = run(&["fsck", "--full", "--strict", "--no-progress"]).text();
    answer += &run(&["rev-list", "--objects", "--all"]).text();
    answer += &run(&["log", "-p", "--stat", "--max-count=60"]).text();
    answer += &run(&["status", "--porcelain"]).text();
    answer + &run(&["grep", "-c", "value 7919"]).text()
}

#[test]
fn a_repacked_history_has_the_same_hashes() {
    let Some([program]) = require("git", [GIT]) else { return };
    assert_same_answer("git", |allocator| make_and_repack(&program, allocator));
}

#[test]
fn malloc_is_the_librarys() {
    let Some([program]) = require("git_binding", [GIT]) else { return };
    assert_binds(&program, ["--version"], &["git"]);
}
