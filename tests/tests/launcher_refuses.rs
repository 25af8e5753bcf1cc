//! `fairground run` says no, with the reason and a way out, to what preloading cannot reach; with the statuses of
//! env(1): 125 the launcher, 126 cannot be run, 127 not found.

use fairground_tests::{Need, Run, launcher, require, temp_dir};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Any library of this machine: the refusals do not depend on what it does.
fn some_library() -> PathBuf {
    fairground_tests::library().to_owned()
}

fn refusal(arguments: &[&str], status: i32) -> String {
    let run = Run::new(launcher()).args(["run", "--library"]).args([some_library()]).args(arguments);
    let outcome = run.outcome();
    assert_eq!(outcome.status.code(), Some(status), "{}", outcome.describe());
    assert!(outcome.stdout.is_empty(), "{}", outcome.describe());
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(text.contains("what to do: "), "no way out is named:\n{text}");
    text
}

fn write(path: &Path, content: &[u8], mode: u32) -> String {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_static_program() {
    let Some([gcc]) = require("launcher_static", [Need("gcc", "gcc libc6-dev")]) else { return };
    let dir = temp_dir();
    let (source, output) = (dir.path().join("main.c"), dir.path().join("static"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    Run::new(&gcc).args(["-static".as_ref(), "-o".as_ref(), output.as_os_str(), source.as_os_str()]).text();
    let path = output.to_str().unwrap();
    assert!(refusal(&["--", path], 126).contains("statically linked"));

    // A script whose interpreter is static is no better; nor is asking for the assignment only.
    let script = write(&dir.path().join("script"), format!("#!{path}\n").as_bytes(), 0o755);
    assert!(refusal(&["--", &script], 126).contains("statically linked"));
    assert!(refusal(&["--print-env", "--", path], 126).contains("statically linked"));

    // --force runs it all the same, and says what is wrong.
    let forced = Run::new(launcher()).args(["run", "--force", "--library"]).args([some_library()]).args(["--", path]);
    let outcome = forced.outcome();
    outcome.assert_success();
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("warning: "), "{}", outcome.describe());
}

#[test]
fn a_setuid_or_setgid_program() {
    let dir = temp_dir();
    let program = fs::read(fairground_tests::program::find("true").unwrap()).unwrap();
    let setuid = write(&dir.path().join("setuid"), &program, 0o4755);
    let text = refusal(&["--", &setuid], 126);
    assert!(text.contains("setuid (mode 4755)") && text.contains(&setuid), "{text}");
    let setgid = write(&dir.path().join("setgid"), &program, 0o2755);
    assert!(refusal(&["--", &setgid], 126).contains("setgid (mode 2755)"));
    let plain = write(&dir.path().join("plain"), &program, 0o755);
    Run::new(launcher()).args(["run", "--library"]).args([some_library()]).args(["--", &plain]).text();
}

#[test]
fn a_program_of_another_machine_or_a_damaged_one() {
    let dir = temp_dir();
    let mut bytes = fs::read(fairground_tests::program::find("true").unwrap()).unwrap();
    bytes[18..20].copy_from_slice(&0x15u16.to_le_bytes()); // EM_PPC64
    let foreign = write(&dir.path().join("foreign"), &bytes, 0o755);
    assert!(refusal(&["--", &foreign], 126).contains("is for powerpc64, 64-bit"));

    bytes[4] = 1; // ELFCLASS32
    let narrow = write(&dir.path().join("narrow"), &bytes, 0o755);
    let text = refusal(&["--", &narrow], 126);
    assert!(text.contains("32-bit") || text.contains("damaged"), "{text}");

    let cut = write(&dir.path().join("cut"), &bytes[..40], 0o755);
    assert!(refusal(&["--", &cut], 126).contains("damaged ELF file"));
    let data = write(&dir.path().join("data"), b"\0\x01\x02\x03", 0o755);
    assert!(refusal(&["--", &data], 126).contains("neither an ELF executable nor a script"));
    let empty = write(&dir.path().join("empty"), b"", 0o755);
    assert!(refusal(&["--", &empty], 126).contains("neither an ELF executable nor a script"));
}

#[test]
fn what_is_missing_or_not_executable() {
    let dir = temp_dir();
    let text = refusal(&["--", "no-such-program-anywhere"], 127);
    assert!(text.contains("no-such-program-anywhere: not found in PATH"), "{text}");
    assert!(refusal(&["--", "./no/such/path"], 127).contains("no such file"));
    let plain = write(&dir.path().join("plain"), b"#!/bin/sh\n", 0o644);
    assert!(refusal(&["--", &plain], 126).contains("not executable (mode 0644)"));
    assert!(refusal(&["--", dir.path().to_str().unwrap()], 126).contains("is a directory"));
    let lost = write(&dir.path().join("lost"), b"#!/no/such/interpreter -x\n", 0o755);
    assert!(refusal(&["--", &lost], 126).contains("/no/such/interpreter"));
}

#[test]
fn a_library_that_is_not_there_or_none() {
    let dir = temp_dir();
    let missing = dir.path().join("missing.so");
    let case = |library: &Path, expected: &str| {
        let outcome = Run::new(launcher()).args(["run", "--library"]).args([library]).args(["--", "true"]).outcome();
        assert_eq!(outcome.status.code(), Some(125), "{}", outcome.describe());
        let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(text.contains(expected) && text.contains("what to do: "), "{text}");
    };
    case(&missing, "missing.so, which is not a file");
    let text = dir.path().join("text.so");
    fs::write(&text, "not a library").unwrap();
    case(&text, "not an ELF file");
    let spaced = dir.path().join("with space.so");
    fs::copy(some_library(), &spaced).unwrap();
    case(&spaced, "cannot be quoted");

    // A launcher alone in a directory finds no library, and says where it looked.
    let alone = dir.path().join("bin");
    fs::create_dir(&alone).unwrap();
    fs::copy(launcher(), alone.join("fairground")).unwrap();
    let outcome =
        Run::new(alone.join("fairground")).args(["run", "--", "true"]).env("FAIRGROUND_LIBRARY", "").outcome();
    assert_eq!(outcome.status.code(), Some(125), "{}", outcome.describe());
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let place = dir.path().canonicalize().unwrap().join("lib/libfairground.so");
    assert!(text.contains(place.to_str().unwrap()), "{text}");
}

#[test]
fn settings_that_the_allocator_would_skip() {
    let text = refusal(&["--conf", "arenas:2,decay_ms:never", "--", "true"], 125);
    assert!(text.contains("'decay_ms:never' is skipped: decay_ms takes a number from 0 to 3600000"), "{text}");
    assert!(refusal(&["--conf", "no_such:1", "--", "true"], 125).contains("allowed are KEY:VALUE"));
    assert!(refusal(&["--stats", "--stats-to", "/a,b", "--", "true"], 125).contains("has no comma"));
}

#[test]
fn bad_arguments() {
    for arguments in [
        &["run"][..],
        &["run", "--no-such-option"],
        &["run", "--stats=xml", "true"],
        &["run", "--stats-to", "file", "true"],
        &["walk"],
        &[],
        &["demo", "--only", "abacus"],
    ] {
        let outcome = Run::new(launcher()).args(arguments).outcome();
        assert_eq!(outcome.status.code(), Some(125), "{arguments:?}: {}", outcome.describe());
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
    }
}
