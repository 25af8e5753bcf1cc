//! `fairground sim`: the same figures for the same seed, as a table, as JSON and as a page; and errors that say what is allowed.

use fairground_tests::{Run, launcher, temp_dir};
use std::fs;

fn sim(arguments: &[&str]) -> Run {
    Run::new(launcher()).args(["sim"]).args(arguments)
}

/// Status 125, nothing on stdout, and a way out.
#[track_caller]
fn refusal(arguments: &[&str], parts: &[&str]) {
    let outcome = sim(arguments).outcome();
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!(outcome.status.code(), Some(125), "{}", outcome.describe());
    assert!(outcome.stdout.is_empty(), "{}", outcome.describe());
    for part in parts.iter().chain(&["what to do: "]) {
        assert!(text.contains(part), "'{part}' is not in:\n{text}");
    }
}

#[test]
fn policies_under_each_other_and_the_same_again_for_the_same_seed() {
    let arguments = [
        "--policy",
        "cfs,rr,fcfs,sjf,eevdf,priority",
        "--cpus",
        "2x2",
        "--workload",
        "web-requests",
        "--duration",
        "100ms",
    ];
    let (first, second) = (sim(&arguments).text(), sim(&arguments).text());
    assert_eq!(first, second);
    for part in [
        "4 cpus",
        "100ms of virtual time",
        "fairness",
        "wake p50",
        "moves",
        "idle",
        "\ncfs ",
        "\npriority ",
        "short",
        "long",
    ] {
        assert!(first.contains(part), "no '{part}' in:\n{first}");
    }
    let other = sim(&arguments).args(["--seed", "2"]).text();
    assert_ne!(first, other);
}

#[test]
fn json_and_a_page_that_needs_nothing_else() {
    let dir = temp_dir();
    let page = dir.path().join("page.html");
    let page_name = page.to_str().expect("a name");
    let json = sim(&["--policy", "cfs,rr", "--duration", "60ms", "--json", "-", "--html", page_name]).text();
    for part in
        ["\"policies\"", "\"policy\": \"cfs\"", "\"policy\": \"rr\"", "\"lag_ms\"", "\"p99_ms\"", "\"migrations\""]
    {
        assert!(json.contains(part), "no {part} in:\n{json}");
    }
    let page = fs::read_to_string(page).expect("the page");
    assert_eq!(page.matches("<svg").count(), 4, "a chart and a curve for each policy");
    assert!(
        ["<script", "http:", "https:", "src="].iter().all(|outside| !page.contains(outside)),
        "it needs something else"
    );
    assert!(
        page.contains(
            "fairground sim --policy cfs,rr --cpus 4 --workload hogs-and-sleepers --duration 60000us --seed 1"
        )
    );
}

#[test]
fn a_printed_workload_is_a_file_that_gives_the_same_figures() {
    let dir = temp_dir();
    let file = dir.path().join("mine.txt");
    fs::write(&file, sim(&["--workload", "tenants", "--print"]).text()).expect("a file");
    let by_file = sim(&["--duration", "50ms", "--workload", file.to_str().expect("a name")]).text();
    assert_eq!(by_file, sim(&["--duration", "50ms", "--workload", "tenants"]).text());
}

#[test]
fn what_is_not_known_is_refused_with_what_is_allowed() {
    refusal(&["--policy", "cfs,lottery"], &["'lottery'", "cfs, eevdf, rr, fcfs, sjf and priority"]);
    refusal(&["--cpus", "2000"], &["'2000'", "1024 cpus at most"]);
    refusal(&["--cpus", "0"], &["'0'", "2x8x2"]);
    refusal(&["--workload", "/nowhere/at/all"], &["/nowhere/at/all", "No such file", "hogs-and-sleepers"]);
    refusal(&["--duration", "5"], &["'5'", "ns, us, ms or s"]);
    refusal(&["--duration", "10ms", "--html", "/nowhere/page.html"], &["/nowhere/page.html", "can be written"]);
}

#[test]
fn a_bad_workload_is_refused_with_its_line_what_was_found_and_what_is_allowed() {
    let dir = temp_dir();
    let file = dir.path().join("bad.txt");
    let name = file.to_str().expect("a name");
    for (text, parts) in [
        ("", ["line 1", "task NAME"]),
        ("# nothing\nduration 1s\n", ["line 2", "task NAME"]),
        ("jobs 3", ["line 1: 'jobs'", "duration, group or task"]),
        ("task a run 5m yield", ["line 1: time '5m'", "ns, us, ms or s"]),
        ("\ntask a run 5ms", ["line 2: ", "sleep with a time, yield, or end"]),
        ("task a sleep 5ms", ["line 1: ", "'run 5ms', or 'run forever'"]),
        ("task a run forever sleep 1ms", ["line 1: ", "nothing follows"]),
        ("task a run 1ms yield nice 20", ["nice 20", "-20 to 19"]),
        ("task a run 1ms yield nice low", ["nice 'low'", "-20 to 19"]),
        ("task a run 1ms yield class fifo:0", ["class 'fifo:0'", "1 to 99"]),
        ("task a run 1ms yield coutn 3", ["'coutn'", "count, per-cpu, nice"]),
        ("task a run 1ms yield count 0", ["count '0'", "from 1 to 1000000"]),
        ("task a run 1ms yield count", ["'count'", "needs a value"]),
        ("task a run 9ms..1ms yield", ["'9ms..1ms'", "the smaller one"]),
        ("task a run 1ms yield in web", ["no group 'web'", "none so far"]),
        ("group web weight 1", ["weight '1'", "from 2 to 262144"]),
        ("group web quota 5ms", ["quota '5ms'", "5ms/20ms"]),
        ("group web quota 5ms/5s", ["period 5s", "1 ms to 1 s"]),
        ("group web\ngroup web", ["line 2", "a second group 'web'"]),
        ("group g\ntask a run 1ms yield in g class idle", ["line 2", "another class"]),
        ("duration 1s 2s\ntask a run forever", ["line 1: '2s'", "nothing more"]),
        ("task a run 1ms yield on 9", ["cpu 9", "cpus 0 to 3"]),
    ] {
        fs::write(&file, text).expect("a file");
        refusal(&["--workload", name], &parts);
    }
}
