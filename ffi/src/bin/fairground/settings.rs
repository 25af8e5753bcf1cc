//! The allocator's configuration as the launcher hands it to the program: the variable `FAIRGROUND_CONF`.

use crate::refusal::Refusal;
use fairground_allocator::config;
use std::ffi::OsString;
use std::path::{self, Path};

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

/// What is wrong with a text of settings, in the allocator's own words; None if all would be taken.
pub fn complaints(settings: &str) -> Option<String> {
    let mut text = Vec::new();
    config::check(settings.as_bytes(), |piece| text.extend_from_slice(piece));
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).trim().to_owned())
}

/// A file's path as a value, whichever directory the program changes to. `option` is named if it cannot be one.
pub fn absolute(option: &str, file: &Path) -> Result<String, Refusal> {
    let path = path::absolute(file).ok().and_then(|path| path.into_os_string().into_string().ok());
    let path = path.filter(|path| !path.contains(','));
    path.ok_or_else(|| {
        Refusal::launcher(
            format!("{option} {}: the path cannot be handed to the program", file.display()),
            "name a file whose whole path is UTF-8 and has no comma",
        )
    })
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
        assert_eq!(complaints("leaks:true"), None);
        assert!(complaints("leaks:maybe").unwrap().contains("leaks takes true or false"));
    }
}
