//! Heap profiles: what they count, at which places, and what reads them.
//!
//! The program says which function lies where; the profile is decoded by a crate that follows the published schema.

#[path = "../../ffi/src/bin/fairground/pprof.rs"]
mod pprof;

use fairground_tests::{Need, Run, launcher, library, require, temp_dir};
use pprof::Profile;
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const GCC: Need = Need("gcc", "gcc libc6-dev");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/heap_sites.c");

/// Bytes that each function of the program is aligned to, and shorter than.
const ALIGN: u64 = 1024;

/// Compiles the program; `None` where there is no compiler, which is reported.
fn program(test: &str, dir: &Path, flags: &[&str]) -> Option<PathBuf> {
    let [gcc] = require(test, [GCC])?;
    let program = dir.join("heap_sites");
    let arguments = ["-g", "-O1", "-fno-builtin", "-fno-omit-frame-pointer", "-pthread", SOURCE, "-o"];
    Run::new(gcc).args(arguments).args([&program]).args(flags).text();
    Some(program)
}

fn launch(options: &[&str]) -> Run {
    Run::new(launcher()).args(["run", "--library"]).args([library()]).args(options)
}

/// The lines "NAME NUMBER" that the program has printed.
fn numbers(output: &str) -> BTreeMap<String, u64> {
    let pairs = output.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, number)| (name.to_owned(), number.parse().expect("a number"))).collect()
}

/// The values of all samples by the function that allocated: allocated objects and bytes, those in use.
fn by_place(profile: &Profile, places: &BTreeMap<String, u64>) -> BTreeMap<String, [i64; 4]> {
    let mut values = BTreeMap::new();
    for sample in &profile.sample {
        let leaf = sample.location_id.first().expect("a sample has a stack");
        let location = profile.location.iter().find(|location| location.id == *leaf).expect("a location");
        let name = places.iter().find(|(_, address)| location.address / ALIGN == *address / ALIGN);
        let name = name.map_or("elsewhere", |(name, _)| name);
        let sum: &mut [i64; 4] = values.entry(name.to_owned()).or_default();
        for (sum, value) in sum.iter_mut().zip(&sample.value) {
            *sum += value;
        }
    }
    values
}

fn read(path: &Path) -> Profile {
    let contents = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let profile = Profile::decode(&*contents).expect("a profile");
    check(&profile);
    profile
}

/// What the format's description demands of every profile.
fn check(profile: &Profile) {
    assert_eq!(profile.text(0), "");
    let kinds: Vec<(String, String)> =
        profile.sample_type.iter().map(|t| (profile.text(t.kind), profile.text(t.unit))).collect();
    let expected =
        [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
    assert_eq!(kinds, expected.map(|(kind, unit)| (kind.to_owned(), unit.to_owned())));
    assert_eq!(profile.text(profile.default_sample_type), "inuse_space");
    let mut ids: Vec<u64> = profile.location.iter().map(|location| location.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), profile.location.len(), "a location's number is its own");
    for location in &profile.location {
        if let Some(mapping) = profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id) {
            assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
        } else {
            assert_eq!(location.mapping_id, 0);
        }
    }
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), 4);
        assert!(sample.location_id.iter().all(|id| ids.binary_search(id).is_ok()));
        assert!(sample.value[0] >= sample.value[2] && sample.value[1] >= sample.value[3], "{:?}", sample.value);
    }
    let own = profile.mapping.iter().find(|m| profile.text(m.filename).ends_with("libfairground.so")).expect("mapped");
    let seen = profile.location.iter().find(|location| location.mapping_id == own.id);
    assert!(seen.is_none(), "the library's own frames are left out: {seen:?}");
}

#[test]
fn every_way_to_allocate_and_free_is_counted_exactly_when_every_block_is_recorded() {
    let dir = temp_dir();
    let Some(program) = program("heap_profile_exact", dir.path(), &[]) else { return };
    let pattern = dir.path().join("heap.%p.pb");
    let options = ["--heap-profile", pattern.to_str().unwrap(), "--profile-every", "1", "--"];
    let output = launch(&options).args([program.as_os_str(), "exact".as_ref()]).text();
    let places = numbers(&output);
    let profile_of = |who: &str| read(&dir.path().join(format!("heap.{}.pb", places[who])));

    let parent = profile_of("parent");
    assert_eq!(parent.period, 1);
    let values = by_place(&parent, &places);
    let mib = 1 << 20;
    assert_eq!(values["by_malloc"], [100, 10_000, 45, 4_500]);
    assert_eq!(values["by_calloc"], [30, 50 * mib + 20_000, 6, 30 * mib]);
    assert_eq!(values["by_aligned"], [20, 6_000, 20, 6_000], "alignments from 16 to 8 MiB");
    assert_eq!(values["by_realloc"], [10, 505_110 + 52 * mib, 1, 3 * mib]);
    assert_eq!(values["freed_sized"], [100, 6_400, 0, 0]);
    assert_eq!(values["freed_by_thread"], [100, 20_000, 0, 0]);
    assert_eq!(values["in_thread"], [100, 4_800, 100, 4_800]);
    assert!(!values.contains_key("in_child"));

    let child = by_place(&profile_of("child"), &places);
    assert_eq!(child["in_child"], [10, 320, 10, 320]);
    assert_eq!(child["by_malloc"], [100, 10_000, 25, 2_500], "what the child inherited and freed");
    assert_eq!(child["by_realloc"], values["by_realloc"]);
}

