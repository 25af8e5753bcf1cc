//! Which allocators take part in a run, and by which door each serves a program.
//!
//! A program written in C gets an allocator by preloading its library; the C library's own needs none. A workload written in
//! Rust runs in the program that is linked with the allocator, for that is how Rust programs use one. Where there is no such
//! program (there is no crate, or a library was named by its path) it runs preloaded, which is how one uses that in
//! Rust. An allocator that exists for Rust only takes no part in rows of C programs.
//!
//! A peer that is not there is named as missing, with what would bring it: a comparison that silently shrinks is not
//! believed. Which peers are known by name, and where they are, is [`catalogue`](super::catalogue).

pub use super::catalogue::Missing;
use super::catalogue::{Found, KNOWN};
use crate::workload::Kind;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The C library's own allocator: the one whose checksums all others must match.
pub const GLIBC: &str = "glibc";
/// The library under test.
pub const OURS: &str = "fairground";
/// The copy of the library under test (or a second run of the reference, if ours is missing).
pub const CONTROL: &str = "control";

/// Why an allocator is in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// All ratios are relative to it: ours, or glibc if ours is missing.
    Reference,
    /// The same as the reference: what differs is noise.
    Control,
    /// One to compare with.
    Peer,
}

/// One allocator of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Allocator {
    /// Its name in the tables.
    pub name: String,
    /// Why it is there.
    pub role: Role,
    /// The version, as far as it can be told.
    pub version: String,
    /// Where it comes from: a crate, a package, the system.
    pub source: String,
    /// What is preloaded; not serialised, for it names places of one machine.
    #[serde(skip)]
    pub library: Option<PathBuf>,
    /// The workload program that is linked with it.
    #[serde(skip)]
    pub program: Option<PathBuf>,
}

impl Allocator {
    /// An allocator that needs neither a library nor a program of its own, until it is given one.
    pub fn new(name: &str, role: Role, version: &str) -> Self {
        let (name, version, source) = (name.into(), version.into(), "this system".into());
        Self { name, role, version, source, library: None, program: None }
    }

    /// Whether programs that get their blocks by that door can run on it. Only what exists for Rust alone cannot serve C:
    /// with neither library nor program it is the C library's own.
    pub fn serves(&self, kind: Kind) -> bool {
        kind == Kind::Rust || self.library.is_some() || self.program.is_none()
    }
}

/// Where the things that take part are.
pub struct Places {
    /// The library under test, if it is there.
    pub library: Option<PathBuf>,
    /// The workload program linked with the allocator under test, if it is there and is of the same build as the library.
    pub program: Option<PathBuf>,
    /// The folder that `benches/peers/build.sh` fills.
    pub built: PathBuf,
}

impl Places {
    /// Those of a build: `folder` has the comparison itself. A `library` from elsewhere stands for another build, so that
    /// Rust workloads run with it preloaded and not in the program that this build has linked.
    pub fn of_build(folder: &Path, library: Option<PathBuf>) -> Self {
        let same = library.as_deref().and_then(Path::parent) == folder.canonicalize().ok().as_deref();
        let program = Some(folder.join("workload-fairground")).filter(|path| same && path.is_file());
        Self { library, program, built: folder.parent().unwrap_or(folder).join("peers") }
    }
}

/// Finds the allocators of a run: ours (if it is there), glibc always, and what `names` asks for, separated by commas: a known
/// peer, `NAME=PATH`, or `all` for every known one. The reference comes first.
pub fn resolve(places: &Places, names: &str) -> Result<(Vec<Allocator>, Vec<Missing>), String> {
    let mut missing = Vec::new();
    let mut allocators = Vec::new();
    let there = places.library.is_some();
    if there {
        let (library, program) = (places.library.clone(), places.program.clone());
        let ours = Allocator::new(OURS, Role::Reference, env!("CARGO_PKG_VERSION"));
        allocators.push(Allocator { source: "this build".into(), library, program, ..ours });
    } else {
        let remedy = "build it: cargo build --release -p fairground-ffi; or name it by --library".into();
        missing.push(Missing { name: OURS.into(), remedy });
    }
    let role = if there { Role::Peer } else { Role::Reference };
    allocators.push(Allocator::new(GLIBC, role, &glibc_version()));
    let given = names.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != GLIBC);
    for name in given.flat_map(|name| if name == "all" { known_names() } else { vec![name] }) {
        let found = find(name, &places.built)?;
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        if allocators.iter().any(|a| a.name == name) || name == CONTROL {
            return Err(format!("two allocators are named {name}"));
        }
        let Found { version, source, library, program, missing: absent } = found;
        missing.extend(absent);
        if library.is_some() || program.is_some() {
            let peer = Allocator::new(name, Role::Peer, &version);
            allocators.push(Allocator { source, library, program, ..peer });
        }
    }
    Ok((allocators, missing))
}

