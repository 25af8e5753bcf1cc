//! `fairground run`: the checks in order, then exec.
//!
//! The launcher *becomes* the program: same process id, same descriptors, the program's own exit status and signals.
//! Nothing stays behind to forward them. What can be found out beforehand is found out beforehand, because after exec
//! there is nobody left to explain.
//!
//! Setuid, setgid and file-capability programs are refused whoever asks. Strictly, the loader drops `LD_PRELOAD` only
//! if the exec *changes* the identity, so root may preload into a setuid-root program; but a command that works for
//! root and silently does nothing for others is the very surprise this launcher exists to prevent. `--force` is there.

use crate::elf::{self, Facts, Unreadable};
use crate::library::{self, Library};
use crate::program;
use crate::refusal::{LAUNCHER_FAILED, Refusal};
use crate::{conf, heap_profile, settings};
use clap::Args;
use std::env;
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub const HELP: &str = "\
The program replaces the launcher: same process id, and its exit status is the program's.

Refused, with the reason (exit status 126):
  - statically linked programs, which have no dynamic loader to do the preloading (Go, musl-static)
  - setuid, setgid and file-capability programs, for which the loader ignores LD_PRELOAD
  - programs for another machine or word size than the library, or for musl's loader
Warned about: programs that export a malloc of their own, which then wins over the preloaded one.

Examples:
  fairground run -- redis-server --port 7000
  fairground run -- ./script.py --verbose
  fairground run --heap-profile heap.pb --leaks -- ./program
  fairground run --stats=json --stats-to heap.%p.json -- ./program
  fairground run --conf decay_ms:0,background:true -- ./program
  fairground run --print-env -- ./program     print LD_PRELOAD=... if ./program can be run, do not run it";

#[derive(Args)]
pub struct Options {
    /// The library to preload [default: FAIRGROUND_LIBRARY, or libfairground.so near the launcher]
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
    /// Print the assignment LD_PRELOAD=... (and FAIRGROUND_CONF=... on a line of its own, if options here ask for
    /// settings) instead of running anything
    #[arg(long)]
    print_env: bool,
    #[command(flatten)]
    conf: conf::Options,
    #[command(flatten)]
    heap_profile: heap_profile::Options,
    /// Run the program even if preloading is not expected to work; print the reasons as warnings
    #[arg(long)]
    force: bool,
    /// The program and its arguments; a name without a slash is looked up in PATH
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, required_unless_present = "print_env")]
    command: Vec<OsString>,
}

/// Does what the options say; returns only if the program could not be started, or for `--print-env`.
pub fn run(options: Options) -> Result<ExitCode, Refusal> {
    let mut settings = options.conf.settings()?;
    settings.extend(options.heap_profile.settings()?);
    let library = library::find(options.library.as_deref())?;
    let program = match options.command.first() {
        Some(name) => {
            let program = program::find(name)?;
            for executable in &program.executables {
                match check(executable, &library) {
                    Ok(warning) => warning.into_iter().for_each(|text| eprintln!("fairground: warning: {text}")),
                    Err(refusal) if options.force => eprintln!("fairground: warning: {}", refusal.what()),
                    Err(refusal) => return Err(refusal),
                }
            }
            Some(program)
        }
        None => None,
    };
    let conf = (!settings.is_empty()).then(|| settings::compose(env::var_os(settings::VARIABLE), &settings));
    let value = library::preload_value(&library.path, env::var_os("LD_PRELOAD").as_deref());
    let program = match program {
        Some(program) if !options.print_env => program,
        _ => {
            // As bytes: a path need not be UTF-8.
            let mut lines = [b"LD_PRELOAD=", value.as_bytes(), b"\n"].concat();
            if let Some(conf) = &conf {
                lines.extend([settings::VARIABLE.as_bytes(), b"=", conf.as_bytes(), b"\n"].concat());
            }
            let printed = std::io::stdout().write_all(&lines);
            return Ok(if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(LAUNCHER_FAILED) });
        }
    };
    let error = Command::new(&program.path)
        .arg0(&options.command[0])
        .args(&options.command[1..])
        .env("LD_PRELOAD", value)
        .envs(conf.map(|conf| (settings::VARIABLE, conf)))
        .exec();
    Err(Refusal::cannot_run(
        format!("{}: the kernel would not run it: {error}", program.path.display()),
        "try the program without the launcher; if it runs there, report this with the output of `file`",
    ))
}

/// Judges one executable: an error if preloading cannot work, a text if it works but may not matter.
pub fn check(executable: &Path, library: &Library) -> Result<Option<String>, Refusal> {
    check_privileges(executable, program::mode_of(executable), has_capabilities(executable))?;
    let shown = executable.display();
    match elf::inspect(executable) {
        Ok(facts) => judge(executable, &facts, library),
        Err(Unreadable::Io(error)) => {
            Ok(Some(format!("{shown}: cannot be looked into ({error}); running it unchecked")))
        }
        Err(Unreadable::NotElf) => Err(Refusal::cannot_run(
            format!("{shown}: neither an ELF executable nor a script"),
            "name a program; for a file of another kind (Java, Wasm, Windows) name the program that runs it first",
        )),
        Err(Unreadable::Malformed(why)) => Err(Refusal::cannot_run(
            format!("{shown}: a damaged ELF file: {why}"),
            "install or build the program again",
        )),
    }
}

