//! The library and the launcher under test.
//!
//! They are built here, with the release profile, because that is what users run: a debug build of an allocator is
//! another program. Cargo is asked for the path of what it built, so any target directory, profile override or
//! cross target works. Cargo's own lock orders several test processes; for all but the first it is a quick no-op.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The shared library under test.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| chosen("FAIRGROUND_LIBRARY").unwrap_or_else(|| build(&["--lib"], "libfairground.so")))
}

/// The `fairground` executable under test.
pub fn launcher() -> &'static Path {
    static LAUNCHER: OnceLock<PathBuf> = OnceLock::new();
    LAUNCHER
        .get_or_init(|| chosen("FAIRGROUND_LAUNCHER").unwrap_or_else(|| build(&["--bin", "fairground"], "fairground")))
}

/// The directory that cargo builds into.
pub fn target_directory() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

/// A path from the environment. The loader and the tests compare paths with /proc/PID/maps: links are resolved.
fn chosen(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    let path = Path::new(&value);
    Some(path.canonicalize().unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

fn build(what: &[&str], file_name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--package", "fairground-ffi", "--message-format=json-render-diagnostics"]);
    command.args(what).current_dir(workspace());
    let built = command.output().unwrap_or_else(|error| panic!("cargo cannot be run: {error}"));
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "cargo build of {what:?} failed:\n{errors}");
    let messages = String::from_utf8_lossy(&built.stdout);
    let path = artifact(&messages, file_name);
    let path = path.unwrap_or_else(|| panic!("cargo built {what:?} but named no {file_name}:\n{messages}"));
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The last string in cargo's messages that is a path ending in this file name.
fn artifact(messages: &str, file_name: &str) -> Option<PathBuf> {
    let end = format!("/{file_name}\"");
    let stop = messages.rfind(&end)? + end.len() - 1;
    let start = messages[..stop].rfind('"')? + 1;
    Some(PathBuf::from(&messages[start..stop]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/t/release/libother.rlib"],"executable":null}
{"reason":"compiler-artifact","filenames":["/t/release/libfairground.so"],"executable":null}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages, "libfairground.so"), Some("/t/release/libfairground.so".into()));
        assert_eq!(artifact(messages, "fairground"), None);
    }
}
