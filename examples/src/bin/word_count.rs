//! Fairground as the global allocator of a Rust program: counts words, with a `String` for each, and asks the allocator
//! what that took.
//!
//! ```text
//! cargo run --release -p fairground-examples --bin word_count -- 2000000
//! ```

use fairground_allocator::{Fairground, malloc};
use std::collections::HashMap;

#[global_allocator]
static GLOBAL: Fairground = Fairground;

fn main() {
    let words = match std::env::args().nth(1).map(|argument| argument.parse()) {
        None => 1_000_000,
        Some(Ok(words)) => words,
        Some(Err(error)) => {
            eprintln!("usage: word_count [NUMBER OF WORDS]: {error}");
            std::process::exit(2);
        }
    };

    let text = fairground_examples::text(words);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    let mut frequent: Vec<(&String, &usize)> = counts.iter().collect();
    // The most frequent first; those that occur equally often by the alphabet.
    frequent.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));

    println!("{words} words, {} different", counts.len());
    for (word, count) in frequent.iter().take(5) {
        println!("{count:8} {word}");
    }

    show("with the counts");
    drop(frequent);
    drop(counts);
    drop(text);
    show("without them");
    malloc::trim(0);
    show("trimmed");
}

fn show(when: &str) {
    let totals = malloc::totals();
    println!(
        "{when}: {} KiB in use, {} KiB free, of which {} KiB still occupy memory",
        totals.in_use / 1024,
        totals.free / 1024,
        totals.dirty / 1024
    );
}
