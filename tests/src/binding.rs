//! The proof that malloc in a process is the library's.
//!
//! A library that is mapped need not be used: a program that brings a malloc of its own keeps it. The dynamic loader
//! knows, and tells: with `LD_DEBUG=bindings` it writes, for every process, which file's reference to a symbol it
//! bound to which file's definition. `LD_BIND_NOW` makes it do so at start, for all references, so a run that does
//! next to nothing is enough. The lines go to a file per process (`LD_DEBUG_OUTPUT`), so programs that start others
//! are covered.
//!
//! One stray is legitimate: a program that is not position-independent and takes malloc's address gives it a stub of
//! its own (a canonical PLT entry), and libraries are bound to that. The stub's own reference tells where it leads.

use crate::run::{Run, temp_dir};
use crate::{Allocator, build};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Runs the program preloaded and asserts that in each of the processes named (by executable, such as `cc1plus`) all
/// references to malloc were bound to the library.
pub fn assert_binds<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>, expected: &[&str]) {
    let dir = temp_dir();
    let run = Run::on(Allocator::Fairground, program).args(arguments).dir(dir.path());
    let run =
        run.env("LD_DEBUG", "bindings,files").env("LD_DEBUG_OUTPUT", dir.path().join("ld")).env("LD_BIND_NOW", "1");
    run.text();

    let mut bound: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for entry in fs::read_dir(dir.path()).expect("reading the temporary directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with("ld.") {
            let log = fs::read(entry.path()).unwrap_or_default();
            for (name, bindings) in parse(&String::from_utf8_lossy(&log)) {
                bound.entry(name).or_default().extend(bindings);
            }
        }
    }
    let library = build::library().to_string_lossy();
    for name in expected {
        let bindings = bound.get(*name).map(Vec::as_slice).unwrap_or_default();
        assert!(!bindings.is_empty(), "no process {name} bound malloc; seen: {:?}", bound.keys());
        let is_stub = |file: &str| bindings.iter().any(|binding| binding.user == file && binding.definition == library);
        let stray = bindings.iter().find(|binding| binding.definition != library && !is_stub(&binding.definition));
        assert!(stray.is_none(), "{name} does not use the malloc of {library}: {stray:?}");
    }
}

/// One reference to malloc: who uses whose.
#[derive(Debug, PartialEq, Eq)]
struct Binding {
    user: String,
    definition: String,
}

/// The references to malloc, for each program that one log tells of (a process may exec another).
fn parse(log: &str) -> Vec<(String, Vec<Binding>)> {
    let mut programs = Vec::new();
    let mut bindings = Vec::new();
    for line in log.lines() {
        // "   1234:	binding file /bin/ls [0] to /opt/libfairground.so [0]: normal symbol `malloc' [GLIBC_2.2.5]"
        if let Some((_, binding)) = line.split_once("binding file ")
            && binding.contains("symbol `malloc'")
            && let Some((user, definition)) = binding.split_once(" to ")
        {
            let file = |text: &str| text.split(" [").next().unwrap_or_default().to_owned();
            bindings.push(Binding { user: file(user), definition: file(definition) });
        }
        // "   1234:	transferring control: /bin/ls", when everything of this program is bound.
        if let Some((_, program)) = line.split_once("transferring control: ") {
            let name = Path::new(program.trim()).file_name().unwrap_or_default();
            programs.push((name.to_string_lossy().into_owned(), std::mem::take(&mut bindings)));
        }
    }
    // What the last program loaded while it ran: a Java launcher loads its virtual machine so.
    if let Some((_, all)) = programs.last_mut() {
        all.append(&mut bindings);
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_log_is_read_by_program() {
        let log = "      7:\tbinding file sh [0] to /l/a.so [0]: normal symbol `malloc' [GLIBC_2.2.5]\n\
                   \x20     7:\tbinding file sh [0] to /l/b.so [0]: normal symbol `free' [GLIBC_2.2.5]\n\
                   \x20     7:\ttransferring control: sh\n\
                   \x20     7:\tbinding file /l/x.so [0] to /l/c.so [0]: normal symbol `malloc'\n\
                   \x20     7:\ttransferring control: /bin/ls\n";
        let programs = parse(log);
        let binding = |user: &str, definition: &str| Binding { user: user.into(), definition: definition.into() };
        assert_eq!(programs[0], ("sh".into(), vec![binding("sh", "/l/a.so")]));
        assert_eq!(programs[1], ("ls".into(), vec![binding("/l/x.so", "/l/c.so")]));
    }
}
