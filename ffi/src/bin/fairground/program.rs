//! Which file a command name means, and which executable runs in the end.
//!
//! The kernel and execvp(3) between them follow three steps, and so does this module: PATH, the `#!` line of a script
//! (up to four deep: a script's interpreter may be a script), and /bin/sh for a text file without one. A fourth is
//! convention: `#!/usr/bin/env python3` runs env only for a moment, python3 is what the user means; so the search goes
//! on through env. What is checked for preloading is every *executable* on the way; what is executed is the name's
//! own file, exactly as without the launcher.

use crate::refusal::Refusal;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel reads this much of a file to decide what it is (BINPRM_BUF_SIZE).
const HEAD: usize = 256;
/// The kernel gives up after so many interpreters of interpreters.
const DEPTH: usize = 4;

/// What one file turns out to be.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Not a script: an ELF file or something that only looks executable.
    Binary,
    /// Begins with `#!`: the interpreter and its one argument.
    Script { interpreter: PathBuf, argument: Option<String> },
    /// Text without a `#!` line: execvp hands it to /bin/sh.
    ShellText,
}

/// A program found: the file named, and the executables that will run.
#[derive(Debug)]
pub struct Program {
    /// What exec gets.
    pub path: PathBuf,
    /// The executables (not scripts) that start on the way, the last being the one that stays.
    pub executables: Vec<PathBuf>,
}

/// Finds what `name` means, as execvp would with the PATH of this process.
pub fn find(name: &OsStr) -> Result<Program, Refusal> {
    let path = search(name)?;
    let mut executables = Vec::new();
    follow(&path, DEPTH, &mut executables)?;
    Ok(Program { path, executables })
}

/// The first executable that is not a script, of this name in PATH: for measuring a program itself, not a wrapper.
pub fn find_binary(name: &str) -> Option<PathBuf> {
    directories()
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|path| is_executable_file(path) && matches!(kind_of(path), Ok(Kind::Binary)))
}

/// The directories of PATH; what execvp(3) uses if there is no PATH.
fn directories() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).map(|dir| if dir.as_os_str().is_empty() { ".".into() } else { dir }).collect()
}

fn is_executable_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A name with a slash is a path; any other is looked up.
fn search(name: &OsStr) -> Result<PathBuf, Refusal> {
    let shown = name.to_string_lossy();
    if name.is_empty() {
        return Err(Refusal::not_found("the program's name is empty", "give a program: fairground run -- PROGRAM"));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        check_executable(&path)?;
        return Ok(path);
    }
    let directories = directories();
    if let Some(found) = directories.iter().map(|dir| dir.join(name)).find(|path| is_executable_file(path)) {
        return Ok(found);
    }
    // As the shells do: a file that is there but not executable is told from one that is not.
    if let Some(found) = directories.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) {
        check_executable(&found)?;
    }
    let list: Vec<String> = directories.iter().map(|dir| dir.display().to_string()).collect();
    Err(Refusal::not_found(
        format!("{shown}: not found in PATH ({})", list.join(":")),
        "check the spelling, install the program, or give its path",
    ))
}

fn check_executable(path: &Path) -> Result<(), Refusal> {
    let shown = path.display();
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Refusal::not_found(
                format!("{shown}: no such file"),
                "check the path; a name without a slash is looked up in PATH",
            ));
        }
        Err(error) => {
            return Err(Refusal::cannot_run(format!("{shown}: {error}"), "check the permissions of its directories"));
        }
    };
    if meta.is_dir() {
        return Err(Refusal::cannot_run(format!("{shown}: is a directory"), "name a program inside it"));
    }
    if !meta.is_file() {
        return Err(Refusal::cannot_run(format!("{shown}: is not a regular file"), "name a program"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(Refusal::cannot_run(
            format!("{shown}: not executable (mode {:04o})", meta.permissions().mode() & 0o7777),
            format!("chmod +x {shown}, or name its interpreter before it"),
        ));
    }
    Ok(())
}

fn kind_of(path: &Path) -> std::io::Result<Kind> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(classify(&head))
}

/// What the first bytes of a file make it.
fn classify(head: &[u8]) -> Kind {
    let Some(line) = head.strip_prefix(b"#!") else {
        // glibc's execvp gives anything the kernel rejects to /bin/sh; a NUL byte tells data from text, as bash does.
        let text = !head.is_empty() && !head.starts_with(b"\x7fELF") && !head.contains(&0);
        return if text { Kind::ShellText } else { Kind::Binary };
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_owned())),
        None => (line, None),
    };
    Kind::Script { interpreter: interpreter.into(), argument }
}

