//! The allocator's statistics, asked for by a Rust program: what a list of strings takes, and what is left of it in slabs after
//! nine of ten strings have been freed. `docs/statistics.md` says how to read the tables.
//!
//! ```text
//! cargo run --release -p fairground-examples --bin heap_tables            tables
//! cargo run --release -p fairground-examples --bin heap_tables -- --json  the same numbers for programs
//! ```

use fairground_allocator::{Fairground, stats};
use std::io::Write;

#[global_allocator]
static GLOBAL: Fairground = Fairground;

const STRINGS: usize = 100_000;

fn main() {
    let json = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--json") => true,
        Some(other) => {
            eprintln!("usage: heap_tables [--json]: what is {other:?}?");
            std::process::exit(2);
        }
    };

    // 100 bytes each, which the class size-112 serves.
    let mut strings: Vec<String> = (0..STRINGS).map(|_| "s".repeat(100)).collect();
    let mut number = 0;
    strings.retain(|_| {
        number += 1;
        number % 10 == 0
    });

    // Collected first: a sink that fails in the middle could not say so.
    let mut text = Vec::with_capacity(64 << 10);
    if json {
        stats::write_json(&mut |piece| text.extend_from_slice(piece));
    } else {
        stats::write_text(&mut |piece| text.extend_from_slice(piece));
        let summary = stats::summary();
        let line = format!("\n{} strings left, {} bytes live in all\n", strings.len(), summary.live_bytes);
        text.extend_from_slice(line.as_bytes());
    }
    if let Err(error) = std::io::stdout().write_all(&text) {
        eprintln!("heap_tables: cannot write: {error}");
        std::process::exit(1);
    }
}
