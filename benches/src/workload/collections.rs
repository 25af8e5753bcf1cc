//! Stands for an ordinary Rust program (an indexer, a compiler's front end): it builds strings, pushes them into vectors
//! that grow, counts them in hash maps and ordered maps, keeps trees of boxes, and drops all of it in another order. All
//! memory comes through Rust's containers and so, by the `System` allocator, from malloc and realloc. Our own.

use super::Load;
use super::containers::{Map, digest};
use super::random::Random;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const DOCUMENTS: usize = 1_500;
const WORDS: usize = 1_200;
const VOCABULARY: usize = 6_000;
/// Documents kept at the same time; older ones are dropped.
const KEPT: usize = 120;

pub(super) fn run(load: &Load) -> u64 {
    let documents = load.scaled(DOCUMENTS);
    load.in_threads(|mut random| index(&mut random, documents))
}

/// A node of the outline of a document: as a syntax tree, many small boxes of unlike sizes.
struct Node {
    title: String,
    first_child: Option<Box<Node>>,
    next_sibling: Option<Box<Node>>,
}

struct Document {
    lines: Vec<String>,
    outline: Option<Box<Node>>,
}

fn index(random: &mut Random, documents: usize) -> u64 {
    let mut kept: Vec<Document> = Vec::new();
    let mut postings: Map<String, Vec<u32>> = Map::default();
    let mut by_length: BTreeMap<(usize, String), u64> = BTreeMap::new();
    let mut sum = 0_u64;
    for number in 0..documents {
        let document = write_document(random);
        for line in &document.lines {
            for word in line.split(' ') {
                postings.entry(word.to_owned()).or_default().push(number as u32);
                *by_length.entry((word.len(), word.to_owned())).or_default() += 1;
            }
        }
        kept.push(document);
        if kept.len() > KEPT {
            let old = kept.swap_remove(random.below(KEPT));
            sum = sum.wrapping_add(digest_document(&old));
        }
        // Postings are cut back at times, so that vectors and strings are freed among living ones.
        if number % 64 == 63 {
            postings.retain(|word, list| {
                sum = sum.wrapping_add(digest(word) ^ list.iter().map(|&d| u64::from(d)).sum::<u64>());
                word.len() % 3 != 0
            });
            by_length.retain(|(length, _), count| *count > 2 || length % 2 == 0);
        }
    }
    for (word, list) in &postings {
        sum = sum.wrapping_add(digest(word).wrapping_mul(list.len() as u64));
    }
    for ((_, word), count) in &by_length {
        sum = sum.wrapping_add(digest(word) ^ count);
    }
    kept.iter().fold(sum, |sum, document| sum.wrapping_add(digest_document(document)))
}

fn write_document(random: &mut Random) -> Document {
    let mut lines = Vec::new();
    let mut line = String::new();
    for _ in 0..WORDS {
        if !line.is_empty() {
            line.push(' ');
        }
        // The square makes some words common and most rare.
        let pick = random.below(VOCABULARY) * random.below(VOCABULARY) / VOCABULARY;
        write!(line, "{:x}word{pick}", pick % 97).expect("writing to a String does not fail");
        if line.len() > 60 + random.below(40) {
            lines.push(std::mem::take(&mut line));
        }
    }
    lines.push(line);
    Document { lines, outline: write_outline(random, 5) }
}

/// A chain of one to four siblings, each with children down to `depth`.
fn write_outline(random: &mut Random, depth: usize) -> Option<Box<Node>> {
    let mut chain = None;
    for _ in 0..random.between(1, 4) {
        let title = format!("section {}", random.next() >> (8 * depth));
        let first_child = if depth > 0 { write_outline(random, depth - 1) } else { None };
        chain = Some(Box::new(Node { title, first_child, next_sibling: chain }));
    }
    chain
}

fn digest_document(document: &Document) -> u64 {
    let lines = document.lines.iter().fold(0_u64, |sum, line| sum.wrapping_mul(31).wrapping_add(digest(line)));
    lines.wrapping_add(digest_chain(document.outline.as_deref()))
}

fn digest_chain(first: Option<&Node>) -> u64 {
    std::iter::successors(first, |node| node.next_sibling.as_deref()).fold(0, |sum, node| {
        let below = digest_chain(node.first_child.as_deref());
        sum.wrapping_mul(31).wrapping_add(digest(&node.title)).wrapping_add(below)
    })
}