#[test]
fn estimates_are_near_what_was_allocated_at_each_place() {
    let dir = temp_dir();
    let Some(program) = program("heap_profile_estimate", dir.path(), &[]) else { return };
    let file = dir.path().join("heap.pb");
    // Some ten thousand samples a place: a spread of one in a hundred.
    let options = ["--heap-profile", file.to_str().unwrap(), "--profile-every", "8K", "--"];
    let output = launch(&options).args([program.as_os_str(), "estimate".as_ref()]).text();
    let profile = read(&file);
    let values = by_place(&profile, &numbers(&output));
    let mib = 1 << 20;
    for (place, expected) in [
        ("small", [800_000, 80_000_000, 800_000, 80_000_000]),
        ("medium", [80_000, 80_000_000, 40_000, 40_000_000]),
        ("large", [80, 80 * mib, 20, 20 * mib]),
    ] {
        for (value, expected) in values[place].into_iter().zip(expected) {
            let ratio = value as f64 / expected as f64;
            assert!((0.9..1.1).contains(&ratio), "{place}: {:?}", values[place]);
        }
    }

    // The same file, read by others.
    let picture = dir.path().join("heap.svg");
    let draw = |kind: &str| {
        let arguments = ["flamegraph".as_ref(), file.as_os_str(), "-o".as_ref(), picture.as_os_str()];
        Run::new(launcher()).args(arguments).args(["--type", kind]).text();
        fs::read_to_string(&picture).expect("a picture")
    };
    let svg = draw("inuse_space");
    assert!(svg.contains("<svg") && svg.contains("Heap: inuse_space"));
    for function in ["main", "small", "medium", "large"] {
        assert!(svg.contains(&format!("<title>{function} (")), "{function} is not in the picture");
    }
    assert!(!draw("alloc_objects").contains("malloc_slow"), "the allocator's functions are left out");
    if let Some([go]) = require("heap_profile_go_pprof", [Need("go", "golang-go")]) {
        let top = Run::new(go).args(["tool", "pprof", "-top", "-sample_index=alloc_space"]).args([&program, &file]);
        let top = top.env("HOME", dir.path()).limit(std::time::Duration::from_secs(180)).text();
        assert!(top.contains("Type: alloc_space"), "{top}");
        for function in ["small", "medium", "large"] {
            let row = top.lines().find(|line| line.trim_end().ends_with(&format!(" {function}")));
            let row = row.unwrap_or_else(|| panic!("{function} has no row:\n{top}"));
            assert!(row.trim_start().starts_with(|c: char| ('7'..='8').contains(&c)), "80 MB, nearly: {row}");
        }
    }
}

#[test]
fn the_report_of_leaks_names_the_function_that_leaks() {
    let dir = temp_dir();
    let Some(program) = program("heap_profile_leaks", dir.path(), &["-rdynamic"]) else { return };
    let run = |options: &[&str]| {
        let outcome = launch(options).dir(dir.path()).args([program.as_os_str(), "leak".as_ref()]).outcome();
        outcome.assert_success();
        String::from_utf8(outcome.stderr.clone()).expect("text")
    };
    let report = run(&["--leaks", "--profile-every", "1", "--"]);
    assert!(report.contains("not freed at exit") && report.contains("(exact: every block was recorded)"), "{report}");
    let (_, after) = report.split_once("12345 bytes in 1 block from\n").unwrap_or_else(|| panic!("{report}"));
    let mut frames = after.lines();
    assert!(frames.next().unwrap_or("").trim_start().starts_with("leaking+0x"), "{report}");
    assert!(frames.next().unwrap_or("").trim_start().starts_with("main+0x"), "through leak(), inlined: {report}");
    assert!(!report.contains("by_malloc"), "it freed everything: {report}");
    // From samples it says so; and a report alone writes no file.
    let report = run(&["--leaks", "--profile-every", "1G", "--"]);
    assert!(report.contains("profile_every:1 records every block"), "{report}");
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "only the program");
}

#[test]
fn a_program_can_write_its_profile_at_any_time() {
    let dir = temp_dir();
    let Some(program) = program("heap_profile_write", dir.path(), &[]) else { return };
    let (now, end) = (dir.path().join("now.pb"), dir.path().join("end.pb"));
    let mode_and_file = ["leak".as_ref(), now.as_os_str()];
    let options = ["--heap-profile", end.to_str().unwrap(), "--profile-every", "1", "--"];
    let output = launch(&options).args([&program]).args(mode_and_file).text();
    let places = numbers(&output);
    assert_eq!(places["written"], 0);
    for file in [&now, &end] {
        let values = by_place(&read(file), &places);
        assert_eq!(values["leaking"], [1, 12_345, 1, 12_345]);
        assert_eq!(values["by_malloc"], [1_000, 50_000, 0, 0]);
    }
    let output = launch(&["--"]).args([&program]).args(mode_and_file).text();
    assert_eq!(numbers(&output)["written"], libc::ENODATA as u64, "no profile is being taken");
}

#[test]
fn a_profile_that_cannot_be_written_is_reported() {
    let dir = temp_dir();
    let Some(program) = program("heap_profile_unwritable", dir.path(), &[]) else { return };
    let outcome = launch(&["--heap-profile", "/no/such/directory/heap.pb", "--"]).args([&program]).outcome();
    outcome.assert_success();
    let errors = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(errors.contains("/no/such/directory/heap.pb: no such directory"), "{errors}");
}
