//! Which allocators take part, where their libraries are, and which are missing.
//!
//! An allocator is a shared library that is preloaded; the C library's own needs none. A peer that is not installed is
//! named as missing, with the Debian package that would bring it: a comparison that silently shrinks is not believed.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// What is preloaded; not serialised, for it names places of one machine.
    #[serde(skip)]
    pub library: Option<PathBuf>,
}

/// A peer that was asked for but is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Its name in the tables.
    pub name: String,
    /// What to do about it.
    pub remedy: String,
}

/// A peer that Debian packages.
struct Packaged {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
}

const PACKAGED: &[Packaged] = &[
    Packaged { name: "jemalloc", package: "libjemalloc2", files: &["libjemalloc.so.2"] },
    Packaged { name: "mimalloc", package: "libmimalloc2.0", files: &["libmimalloc.so.2.0", "libmimalloc.so.2"] },
    Packaged { name: "tcmalloc", package: "libtcmalloc-minimal4", files: &["libtcmalloc_minimal.so.4"] },
];

/// Where distributions keep shared libraries.
fn library_folders() -> Vec<PathBuf> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    [
        format!("/usr/lib/{triplet}"),
        format!("/lib/{triplet}"),
        "/usr/lib64".into(),
        "/usr/lib".into(),
        "/usr/local/lib".into(),
    ]
    .into_iter()
    .map(PathBuf::from)
    .collect()
}

/// The names of the peers that take part unless others are asked for.
pub fn default_names() -> String {
    std::iter::once(GLIBC).chain(PACKAGED.iter().map(|p| p.name)).collect::<Vec<_>>().join(",")
}

/// Finds the allocators of a run: ours (if `ours` is there), glibc always, and what `names` asks for. A name is one of the
/// known peers or `NAME=PATH`. The reference comes first.
pub fn resolve(ours: Option<&Path>, names: &str) -> Result<(Vec<Allocator>, Vec<Missing>), String> {
    let mut missing = Vec::new();
    let mut allocators = Vec::new();
    if let Some(library) = ours {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        allocators.push(Allocator { name: OURS.into(), role: Role::Reference, version, library: Some(library.into()) });
    } else {
        let remedy = "build it: cargo build --release -p fairground-ffi; or name it by --library".into();
        missing.push(Missing { name: OURS.into(), remedy });
    }
    let role = if ours.is_some() { Role::Peer } else { Role::Reference };
    allocators.push(Allocator { name: GLIBC.into(), role, version: glibc_version(), library: None });
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != GLIBC) {
        match find(name)? {
            Ok(allocator) if allocators.iter().any(|a| a.name == allocator.name) || allocator.name == CONTROL => {
                return Err(format!("two allocators are named {}", allocator.name));
            }
            Ok(allocator) => allocators.push(allocator),
            Err(absent) => missing.push(absent),
        }
    }
    Ok((allocators, missing))
}

/// Puts the control behind the reference: a copy of its library in the folder `scratch`, or glibc a second time.
pub fn add_control(allocators: &mut Vec<Allocator>, scratch: &Path) -> Result<(), String> {
    let reference = allocators.first().ok_or("there is no allocator to control")?;
    let library = match &reference.library {
        Some(library) => {
            let copy = scratch.join("libcontrol.so");
            std::fs::copy(library, &copy).map_err(|e| format!("cannot copy {}: {e}", library.display()))?;
            Some(copy)
        }
        None => None,
    };
    let version = format!("the same as {}", reference.name);
    allocators.insert(1, Allocator { name: CONTROL.into(), role: Role::Control, version, library });
    Ok(())
}

fn find(name: &str) -> Result<Result<Allocator, Missing>, String> {
    if let Some((name, path)) = name.split_once('=') {
        let library = PathBuf::from(path);
        if !library.is_file() {
            return Ok(Err(Missing { name: name.into(), remedy: "the file that was given does not exist".into() }));
        }
        let library = library.canonicalize().map_err(|e| format!("{path}: {e}"))?;
        let version = library.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(Ok(Allocator { name: name.into(), role: Role::Peer, version, library: Some(library) }));
    }
    let Some(packaged) = PACKAGED.iter().find(|p| p.name == name) else {
        return Err(format!("no peer named '{name}'; known are {} and NAME=PATH", default_names()));
    };
    let candidates =
        library_folders().into_iter().flat_map(|folder| packaged.files.iter().map(move |file| folder.join(file)));
    Ok(match candidates.into_iter().find(|path| path.is_file()) {
        Some(library) => {
            let version = package_version(packaged.package).unwrap_or_else(|| "version unknown".into());
            Ok(Allocator { name: name.into(), role: Role::Peer, version, library: Some(library) })
        }
        None => Err(Missing { name: name.into(), remedy: format!("apt-get install {}", packaged.package) }),
    })
}

fn package_version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then_some(version)
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
    use super::{GLIBC, Role, add_control, resolve};

    #[test]
    fn without_our_library_glibc_is_the_reference_and_runs_twice() {
        let (mut allocators, missing) = resolve(None, GLIBC).unwrap();
        add_control(&mut allocators, &std::env::temp_dir()).unwrap();
        assert_eq!(allocators.iter().map(|a| a.role).collect::<Vec<_>>(), [Role::Reference, Role::Control]);
        assert_eq!(missing.len(), 1);
    }

    #[test]
    fn an_absent_file_is_missing_and_an_unknown_name_is_an_error() {
        let (_, missing) = resolve(None, "other=/nonexistent/lib.so").unwrap();
        assert_eq!(missing[1].name, "other");
        assert!(resolve(None, "nosuch").is_err());
    }
}
