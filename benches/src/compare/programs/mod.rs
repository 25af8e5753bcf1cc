//! Real programs: what users run, as distributions ship it, with work that we made up.
//!
//! Each does a fixed amount of work that is mostly its own computing, about a second at scale 1, and answers on standard
//! output (git: in its repository). The answer's digest must be that of the run under the C library's allocator. Inputs
//! are the files in `inputs/`, embedded here and written to the run's scratch folder, or made by code that draws no luck.
//! Preparing and checking are outside the time. A user's own settings (files in the home folder, variables) have no part
//! in it.
//!
//! What of a program's memory is malloc's differs, and decides what a row can show. That malloc is bound to the preloaded
//! library in every one of them is checked by tests with the dynamic loader's own log; the calls were counted by a library
//! between.
//!
//! | program | calls that allocate, at scale 1 | what they are for |
//! |---|---|---|
//! | `sqlite3` | 1.2 million | everything: pages, statements, sorters |
//! | `python3` | 0.4 million, hardly any up to 512 bytes | large dicts, lists, strings; smaller ones live in arenas that Python maps |
//! | `python3-malloc` | 8 million | every object |
//! | `g++` | 1.3 million, in cc1plus | tables, vectors, bitmaps; trees live in pages that a garbage collector maps |
//! | `node` | 0.9 million | buffers, zlib, the compilers' zones; JavaScript's objects live in V8's mapped heap |
//! | `git` | 0.65 million | objects, delta indexes, hash tables; packs are mapped |
//! | `ghostscript` | 32,000, most above 512 bytes | chunks in which its objects live, large objects, bitmaps |
//! | `z3` | 0.6 million | tables and vectors; expressions live in chunks of 8 KiB |
//! | `perl` | 2.1 million | strings, arrays and hashes; the heads of scalars come in arenas of 4 KiB |
//! | `lua` | 1.7 million, all by realloc | everything: each table, string and closure is a block |
//!
//! A program is the first executable of its name in PATH that is no script: version managers put wrappers there. All run
//! alone and once in each repetition, whatever the number of threads of the workloads.

mod git;
mod scripts;
mod z3;

use super::digest::Digest;
use super::measured;
use super::sample::{Load, Sample};
use fairground_tests::program;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All programs, in the order of the tables.
pub const ALL: &[Program] = &[
    scripts::SQLITE,
    scripts::PYTHON,
    scripts::PYTHON_MALLOC,
    scripts::GXX,
    scripts::NODE,
    git::GIT,
    scripts::GHOSTSCRIPT,
    z3::Z3,
    scripts::PERL,
    scripts::LUA,
];

/// A program and its work.
pub struct Program {
    /// On the command line and in tables.
    pub name: &'static str,
    /// What kind of use it stands for.
    pub stands_for: &'static str,
    /// The file to look for in PATH.
    pub executable: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// Makes the inputs, and adds arguments and settings to the command that will run it.
    prepare: fn(&Place, &mut Command) -> Result<(), String>,
    /// What came out of it.
    answer: fn(&Place) -> Result<String, String>,
}

/// Where a program works, and how much.
struct Place {
    executable: PathBuf,
    /// Its home, and for whatever it writes.
    folder: PathBuf,
    scale: f64,
}

impl Program {
    /// Why the program cannot run on this machine, if it cannot.
    pub fn missing(&self) -> Option<String> {
        missing(&[(self.executable, self.package)])
    }

    /// Runs the program once, on `library` or, without one, on the C library's allocator.
    pub fn run(&self, library: Option<&Path>, load: &Load) -> Result<Sample, String> {
        let executable = self.find()?;
        let folder = load.scratch.join(self.name);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let place = Place { executable, folder, scale: load.scale };
        let mut command = measured::command(load, library, &place.output());
        settle(&mut command, &place.folder);
        command.arg(&place.executable);
        (self.prepare)(&place, &mut command)?;
        let mut sample = measured::run(command, load)?;
        sample.checksum = (self.answer)(&place)?;
        Ok(sample)
    }

    fn find(&self) -> Result<PathBuf, String> {
        program::find(self.executable).ok_or_else(|| format!("{} is not installed", self.executable))
    }
}

impl Place {
    /// The file with the program's standard output.
    fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Writes an input.
    fn write(&self, name: &str, contents: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, contents).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// How many of something there are, if there are `at_scale_1` at scale 1.
    fn amount(&self, at_scale_1: u32) -> u64 {
        ((f64::from(at_scale_1) * self.scale).round() as u64).max(1)
    }
}

/// What is missing of programs and their packages, if anything.
pub(super) fn missing(needs: &[(&str, &str)]) -> Option<String> {
    let absent: Vec<_> = needs.iter().filter(|(executable, _)| program::find(executable).is_none()).collect();
    let list = |part: fn(&(&str, &str)) -> String| absent.iter().map(|need| part(need)).collect::<Vec<_>>().join(" ");
    (!absent.is_empty()).then(|| {
        format!(
            "not installed: {} (apt-get install {})",
            list(|need| need.0.to_owned()),
            list(|need| need.1.to_owned())
        )
    })
}

/// Lets no settings of this user into the command.
fn settle(command: &mut Command, home: &Path) {
    for variable in
        ["GS_OPTIONS", "GS_LIB", "NODE_OPTIONS", "PERL5OPT", "PERL5LIB", "PYTHONPATH", "PYTHONHOME", "LUA_INIT"]
    {
        command.env_remove(variable);
    }
    for variable in ["CPATH", "CPLUS_INCLUDE_PATH", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "PYTHONSTARTUP"] {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("TMPDIR", home).env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1");
}

/// The digest of everything the program wrote to standard output.
fn digest_of_output(place: &Place) -> Result<String, String> {
    let path = place.output();
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.is_empty() {
        return Err("it has answered nothing".to_owned());
    }
    let mut digest = Digest::new();
    digest.add(&bytes);
    Ok(digest.text())
}

#[cfg(test)]
mod tests {
    use super::{ALL, missing};

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ALL.iter().map(|program| program.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let needs = [("sh", "dash"), ("no-such-program", "its-package")];
        let text = "not installed: no-such-program (apt-get install its-package)";
        assert_eq!(missing(&needs).as_deref(), Some(text));
        assert_eq!(missing(&needs[..1]), None);
    }
}
