//! What the fuzzer runs, without the fuzzer: its seeds, inputs that once failed (`fuzz/regressions`), and random bytes for
//! `FAIRGROUND_FUZZ_SECONDS` each (1 by default).

mod fuzzed;
mod shadow;

use shadow::random::Random;
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs from the folders of a target.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    for folder in ["seeds", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(target);
        for file in folder.read_dir().expect("the folder is there") {
            let path = file.expect("a file").path();
            inputs.push((path.display().to_string(), std::fs::read(&path).expect("read an input")));
        }
    }
    assert!(!inputs.is_empty(), "no inputs for {target}");
    inputs
}

/// Calls `body` with other random numbers for as long as is wanted. The seed is printed where a failure shows it.
fn for_a_while(mut body: impl FnMut(&mut Random)) {
    let seconds = std::env::var("FAIRGROUND_FUZZ_SECONDS").ok().map(|n| n.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let seed = std::env::var("FAIRGROUND_FUZZ_SEED").ok().map(|n| n.parse().expect("a seed")).unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("a clock that is set").as_nanos() as u64
    });
    println!("FAIRGROUND_FUZZ_SEED={seed}");
    let mut random = Random::new(seed);
    let mut times = 0;
    while Instant::now() < end {
        body(&mut random);
        times += 1;
    }
    println!("{times} inputs");
}

/// One input changed as a fuzzer does it: bytes replaced, inserted and removed.
fn mutated(random: &mut Random, inputs: &[(String, Vec<u8>)], fresh: impl Fn(&mut Random) -> u8) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].1.clone();
    for _ in 0..random.below(20) {
        let at = random.below(bytes.len() + 1);
        match random.below(3) {
            0 => bytes.insert(at, fresh(random)),
            1 if at < bytes.len() => bytes[at] = fresh(random),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

#[test]
fn calls_of_all_inputs_keep_blocks_apart_and_whole() {
    for (name, bytes) in inputs("calls") {
        println!("{name}");
        fuzzed::calls::run(&bytes);
    }
}

#[test]
fn random_calls_keep_blocks_apart_and_whole() {
    let inputs = inputs("calls");
    for_a_while(|random| {
        let bytes = if random.percent(50) {
            (0..random.below(600)).map(|_| random.draw() as u8).collect()
        } else {
            mutated(random, &inputs, |random| random.draw() as u8)
        };
        fuzzed::calls::run(&bytes);
    });
}

#[test]
fn configurations_of_all_inputs_are_read_as_described() {
    for (name, bytes) in inputs("configuration") {
        println!("{name}");
        fuzzed::configuration::run(&bytes);
    }
}

#[test]
fn random_configurations_are_read_as_described() {
    let inputs = inputs("configuration");
    for_a_while(|random| {
        let some = |random: &mut Random| match random.below(10) {
            0 => random.draw() as u8,
            _ => b",,,::: 0123456789KMGTkmgt-truefalsn"[random.below(35)],
        };
        fuzzed::configuration::run(&mutated(random, &inputs, some));
    });
}
