//! The allocator's configuration as the launcher hands it to the program: the variable `FAIRGROUND_CONF`.

use fairground_allocator::config;
use std::ffi::OsString;

/// Name of the variable.
pub const VARIABLE: &str = config::VARIABLE;

/// What the variable is to hold: what it holds already, and the additions after it, for the last mention of a key counts.
pub fn compose(existing: Option<OsString>, additions: &[(&str, String)]) -> OsString {
    let mut all = existing.unwrap_or_default();
    for (key, value) in additions {
        if !all.is_empty() {
            all.push(",");
        }
        all.push(format!("{key}:{value}"));
    }
    all
}

/// What is wrong with a setting, in the allocator's own words; None if it would be taken.
pub fn complaint(key: &str, value: &str) -> Option<String> {
    let mut text = Vec::new();
    config::check(format!("{key}:{value}").as_bytes(), |piece| text.extend_from_slice(piece));
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_come_after_what_is_there() {
        let additions = [("leaks", "true".into()), ("profile_every", "1".into())];
        assert_eq!(compose(None, &additions), "leaks:true,profile_every:1");
        assert_eq!(compose(Some("decay_ms:5".into()), &additions[..1]), "decay_ms:5,leaks:true");
        assert_eq!(compose(Some("decay_ms:5".into()), &[]), "decay_ms:5");
    }

    #[test]
    fn complaints_are_the_allocators() {
        assert_eq!(complaint("leaks", "true"), None);
        assert!(complaint("leaks", "maybe").unwrap().contains("leaks takes true or false"));
    }
}
