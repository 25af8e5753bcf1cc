//! git: all objects of a repository are packed anew, with every delta searched again.
//!
//! The history is imported once into a repository that is never touched again; each run works on a clone of it that shares its
//! files by hard links, so all runs read the same pack. After the run git itself checks every object, and the names of all
//! objects, which are hashes of their contents, are the answer. Making, cloning and checking run without a preload.

use super::{Digest, Place, Program, settle};
use crate::compare::process;
use fairground_tests::git_history::history;
use std::fs::{self, File};
use std::process::{Command, Stdio};

pub(super) const GIT: Program = Program {
    name: "git",
    stands_for: "git repack -a -d -f: all objects of a repository packed anew, in two threads",
    executable: "git",
    package: "git",
    prepare,
    answer,
};

/// Commits at scale 1, each with three changed files.
const COMMITS: u32 = 2000;
/// git takes one thread for each processor; fixed here so that the work is the same on all machines.
const THREADS: &str = "pack.threads=2";
/// How many objects each is compared with. Those who repack for good take more than git's 10.
const WINDOW: &str = "--window=40";

const ORIGIN: &str = "origin.git";
const COPY: &str = "copy.git";

fn prepare(place: &Place, command: &mut Command) -> Result<(), String> {
    if !place.folder.join(ORIGIN).is_dir() {
        let stream = place.write("history", &history(place.amount(COMMITS)))?;
        git(place, &["init", "-q", "--bare", "-b", "main", ORIGIN], Stdio::null())?;
        let stream = File::open(&stream).map_err(|e| format!("{}: {e}", stream.display()))?;
        git(place, &["-C", ORIGIN, "fast-import", "--quiet"], stream.into())?;
    }
    let copy = place.folder.join(COPY);
    if copy.is_dir() {
        fs::remove_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
    }
    git(place, &["clone", "-q", "--bare", "--local", ORIGIN, COPY], Stdio::null())?;
    command.arg("-C").arg(copy).args(["-c", THREADS, "repack", "-a", "-d", "-f", "-q", WINDOW]);
    Ok(())
}

fn answer(place: &Place) -> Result<String, String> {
    git(place, &["-C", COPY, "fsck", "--full", "--strict", "--no-progress"], Stdio::null())?;
    let objects = git(place, &["-C", COPY, "rev-list", "--objects", "--all"], Stdio::null())?;
    let mut digest = Digest::new();
    digest.add(&objects);
    let count = objects.iter().filter(|&&byte| byte == b'\n').count();
    Ok(format!("{count} objects {}", digest.text()))
}

/// Runs git without a preload, and returns what it said.
fn git(place: &Place, arguments: &[&str], input: Stdio) -> Result<Vec<u8>, String> {
    let mut command = Command::new(&place.executable);
    command.args(arguments).current_dir(&place.folder).stdin(input);
    process::preload(&mut command, None);
    settle(&mut command, &place.folder);
    let output = command.output().map_err(|e| format!("cannot start git: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("git {}: {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