/// Puts the control behind the reference: a copy of its library in the folder `scratch`, or glibc a second time.
pub fn add_control(allocators: &mut Vec<Allocator>, scratch: &Path) -> Result<(), String> {
    let mut control = allocators.first().ok_or("there is no allocator to control")?.clone();
    if let Some(library) = &mut control.library {
        let copy = scratch.join("libcontrol.so");
        std::fs::copy(&*library, &copy).map_err(|e| format!("cannot copy {}: {e}", library.display()))?;
        *library = copy;
    }
    control.version = format!("the same as {}", control.name);
    control.name = CONTROL.into();
    control.role = Role::Control;
    allocators.insert(1, control);
    Ok(())
}

fn known_names() -> Vec<&'static str> {
    KNOWN.iter().map(|known| known.name).collect()
}

fn find(name: &str, built: &Path) -> Result<Found, String> {
    if let Some((name, path)) = name.split_once('=') {
        let (source, program) = ("named by its path".into(), None);
        let Ok(library) = Path::new(path).canonicalize() else {
            let missing = vec![Missing { name: name.into(), remedy: "the file that was given does not exist".into() }];
            return Ok(Found { version: String::new(), source, library: None, program, missing });
        };
        let version = library.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(Found { version, source, library: Some(library), program, missing: Vec::new() });
    }
    match KNOWN.iter().find(|known| known.name == name) {
        Some(known) => Ok(known.find(built)),
        None => Err(format!("no peer '{name}'; known: {GLIBC}, {}, all, and NAME=PATH", known_names().join(", "))),
    }
}

/// All allocators that are known: version, source, how each takes part on this machine, and what is missing.
pub fn list(places: &Places) -> Result<String, String> {
    let (allocators, missing) = resolve(places, "all")?;
    let mut out = String::new();
    let mut line = |[name, version, source, c, rust]: [&str; 5]| {
        let _ = writeln!(out, "{name:17} {version:16} {source:30} {c:11} {rust}");
    };
    line(["peer", "version", "source", "C", "Rust"]);
    for a in &allocators {
        let c = match (&a.library, a.serves(Kind::C)) {
            (Some(_), _) => "preloaded",
            (None, true) => "its own",
            (None, false) => "-",
        };
        let rust = if a.program.is_some() { "linked" } else { c };
        line([&a.name, &a.version, &a.source, c, rust]);
    }
    for Missing { name, remedy } in &missing {
        let _ = writeln!(out, "missing: {name} ({remedy})");
    }
    Ok(out)
}

fn glibc_version() -> String {
    // SAFETY: the function has no preconditions and returns a static string.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// The file of the C library that this process runs on. Preloading it puts the C library's malloc before that of a program
/// which is linked with another allocator.
pub fn c_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .find(|path| path.ends_with("/libc.so.6"))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::{Allocator, GLIBC, Kind, OURS, Places, Role, add_control, list, resolve};
    use std::path::Path;

    /// A build that has nothing.
    fn nowhere() -> Places {
        Places { library: None, program: None, built: "/nonexistent".into() }
    }

    #[test]
    fn without_our_library_glibc_is_the_reference_and_runs_twice() {
        let (mut allocators, missing) = resolve(&nowhere(), GLIBC).unwrap();
        add_control(&mut allocators, &std::env::temp_dir()).unwrap();
        assert_eq!(allocators.iter().map(|a| a.role).collect::<Vec<_>>(), [Role::Reference, Role::Control]);
        assert_eq!(missing.len(), 1);
    }

    #[test]
    fn an_absent_file_is_missing_and_an_unknown_name_is_an_error() {
        let (_, missing) = resolve(&nowhere(), "other=/nonexistent/lib.so").unwrap();
        assert_eq!(missing[1].name, "other");
        assert!(resolve(&nowhere(), "nosuch").is_err());
    }

    #[test]
    fn no_two_allocators_have_one_name() {
        assert!(resolve(&nowhere(), "a=/bin/sh,a=/bin/sh").is_err());
        assert!(resolve(&nowhere(), "control=/bin/sh").is_err());
    }

    #[test]
    fn what_exists_for_rust_alone_does_not_serve_c() {
        let glibc = Allocator::new(GLIBC, Role::Peer, "1");
        let linked = Allocator { program: Some("/bin/sh".into()), ..glibc.clone() };
        let both = Allocator { library: Some("/lib/liba.so".into()), ..linked.clone() };
        assert!(glibc.serves(Kind::C) && glibc.serves(Kind::Rust));
        assert!(!linked.serves(Kind::C) && linked.serves(Kind::Rust));
        assert!(both.serves(Kind::C) && both.serves(Kind::Rust));
    }

    #[test]
    fn a_library_from_elsewhere_is_not_what_the_program_beside_is_linked_with() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        std::fs::write(here.join("workload-fairground"), "").unwrap();
        assert!(Places::of_build(&here, Some(here.join("libfairground.so"))).program.is_some());
        assert!(Places::of_build(&here, Some(Path::new("/old/libfairground.so").into())).program.is_none());
    }

    #[test]
    fn the_list_names_what_is_missing() {
        let list = list(&nowhere()).unwrap();
        assert!(list.contains(&format!("missing: {OURS} ")) && list.contains("missing: snmalloc "), "{list}");
    }
}
