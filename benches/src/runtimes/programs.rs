//! Which runtimes take part.
//!
//! `benches/runtimes/build.sh` puts the programs into one folder, each with a text of its version and source, or of the reason why
//! it could not be built. A runtime that is not there is named as missing with what would bring it.

pub use crate::compare::peers::{CONTROL, Missing, OURS, Role};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Every runtime that is known, in the order of the tables.
pub const KNOWN: [&str; 6] = [OURS, "go", "may", "tokio", "smol", "threads"];

/// The load generator in the programs' folder.
pub const ECHO_LOAD: &str = "echo-load";

/// One runtime of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Runtime {
    /// Its name in the tables.
    pub name: String,
    /// Why it is there.
    pub role: Role,
    /// The version.
    pub version: String,
    /// Where it comes from.
    pub source: String,
    /// The program; not serialised, for it names a place of one machine.
    #[serde(skip)]
    pub program: PathBuf,
}

/// Finds those of the runtimes `names` (separated by commas, `all` for the known ones) that are in `folder`, in the order of
/// the tables, the first as the reference.
pub fn resolve(folder: &Path, names: &str) -> Result<(Vec<Runtime>, Vec<Missing>), String> {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if let Some(name) = names.iter().find(|name| **name != "all" && !KNOWN.contains(name)) {
        return Err(format!("no runtime '{name}'; known: {}, all", KNOWN.join(", ")));
    }
    let (mut runtimes, mut missing) = (Vec::new(), Vec::new());
    for name in KNOWN.into_iter().filter(|name| names.contains(&"all") || names.contains(name)) {
        match find(folder, name) {
            Ok(runtime) => runtimes.push(runtime),
            Err(remedy) => missing.push(Missing { name: name.into(), remedy }),
        }
    }
    if let Some(first) = runtimes.first_mut() {
        first.role = Role::Reference;
    }
    Ok((runtimes, missing))
}

fn find(folder: &Path, name: &str) -> Result<Runtime, String> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if let Some(reason) = value("missing") {
        return Err(reason.into());
    }
    let program = folder.join(format!("runtime-{name}"));
    if !program.is_file() {
        return Err(format!("benches/runtimes/build.sh {name} builds it"));
    }
    let said = |key: &str| value(key).unwrap_or("unknown").to_owned();
    Ok(Runtime { name: name.into(), role: Role::Peer, version: said("version"), source: said("source"), program })
}

/// Puts the control behind the reference: a copy of its program in the folder `scratch`.
pub fn add_control(runtimes: &mut Vec<Runtime>, scratch: &Path) -> Result<(), String> {
    let mut control = runtimes.first().ok_or("no runtime is there; benches/runtimes/build.sh builds them")?.clone();
    let copy = scratch.join("runtime-control");
    std::fs::copy(&control.program, &copy).map_err(|e| format!("cannot copy {}: {e}", control.program.display()))?;
    control.program = copy;
    control.version = format!("the same as {}", control.name);
    control.name = CONTROL.into();
    control.role = Role::Control;
    runtimes.insert(1, control);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Role, add_control, resolve};
    use std::path::Path;

    fn put(folder: &Path, name: &str, text: &str) {
        std::fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn what_is_there_takes_part_and_what_is_not_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "runtime-tokio", "");
        put(folder.path(), "tokio.txt", "version=1.2\nsource=crate tokio 1.2\n");
        put(folder.path(), "runtime-go", "left from an earlier build");
        put(folder.path(), "go.txt", "missing=no pip: apt-get install python3-pip\n");
        let (mut runtimes, missing) = resolve(folder.path(), "all").unwrap();
        assert_eq!(runtimes.len(), 1);
        assert_eq!((runtimes[0].version.as_str(), runtimes[0].role), ("1.2", Role::Reference));
        let names: Vec<&str> = missing.iter().map(|missing| missing.name.as_str()).collect();
        assert_eq!(names, ["fairground", "go", "may", "smol", "threads"]);
        assert_eq!(missing[1].remedy, "no pip: apt-get install python3-pip");
        assert!(missing[2].remedy.contains("build.sh may"));
        add_control(&mut runtimes, folder.path()).unwrap();
        assert_eq!(runtimes[1].role, Role::Control);
        assert!(runtimes[1].program.is_file());
    }

    #[test]
    fn a_selection_keeps_the_order_of_the_tables() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["runtime-tokio", "runtime-go", "runtime-smol"] {
            put(folder.path(), name, "");
        }
        let (runtimes, missing) = resolve(folder.path(), "smol, go").unwrap();
        assert_eq!(runtimes.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["go", "smol"]);
        assert!(missing.is_empty());
    }

    #[test]
    fn unknown_names_and_an_empty_folder_are_errors_that_say_what_to_do() {
        assert!(resolve(Path::new("/nonexistent"), "tokyo").unwrap_err().contains("tokio"));
        let (mut none, missing) = resolve(Path::new("/nonexistent"), "all").unwrap();
        assert_eq!((none.len(), missing.len()), (0, 6));
        assert!(add_control(&mut none, Path::new("/nonexistent")).unwrap_err().contains("build.sh"));
    }
}
