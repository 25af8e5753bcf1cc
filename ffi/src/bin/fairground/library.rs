//! Where libfairground.so is.
//!
//! Asked in this order: `--library`, the variable FAIRGROUND_LIBRARY, then places relative to the executable: next to
//! it (a build directory: target/release), in ../lib, ../lib64 and ../lib/fairground (an installation), and next to
//! its parent (a test binary in target/release/deps). The first that exists is taken. Relative to the executable, not
//! to a prefix fixed at build time, so that an installation can be moved.
//!
//! `LD_PRELOAD` is a list separated by spaces and colons and has no quoting: a path with either cannot be expressed,
//! and the loader would look for its pieces. Such a path is refused here rather than ignored there.

use crate::elf::{self, Facts, Unreadable};
use crate::refusal::Refusal;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub const FILE_NAME: &str = "libfairground.so";
const VARIABLE: &str = "FAIRGROUND_LIBRARY";

/// A library that exists, can be named in `LD_PRELOAD`, and is one.
pub struct Library {
    pub path: PathBuf,
    pub facts: Facts,
}

/// Finds the library; `chosen` is what `--library` said.
pub fn find(chosen: Option<&Path>) -> Result<Library, Refusal> {
    let path = match chosen.map(|path| (path.to_owned(), "--library")) {
        Some(choice) => named(choice)?,
        None => match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(value) => named((value.into(), VARIABLE))?,
            None => beside_executable(&env::current_exe().unwrap_or_default())?,
        },
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    check_expressible(&path)?;
    let facts = elf::inspect(&path).map_err(|error| {
        let why = match error {
            Unreadable::Io(error) => error.to_string(),
            Unreadable::Malformed(error) => format!("a damaged ELF file: {error}"),
            Unreadable::NotElf => "not an ELF file".into(),
        };
        Refusal::launcher(
            format!("cannot use the library {}: {why}", path.display()),
            "name a shared library with --library, or build it again: cargo build --release -p fairground-ffi",
        )
    })?;
    Ok(Library { path, facts })
}

fn named((path, origin): (PathBuf, &str)) -> Result<PathBuf, Refusal> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Refusal::launcher(
        format!("{origin} names {}, which is not a file", path.display()),
        format!("give the path of {FILE_NAME}, or leave {origin} out to have it searched for"),
    ))
}

/// The places to look in, for an executable at `executable`.
fn candidates(executable: &Path) -> Vec<PathBuf> {
    // /usr/local/bin/fairground may be a link into an installation elsewhere: that one's library is meant.
    let executable = executable.canonicalize().unwrap_or_else(|_| executable.to_owned());
    let Some(here) = executable.parent() else { return Vec::new() };
    let mut places = vec![here.join(FILE_NAME)];
    if let Some(parent) = here.parent() {
        for lib in ["lib", "lib64", "lib/fairground"] {
            places.push(parent.join(lib).join(FILE_NAME));
        }
        places.push(parent.join(FILE_NAME));
        // `cargo run` builds the launcher alone, in target/debug; the library is mostly built for release.
        places.push(parent.join("release").join(FILE_NAME));
    }
    places
}

fn beside_executable(executable: &Path) -> Result<PathBuf, Refusal> {
    let places = candidates(executable);
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let list: Vec<String> = places.iter().map(|place| format!("\n    {}", place.display())).collect();
    Err(Refusal::launcher(
        format!("{FILE_NAME} not found; looked for ({VARIABLE} is not set){}", list.concat()),
        format!(
            "build it (cargo build --release -p fairground-ffi), or name it with --library PATH or {VARIABLE}=PATH"
        ),
    ))
}

fn check_expressible(path: &Path) -> Result<(), Refusal> {
    let separator = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    match path.as_os_str().as_bytes().iter().find(|byte| separator(byte)) {
        None => Ok(()),
        Some(&byte) => Err(Refusal::launcher(
            format!(
                "the library's path {} contains {:?}, which separates names in LD_PRELOAD and cannot be quoted there",
                path.display(),
                char::from(byte)
            ),
            "copy or link the library to a path without spaces and colons",
        )),
    }
}

/// The value of `LD_PRELOAD`: the library first, then what was there, without a second mention of the library.
pub fn preload_value(library: &Path, existing: Option<&OsStr>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    let existing = existing.map(OsStr::as_bytes).unwrap_or_default();
    for name in existing.split(|byte| *byte == b':' || *byte == b' ').filter(|name| !name.is_empty()) {
        if name != library.as_os_str().as_bytes() {
            value.push(":");
            value.push(OsStr::from_bytes(name));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_goes_before_what_is_preloaded_already_and_only_once() {
        let library = Path::new("/opt/libfairground.so");
        let value = |existing: Option<&str>| preload_value(library, existing.map(OsStr::new)).into_string().unwrap();
        assert_eq!(value(None), "/opt/libfairground.so");
        assert_eq!(value(Some("")), "/opt/libfairground.so");
        assert_eq!(value(Some("libfaketime.so")), "/opt/libfairground.so:libfaketime.so");
        assert_eq!(value(Some("a.so b.so:c.so")), "/opt/libfairground.so:a.so:b.so:c.so");
        assert_eq!(value(Some("a.so /opt/libfairground.so")), "/opt/libfairground.so:a.so");
    }

    #[test]
    fn a_path_that_the_preload_list_would_split_is_refused() {
        for path in ["/my files/libfairground.so", "/a:b/libfairground.so"] {
            let refusal = check_expressible(Path::new(path)).unwrap_err();
            assert!(refusal.what().contains(path), "{refusal}");
        }
        check_expressible(Path::new("/opt/libfairground.so")).unwrap();
    }

    #[test]
    fn an_installation_is_searched_relative_to_the_executable() {
        let dir = tempfile::tempdir().unwrap();
        let executable = dir.path().join("bin/fairground");
        std::fs::create_dir_all(executable.parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.path().join("lib")).unwrap();
        std::fs::write(&executable, "").unwrap();
        let refusal = beside_executable(&executable).unwrap_err();
        assert!(refusal.what().contains("/lib/libfairground.so"), "{refusal}");

        std::fs::write(dir.path().join("lib").join(FILE_NAME), "").unwrap();
        let found = beside_executable(&executable).unwrap();
        assert_eq!(found, dir.path().canonicalize().unwrap().join("lib").join(FILE_NAME));
    }
}
