//! sqlite3: the same statements on a database in memory and on one in a file; results compared, integrity checked.

use fairground_tests::{Allocator, Need, Run, assert_binds, assert_same_answer, require, temp_dir};
use std::path::Path;

const SCRIPT: &str = include_str!("../programs/work.sql");
const SQLITE: Need = Need("sqlite3", "sqlite3");

fn query(sqlite: &Path, allocator: Allocator, database: &Path, script: &str) -> String {
    let answer = Run::on(allocator, sqlite).args(["-bail".as_ref(), database.as_os_str()]).input(script).text();
    assert_eq!(answer.lines().last(), Some("ok"), "integrity_check on {allocator:?} says otherwise:\n{answer}");
    answer
}

#[test]
fn a_database_in_memory_answers_the_same() {
    let Some([sqlite]) = require("sqlite_memory", [SQLITE]) else { return };
    assert_same_answer("sqlite3 :memory:", |allocator| query(&sqlite, allocator, Path::new(":memory:"), SCRIPT));
}

#[test]
fn a_database_in_a_file_answers_the_same_and_can_be_read_without_the_library() {
    let Some([sqlite]) = require("sqlite_file", [SQLITE]) else { return };
    assert_same_answer("sqlite3 with a file", |allocator| {
        let dir = temp_dir();
        let file = dir.path().join("database");
        let written = query(&sqlite, allocator, &file, SCRIPT);
        let dump = Run::new(&sqlite).args([file.as_os_str(), ".dump".as_ref()]).text();
        let checked = query(&sqlite, Allocator::System, &file, "PRAGMA integrity_check;");
        written + &dump + &checked
    });
}

#[test]
fn malloc_is_the_librarys() {
    let Some([sqlite]) = require("sqlite_binding", [SQLITE]) else { return };
    assert_binds(&sqlite, [":memory:", "SELECT 1"], &["sqlite3"]);
}
