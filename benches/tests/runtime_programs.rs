//! What the programs of the runtime comparison share: how late ticks are counted and how much work is measured. Its sources are
//! taken in as they are; the programs themselves are built by `make bench-runtime` only.

#![allow(dead_code)]

#[path = "../runtimes/src/hog.rs"]
mod hog;
#[path = "../runtimes/src/measure.rs"]
mod measure;

use fairground_benches::runtimes::programs::{KNOWN, OURS};
use fairground_benches::runtimes::rows;
use measure::{Clocks, repeated};
use std::time::Duration;

#[test]
fn every_tick_that_a_late_task_has_missed_counts_by_how_much_it_was_missed() {
    let clocks = Clocks::start();
    let mut ticks = hog::Ticks::new(0.010);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(ticks.until_next(), Duration::ZERO);
    assert!(!ticks.woke(), "all ten ticks are over");
    let outcome = ticks.outcome(&clocks);
    let us = |name: &str| outcome.further[name].as_f64().unwrap();
    assert_eq!(outcome.operations, 1, "it ran once");
    // Due after 1, 2, ... 10 ms, and run after 20 or more.
    let (most, median) = (us("max_us"), us("p50_us"));
    assert!(most >= 19_000.0, "{outcome:?}");
    assert!((most - median - 5_000.0).abs() < 1.0, "the fifth shortest is that of the sixth tick: {outcome:?}");
}

#[test]
fn a_task_that_is_in_time_goes_on_to_the_last_tick() {
    let mut ticks = hog::Ticks::new(0.005);
    let mut woken = 0;
    loop {
        std::thread::sleep(ticks.until_next());
        woken += 1;
        if !ticks.woke() {
            break;
        }
    }
    assert!((1..=5).contains(&woken), "{woken}");
}

#[test]
fn a_hog_ends_when_its_time_is_over_even_if_it_begins_later() {
    let hog = hog::Hog::new(0.0, Some(1));
    std::thread::sleep(Duration::from_millis(2));
    assert!(!hog.compute());
    assert!(hog::Hog::new(3600.0, Some(1)).compute(), "a slice ends long before the hour");
}

#[test]
fn work_grows_until_it_takes_half_the_time_and_that_run_counts() {
    let mut tried = Vec::new();
    let outcome = repeated(0.02, |n| {
        tried.push(n);
        // A microsecond each, at least.
        std::thread::sleep(Duration::from_micros(n));
        Ok(n + 1)
    })
    .unwrap();
    assert!(outcome.wall >= Duration::from_millis(10), "{outcome:?}");
    assert_eq!(outcome.operations, tried.last().unwrap() + 1, "what the work says it has done");
    assert_eq!(tried[0], 1000);
    assert!(tried.windows(2).all(|pair| pair[1] > pair[0] && pair[1] <= 8 * pair[0]), "{tried:?}");
    assert_eq!(repeated(0.02, |_| Err("wrong answer".into())).unwrap_err(), "wrong answer");
}

#[test]
fn runtimes_and_rows_are_known_to_the_build_and_to_every_program() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/runtimes/");
    let read = |name: &str| std::fs::read_to_string(format!("{here}{name}")).unwrap();
    let (manifest, script, go) = (read("Cargo.toml"), read("build.sh"), read("go/main.go"));
    for name in KNOWN {
        assert!(script.lines().any(|line| line.split(' ').next() == Some(name)), "{name} in build.sh");
        let in_rust = manifest.contains(&format!("name = \"runtime-{name}\""));
        assert!(in_rust || name == "go", "no program runtime-{name}");
        assert!(!in_rust || name == "threads" || manifest.contains(&format!("\n{name} = [")), "no feature {name}");
        assert!(name != OURS || in_rust);
    }
    for row in rows::ALL {
        let name = row.arguments[0];
        assert!(go.contains(&format!("\"{name}\":")), "{name} in Go");
        let variant: String = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        for program in KNOWN.iter().filter(|name| **name != "go") {
            let source = read(&format!("src/bin/{program}.rs"));
            assert!(source.contains(&format!("Row::{variant}")), "{name} in {program}.rs");
        }
    }
}
