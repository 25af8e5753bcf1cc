//! A pipeline over channels: one task makes lines, four parse and add them up, one prints what came out. Bounded channels between them: when a stage
//! is slow, those before it wait instead of filling the memory.
//!
//! ```sh
//! cargo run --release --example pipeline -- 200000
//! ```
//!
//! Look at the table at its end: the maker was parked whenever the channel was full (`SWITCHES`), and all the work was shared by cores that
//! took tasks not yet started from each other (`STEALS`).

use fairground_runtime::channel::bounded;
use fairground_runtime::{Builder, Runtime};
use std::process::ExitCode;
use std::time::Instant;

const WORKERS: usize = 4;

fn main() -> ExitCode {
    let lines: u64 = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 100_000,
        Some(Ok(lines)) => lines,
        Some(Err(error)) => {
            eprintln!("usage: pipeline [NUMBER OF LINES]: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pipeline: {error}");
            return ExitCode::FAILURE;
        }
    };
    let begun = Instant::now();
    let (total, listing) = runtime.run(|| {
        let (to_parsers, from_maker) = bounded::<String>(64);
        let (to_sum, from_parsers) = bounded::<u64>(64);
        let named = |name: &str| Builder::new().name(name);
        let maker = named("maker").spawn(move || {
            for n in 0..lines {
                let line = format!("order {n}: {} pieces", n % 100);
                if to_parsers.send(line).is_err() {
                    return;
                }
            }
        });
        let parsers: Vec<_> = (0..WORKERS)
            .map(|n| {
                let (from, to) = (from_maker.clone(), to_sum.clone());
                named(&format!("parser-{n}")).spawn(move || {
                    for line in from {
                        let pieces = line.split(' ').nth(2).and_then(|word| word.parse().ok()).unwrap_or(0);
                        if to.send(pieces).is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        drop((from_maker, to_sum));
        let total: u64 = from_parsers.iter().sum();
        let listing = runtime.ps();
        for task in std::iter::once(maker).chain(parsers) {
            task.expect("memory for a task").join().expect("no panic");
        }
        (total, listing)
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("{lines} lines, {total} pieces in all, {:.0} lines a second", lines as f64 / seconds);
    println!("\n{listing}");
    ExitCode::SUCCESS
}
