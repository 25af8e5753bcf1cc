//! git: a history made on the spot, repacked with threads, checked by git's own fsck. Dates and names are fixed, so
//! the hashes of every commit, tree and file are the answer.

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require, temp_dir};
use std::fmt::Write;
use std::path::Path;

const GIT: Need = Need("git", "git");

/// A stream for `git fast-import`: `commits` commits over 40 files whose texts change a little each time.
fn history(commits: u64) -> String {
    let mut stream = String::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for commit in 0..commits {
        // Writing to a String cannot fail.
        let _ =
            writeln!(stream, "commit refs/heads/main\ncommitter A <a@example.org> {} +0000", 1_600_000_000 + commit);
        let _ = writeln!(stream, "data 7\nchange\n");
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let file = (state >> 33) % 40;
            let mut text = String::new();
            for line in 0..120 {
                let salt = if (state >> (line % 50)) & 31 == 0 { commit } else { 0 };
                let _ = writeln!(text, "file {file}, line {line}, value {}", file * 7919 + line * 13 + salt);
            }
            let _ = writeln!(stream, "M 100644 inline d{}/f{file}\ndata {}\n{text}", file % 5, text.len());
        }
    }
    stream
}

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
