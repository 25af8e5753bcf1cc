//! Where programs are, and what happens when one is missing.
//!
//! A missing program is never a silent pass: the test says SKIPPED with the package to install, on the real stderr
//! (the test harness captures only the macros), and in `skipped-tests.txt` in the target directory, which `make test`
//! prints at its end. With `FAIRGROUND_REQUIRE_ALL=1` it fails instead.
//!
//! Wrappers are passed over: many machines have a script of a program's name early in PATH (a version manager's shim);
//! the first ELF executable is the program itself.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::build;

/// A program a test needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Need(pub &'static str, pub &'static str);

/// The paths of the programs, in order; or none, and the skip is reported. The caller then returns.
pub fn require<const N: usize>(test: &str, needs: [Need; N]) -> Option<[PathBuf; N]> {
    let found = needs.map(|need| find(need.0));
    if found.iter().all(Option::is_some) {
        return Some(found.map(Option::unwrap_or_default));
    }
    let missing: Vec<Need> = needs.into_iter().filter(|need| find(need.0).is_none()).collect();
    let programs: Vec<&str> = missing.iter().map(|need| need.0).collect();
    let mut packages: Vec<&str> = missing.iter().map(|need| need.1).collect();
    packages.dedup();
    skip(test, &format!("{} not found (apt-get install {})", programs.join(", "), packages.join(" ")));
    None
}

/// Reports that a test could not run; panics if every test has to.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    assert!(env::var_os("FAIRGROUND_REQUIRE_ALL").is_none_or(|value| value != "1"), "FAIRGROUND_REQUIRE_ALL=1: {line}");
    let _ = std::io::stderr().write_all(line.as_bytes());
    let path = build::target_directory().join("skipped-tests.txt");
    let report = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = report.and_then(|mut file| file.write_all(line.as_bytes())) {
        panic!("cannot report a skipped test in {}: {error}", path.display());
    }
}

/// The first ELF executable of this name in PATH, or in the server directories Debian keeps out of it.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(["/usr/sbin".into(), "/sbin".into()]);
    directories.extend(postgresql_directories());
    directories.into_iter().map(|dir| dir.join(name)).find(|path| is_elf_executable(path))
}

/// /usr/lib/postgresql/VERSION/bin, the newest version first.
fn postgresql_directories() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn is_elf_executable(path: &Path) -> bool {
    let executable = path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let mut magic = [0; 4];
    executable && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_scripts_passed_over() {
        let sh = find("sh").expect("every Linux has sh");
        assert!(is_elf_executable(&sh));
        assert_eq!(find("no-such-program-anywhere"), None);
        let dir = crate::temp_dir();
        let script = dir.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!is_elf_executable(&script));
    }
}
