//! Stands for a service that speaks JSON: a document of nested records is parsed into a tree of maps, arrays and strings,
//! changed in some places, written out again and dropped. Most blocks are short strings and the nodes of ordered maps, with
//! one large buffer per document that grows. Our own, on the crate serde_json, which nearly every such Rust program uses;
//! the documents are made up here.

use super::Load;
use super::containers::digest;
use super::random::Random;
use serde_json::{Map, Value, json};

const DOCUMENTS: usize = 250;
/// Records of the largest document.
const MOST_RECORDS: usize = 700;
/// One record in so many is changed.
const CHANGED: usize = 5;

pub(super) fn run(load: &Load) -> u64 {
    let documents = load.scaled(DOCUMENTS);
    load.in_threads(|mut random| {
        (0..documents).fold(0_u64, |sum, _| {
            let received = Value::Array(records(&mut random)).to_string();
            let mut document: Value = serde_json::from_str(&received).expect("what was written can be read");
            change(&mut document, &mut random);
            let sent = document.to_string();
            let again: Value = serde_json::from_str(&sent).expect("what was written can be read");
            assert_eq!(again, document, "a document changed between writing and reading");
            sum.wrapping_add(digest(&received)).wrapping_add(digest(&sent))
        })
    })
}

fn records(random: &mut Random) -> Vec<Value> {
    (0..random.between(10, MOST_RECORDS))
        .map(|number| {
            let tags: Vec<String> = (0..random.below(6)).map(|_| word(random, 12)).collect();
            json!({
                "id": number,
                "name": word(random, 24),
                "note": text(random),
                "price": random.below(100_000) as f64 / 4.0,
                "active": random.below(2) == 0,
                "tags": tags,
                "place": { "street": word(random, 30), "number": random.below(200), "at": [random.below(90), random.below(180)] },
                "parent": null,
            })
        })
        .collect()
}

/// Some records get more fields, some lose them, some are cut down.
fn change(document: &mut Value, random: &mut Random) {
    let Value::Array(records) = document else { return };
    for record in records.iter_mut().filter_map(Value::as_object_mut) {
        if random.below(CHANGED) > 0 {
            continue;
        }
        match random.below(3) {
            0 => add_history(record, random),
            1 => {
                record.remove("note");
                record.remove("place");
            }
            _ => {
                record.insert("name".into(), Value::String(word(random, 60)));
            }
        }
    }
    records
        .retain(|record| !record["active"].as_bool().unwrap_or(false) || record["id"].as_u64().unwrap_or(0) % 7 != 0);
}

fn add_history(record: &mut Map<String, Value>, random: &mut Random) {
    let history = (0..random.between(1, 8)).map(|_| (word(random, 10), Value::String(text(random)))).collect();
    record.insert("history".into(), Value::Object(history));
}

/// A word of up to `longest` letters.
fn word(random: &mut Random, longest: usize) -> String {
    (0..random.between(3, longest)).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

/// Some words, now and then one that must be escaped.
fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(20) {
        text.push_str(&word(random, 9));
        text.push(if random.below(10) == 0 { '\n' } else { ' ' });
    }
    text
}
