//! `fairground_stats_print`: `tests/c/stats_print.c`, and what its JSON says.

mod support;

use serde_json::Value;
use support::On;

#[test]
fn the_tables_are_written_to_a_descriptor() {
    let folder = support::scratch("stats-print");
    // Casts of dlsym's result to functions are POSIX, though not ISO C.
    let program = support::compile(support::cc(), "stats_print.c", &["-std=gnu11", "-O1", "-ldl"], &folder);
    let file = folder.join("stats.json");
    let path = file.to_str().expect("a path in UTF-8");
    let rows = support::rows("stats_print.c on fairground", &support::run(&program, On::Fairground, &[path], None));
    assert!(rows.iter().all(|row| !row.skipped), "skipped on fairground: {rows:?}");
    let text = std::fs::read_to_string(&file).expect("read the JSON");
    assert!(text.ends_with("}\n"), "{text}");
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    assert_eq!(json["version"], 1);
    let slabs = json["slabs"].as_array().expect("slabs");
    let class = slabs.iter().find(|class| class["name"] == "size-448").expect("the class of the program's blocks");
    let live = class["live_bytes"].as_u64().expect("a number");
    // The program has 1,000 blocks, and libc perhaps a few.
    assert!((1000 * 448..1100 * 448).contains(&live), "{class}");
    assert!(json["summary"]["live_bytes"].as_u64().is_some_and(|all| all >= live), "{}", json["summary"]);
}
