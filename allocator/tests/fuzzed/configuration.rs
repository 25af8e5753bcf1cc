//! Any bytes as a configuration, against a reading of our own.
//!
//! The parser under test must work without allocating and without the standard library's parsing; this one may use all of
//! that. It learns what a key allows from the text that the key itself gives to people, so text and behaviour cannot differ.
//! Both must skip the same parts, and what the parser says about one must be a line that can be printed.

use fairground_allocator::config::{KEYS, VARIABLE, check};

/// Checks that the parser skips what must be skipped, and says so.
pub fn run(bytes: &[u8]) {
    let mut said = Vec::new();
    check(bytes, |piece| said.extend_from_slice(piece));
    assert!(
        said.iter().all(|&byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()),
        "not printable: {:?}",
        String::from_utf8_lossy(&said)
    );
    let said = String::from_utf8(said).expect("printable text");
    let wanted: Vec<String> = bytes.split(|&byte| byte == b',').filter_map(complaint).collect();
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said, wanted, "about {:?}", String::from_utf8_lossy(bytes));
}

/// The line about a part that is skipped; None for one that is taken, or empty.
fn complaint(part: &[u8]) -> Option<String> {
    let part = part.trim_ascii();
    if part.is_empty() {
        return None;
    }
    let mut halves = part.splitn(2, |&byte| byte == b':');
    let name = halves.next().unwrap_or_default().trim_ascii();
    let key = KEYS.iter().find(|key| key.name.as_bytes() == name);
    let mut allowed = String::new();
    key.inspect(|key| key.allowed(|piece| allowed.push_str(piece)));
    if key.is_some() && halves.next().is_some_and(|value| is_allowed(&allowed, value.trim_ascii())) {
        return None;
    }
    let shown: String =
        part.iter().take(100).map(|&b| if (b' '..=b'~').contains(&b) { b as char } else { '?' }).collect();
    let dots = if part.len() > 100 { "..." } else { "" };
    let reason = match key {
        Some(key) => format!("{} takes {allowed}", key.name),
        None => {
            let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
            format!("allowed are KEY:VALUE, with commas between, and the keys {}", names.join(", "))
        }
    };
    Some(format!("{VARIABLE}: '{shown}{dots}' is skipped: {reason}"))
}

/// Whether a value is what the text for people allows.
fn is_allowed(allowed: &str, value: &[u8]) -> bool {
    if allowed.starts_with("a path of at most") {
        let most = allowed.split(' ').find_map(|word| word.parse().ok()).expect("a number of bytes");
        return (1..=most).contains(&value.len()) && !value.contains(&0);
    }
    let Ok(value) = std::str::from_utf8(value) else { return false };
    if allowed == "true or false" {
        return ["true", "false", "yes", "no", "on", "off", "1", "0"].contains(&value);
    }
    if let Some(bounds) = allowed.strip_prefix("a number from ") {
        let (least, most) = bounds.split_once(" to ").expect("two bounds");
        return digits(value).is_some_and(|v| digits(least) <= Some(v) && Some(v) <= digits(most));
    }
    if let Some((zero, bounds)) = allowed.strip_suffix(" (as in 64M)").and_then(|text| text.split_once("bytes from ")) {
        let (least, most) = bounds.split_once(" to ").expect("two bounds");
        let value = bytes(value);
        return value.is_some()
            && (bytes(least) <= value && value <= bytes(most) || value == Some(0) && !zero.is_empty());
    }
    allowed.split(", ").any(|word| word == value)
}

/// Saturates, for every bound is far below.
fn digits(text: &str) -> Option<u128> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| text.parse().unwrap_or(u64::MAX as u128))
}

fn bytes(text: &str) -> Option<u128> {
    let unit = text.chars().last().and_then(|last| "KMGT".find(last.to_ascii_uppercase()));
    match unit {
        Some(unit) => Some(digits(&text[..text.len() - 1])?.min(u64::MAX as u128) << (10 * (unit + 1))),
        None => digits(text),
    }
}