fn check_privileges(executable: &Path, mode: u32, capabilities: bool) -> Result<(), Refusal> {
    let what = match (mode & libc::S_ISUID != 0, mode & libc::S_ISGID != 0, capabilities) {
        (true, _, _) => format!("setuid (mode {:04o})", mode & 0o7777),
        (_, true, _) => format!("setgid (mode {:04o})", mode & 0o7777),
        (_, _, true) => "given file capabilities (security.capability)".into(),
        _ => return Ok(()),
    };
    Err(Refusal::cannot_run(
        format!(
            "{}: is {what}; the dynamic loader ignores LD_PRELOAD for programs that gain privileges",
            executable.display()
        ),
        "run a copy without the privileges (cp drops them), or use --force where you know that they change nothing",
    ))
}

fn has_capabilities(executable: &Path) -> bool {
    let Ok(path) = CString::new(executable.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end in NUL and outlive the call; a length of 0 asks for the attribute's size only.
    let size = unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

fn judge(executable: &Path, facts: &Facts, library: &Library) -> Result<Option<String>, Refusal> {
    let shown = executable.display();
    if facts.target != library.facts.target {
        return Err(Refusal::cannot_run(
            format!(
                "{shown}: is for {}, the library {} for {}",
                facts.target.name(),
                library.path.display(),
                library.facts.target.name()
            ),
            "build the library for that machine (cargo build --target ...) and name it with --library",
        ));
    }
    let Some(loader) = &facts.loader else {
        return Err(Refusal::cannot_run(
            format!("{shown}: statically linked (no PT_INTERP); there is no dynamic loader to preload anything"),
            "link the program dynamically; a Rust program can use the crate fairground-allocator as its \
             #[global_allocator] instead",
        ));
    };
    if !Path::new(loader).exists() {
        return Err(Refusal::cannot_run(
            format!("{shown}: asks for the dynamic loader {loader}, which does not exist here"),
            "install the C library that it belongs to",
        ));
    }
    let musl = loader.contains("ld-musl");
    if musl && library.facts.needed.iter().any(|name| name == "libc.so.6") {
        return Err(Refusal::cannot_run(
            format!("{shown}: runs on musl ({loader}), the library {} needs glibc", library.path.display()),
            "build the library for musl (cargo build --target x86_64-unknown-linux-musl) and name it with --library",
        ));
    }
    Ok(facts.exports_malloc.then(|| {
        format!("{shown}: defines malloc itself, and the loader prefers it: the preloaded library may have no effect")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Target;
    use object::elf::{EM_AARCH64, EM_X86_64};

    fn facts(machine: object::elf::Machine, loader: Option<&str>) -> Facts {
        Facts {
            target: Target { bits: 64, machine },
            loader: loader.map(str::to_owned),
            needed: vec!["libc.so.6".into()],
            exports_malloc: false,
        }
    }

    fn library() -> Library {
        Library { path: "/opt/libfairground.so".into(), facts: facts(EM_X86_64, None) }
    }

    fn verdict(facts: &Facts) -> Result<Option<String>, Refusal> {
        judge(Path::new("/bin/program"), facts, &library())
    }

    // A loader that exists wherever the tests run.
    const LOADER: &str = "/proc/self/exe";

    #[test]
    fn a_plain_dynamic_program_passes() {
        assert_eq!(verdict(&facts(EM_X86_64, Some(LOADER))), Ok(None));
    }

    #[test]
    fn each_impossible_program_is_refused_for_its_own_reason() {
        let reason = |facts: &Facts| verdict(facts).unwrap_err().to_string();
        assert!(reason(&facts(EM_X86_64, None)).contains("statically linked"));
        assert!(reason(&facts(EM_AARCH64, Some(LOADER))).contains("is for aarch64"));
        assert!(reason(&facts(EM_X86_64, Some("/no/such/ld.so"))).contains("does not exist"));
        let narrow = Facts { target: Target { bits: 32, machine: EM_X86_64 }, ..facts(EM_X86_64, Some(LOADER)) };
        assert!(reason(&narrow).contains("32-bit"));
    }

    #[test]
    fn a_program_with_its_own_malloc_is_warned_about_not_refused() {
        let own = Facts { exports_malloc: true, ..facts(EM_X86_64, Some(LOADER)) };
        assert!(verdict(&own).unwrap().unwrap().contains("defines malloc"));
    }

    #[test]
    fn privileges_are_refused_by_kind() {
        let reason = |mode, caps| check_privileges(Path::new("/bin/p"), mode, caps).unwrap_err().to_string();
        assert!(reason(0o104755, false).contains("setuid (mode 4755)"));
        assert!(reason(0o102755, false).contains("setgid (mode 2755)"));
        assert!(reason(0o100755, true).contains("file capabilities"));
        check_privileges(Path::new("/bin/p"), 0o100755, false).unwrap();
        check_privileges(Path::new("/tmp"), 0o101777, false).unwrap();
    }
}
