//! The peers that are known by name: where each comes from, and what of it this machine has.
//!
//! * **Built** from the sources that crates carry, by `benches/peers/build.sh`, into the folder `peers` of the target
//!   directory: a library to preload, the workload program linked with it, or both, and a text with its version.
//! * **Debian's** packages: a library only. Those which are also built are older here, but they are what users have.
//!
//! Versions are those that the crates, their sources or dpkg tell. A part that is not there is told of with what to do.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of a peer is here.
pub struct Found {
    /// The version of the allocator.
    pub version: String,
    /// The crate or package it comes from.
    pub source: String,
    /// To be preloaded.
    pub library: Option<PathBuf>,
    /// The workload program that has it for its global allocator.
    pub program: Option<PathBuf>,
    /// What it could have and has not.
    pub missing: Vec<Missing>,
}

/// A peer, or a part of one, that was asked for but is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// Its name in the tables.
    pub name: String,
    /// What to do about it.
    pub remedy: String,
}

/// A peer that is known by name.
pub struct Known {
    /// Its name in the tables.
    pub name: &'static str,
    source: Source,
}

enum Source {
    /// `build.sh` makes the workload program, and a library too unless the peer is for Rust only.
    Built { library: bool },
    /// The files that the package may have its library as.
    Debian { package: &'static str, files: &'static [&'static str] },
}

/// All of them, in the order of the tables.
pub const KNOWN: &[Known] = &[
    Known { name: "jemalloc", source: Source::Built { library: true } },
    Known { name: "mimalloc2", source: Source::Built { library: true } },
    Known { name: "mimalloc3", source: Source::Built { library: true } },
    Known { name: "rpmalloc", source: Source::Built { library: true } },
    Known { name: "snmalloc", source: Source::Built { library: true } },
    Known {
        name: "tcmalloc",
        source: Source::Debian { package: "libtcmalloc-minimal4", files: &["libtcmalloc_minimal.so.4"] },
    },
    Known { name: "debian-jemalloc", source: Source::Debian { package: "libjemalloc2", files: &["libjemalloc.so.2"] } },
    Known {
        name: "debian-mimalloc",
        source: Source::Debian { package: "libmimalloc2.0", files: &["libmimalloc.so.2.0", "libmimalloc.so.2"] },
    },
    Known { name: "numalloc", source: Source::Built { library: false } },
    Known { name: "rusty_alloc", source: Source::Built { library: false } },
    Known { name: "sefer-alloc", source: Source::Built { library: false } },
    Known { name: "stoolap-jemalloc", source: Source::Built { library: false } },
];

impl Known {
    /// What is here of it; `built` is the folder that `build.sh` fills.
    pub fn find(&self, built: &Path) -> Found {
        match self.source {
            Source::Built { library } => find_built(self.name, library, built),
            Source::Debian { package, files } => find_packaged(self.name, package, files),
        }
    }
}

const NOT_BUILT: &str = "not built yet: benches/peers/build.sh";

fn find_built(name: &str, with_library: bool, folder: &Path) -> Found {
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt")));
    let tried = text.is_ok();
    let text = text.unwrap_or_default();
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    let part = |file: String| Some(folder.join(file)).filter(|path| path.is_file());
    let library = part(format!("lib{name}.so"));
    let program = part(format!("workload-{name}"));
    let mut missing = Vec::new();
    let mut need = |there: bool, key: &str, part: &str| {
        if !there && tried {
            let reason = value(key).unwrap_or_else(|| NOT_BUILT.into());
            missing.push(Missing { name: name.into(), remedy: format!("{part}: {reason}") });
        }
    };
    need(!with_library || library.is_some(), "missing-library", "to preload");
    need(program.is_some(), "missing-program", "for Rust");
    if !tried {
        missing.push(Missing { name: name.into(), remedy: NOT_BUILT.into() });
    }
    let version = value("version").unwrap_or_else(|| "version unknown".into());
    Found { version, source: value("source").unwrap_or_else(|| "crate".into()), library, program, missing }
}

fn find_packaged(name: &str, package: &str, files: &[&str]) -> Found {
    let candidates = library_folders().into_iter().flat_map(|folder| files.iter().map(move |file| folder.join(file)));
    let library = candidates.into_iter().find(|path| path.is_file());
    let missing = match library {
        Some(_) => Vec::new(),
        None => vec![Missing { name: name.into(), remedy: format!("apt-get install {package}") }],
    };
    let version = library.as_ref().and_then(|_| package_version(package));
    Found {
        version: version.unwrap_or_else(|| "version unknown".into()),
        source: format!("package {package}"),
        library,
        program: None,
        missing,
    }
}

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

fn package_version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, find_built, find_packaged};

    /// A folder as `build.sh` leaves it: what each test puts there.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_built_is_found_with_its_version() {
        let text = "version=3.2.1\nsource=crate a-sys 0.1\n";
        let folder = folder(&[("a.txt", text), ("liba.so", ""), ("workload-a", "")]);
        let found = find_built("a", true, folder.path());
        assert_eq!((found.version.as_str(), found.source.as_str()), ("3.2.1", "crate a-sys 0.1"));
        assert!(found.library.is_some() && found.program.is_some() && found.missing.is_empty());
    }

    #[test]
    fn a_part_that_could_not_be_built_is_missing_with_the_reason_and_the_other_takes_part() {
        let text = "version=1\nmissing-library=no g++: apt-get install g++\n";
        let folder = folder(&[("a.txt", text), ("workload-a", "")]);
        let found = find_built("a", true, folder.path());
        assert!(found.library.is_none() && found.program.is_some());
        assert_eq!(found.missing.len(), 1);
        assert_eq!(found.missing[0].remedy, "to preload: no g++: apt-get install g++");
    }

    #[test]
    fn a_peer_for_rust_only_lacks_no_library() {
        let folder = folder(&[("a.txt", "version=1\n"), ("workload-a", "")]);
        assert!(find_built("a", false, folder.path()).missing.is_empty());
    }

    #[test]
    fn what_was_never_built_or_installed_says_how() {
        let folder = folder(&[]);
        let found = find_built("a", true, folder.path());
        assert_eq!(found.missing.len(), 1);
        assert!(found.missing[0].remedy.contains("benches/peers/build.sh"));
        assert_eq!(find_packaged("b", "libb9", &["libb.so.9"]).missing[0].remedy, "apt-get install libb9");
    }

    #[test]
    fn every_peer_that_is_built_is_a_feature_of_the_peers_package_and_known_to_the_script() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/");
        let manifest = std::fs::read_to_string(format!("{here}Cargo.toml")).unwrap();
        let script = std::fs::read_to_string(format!("{here}build.sh")).unwrap();
        for known in KNOWN {
            if let super::Source::Built { library } = known.source {
                assert!(manifest.contains(&format!("\n{} = [", known.name)), "no feature {}", known.name);
                let line = script.lines().find(|line| line.split(' ').next() == Some(known.name));
                assert_eq!(line.map(|line| line.contains(" library")), Some(library), "{} in build.sh", known.name);
            }
        }
    }
}