fn follow(path: &Path, depth: usize, executables: &mut Vec<PathBuf>) -> Result<(), Refusal> {
    let kind = match kind_of(path) {
        Ok(kind) => kind,
        // Execute-only files can be run but not looked into; the ELF check will say so.
        Err(_) => Kind::Binary,
    };
    let (interpreter, argument) = match kind {
        Kind::Binary => {
            executables.push(path.to_owned());
            return Ok(());
        }
        Kind::ShellText => ("/bin/sh".into(), None),
        Kind::Script { interpreter, argument } => (interpreter, argument),
    };
    if depth == 0 {
        return Err(Refusal::cannot_run(
            format!("{}: scripts interpreted by scripts, more than {DEPTH} deep", path.display()),
            "name the last interpreter yourself",
        ));
    }
    check_executable(&interpreter).map_err(|refusal| {
        Refusal::cannot_run(
            format!("{}: the interpreter in its first line cannot be used: {}", path.display(), refusal.what()),
            "install that interpreter or correct the #! line",
        )
    })?;
    follow(&interpreter, depth - 1, executables)?;
    if interpreter.file_name() == Some(OsStr::new("env"))
        && let Some(command) = argument.as_deref().and_then(command_of_env)
    {
        follow(&search(OsStr::new(command))?, depth - 1, executables)?;
    }
    Ok(())
}

/// The command among the arguments of env: the first that is neither an option nor an assignment.
fn command_of_env(arguments: &str) -> Option<&str> {
    arguments.split_whitespace().find(|word| !word.starts_with('-') && !word.contains('='))
}

/// The mode bits, owner-changing ones included, of a file that exists.
pub fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |meta| meta.permissions().mode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let script = |interpreter: &str, argument: Option<&str>| Kind::Script {
            interpreter: interpreter.into(),
            argument: argument.map(str::to_owned),
        };
        assert_eq!(classify(b"#!/bin/sh\nexit"), script("/bin/sh", None));
        assert_eq!(classify(b"#! /usr/bin/perl -w \n"), script("/usr/bin/perl", Some("-w")));
        assert_eq!(classify(b"#!/usr/bin/env -S A=1 python3 -u\n"), script("/usr/bin/env", Some("-S A=1 python3 -u")));
        assert_eq!(classify(b"echo hello\n"), Kind::ShellText);
        assert_eq!(classify(b"\x7fELF..."), Kind::Binary);
        assert_eq!(classify(b"data\0data"), Kind::Binary);
        assert_eq!(classify(b""), Kind::Binary);
    }

    #[test]
    fn env_is_looked_through_to_the_command() {
        assert_eq!(command_of_env("python3"), Some("python3"));
        assert_eq!(command_of_env("-S LANG=C perl -w"), Some("perl"));
        assert_eq!(command_of_env("-i"), None);
    }

    #[test]
    fn a_script_leads_to_its_interpreter_and_missing_things_to_their_status() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let script = write("script", "#!/bin/sh\n", 0o755);
        assert_eq!(find(script.as_os_str()).unwrap().executables, [PathBuf::from("/bin/sh")]);
        let nested = write("nested", &format!("#!{}\n", script.display()), 0o755);
        assert_eq!(find(nested.as_os_str()).unwrap().executables, [PathBuf::from("/bin/sh")]);
        let through_env = write("env", "#!/usr/bin/env sh\n", 0o755);
        assert_eq!(find(through_env.as_os_str()).unwrap().executables.len(), 2);

        let status = |path: &Path| find(path.as_os_str()).unwrap_err().status();
        assert_eq!(status(&dir.path().join("nothing")), crate::refusal::NOT_FOUND);
        assert_eq!(status(&write("plain", "#!/bin/sh\n", 0o644)), crate::refusal::CANNOT_RUN);
        assert_eq!(status(dir.path()), crate::refusal::CANNOT_RUN);
        assert_eq!(status(&write("lost", "#!/no/such/interpreter\n", 0o755)), crate::refusal::CANNOT_RUN);
        let own = dir.path().join("loop");
        write("loop", &format!("#!{}\n", own.display()), 0o755);
        assert_eq!(status(&own), crate::refusal::CANNOT_RUN);
    }
}
