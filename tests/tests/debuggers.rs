//! What `docs/debugging.md` promises: what memcheck and AddressSanitizer say of each error, and names in /proc/PID/maps.
//!
//! Debug builds in a folder of their own, for features and flags would rebuild what the other tests use. Which words a tool
//! must say of which error is read from the page's own table.

use fairground_tests::build::target_directory;
use fairground_tests::{Need, Outcome, Run, program, require, temp_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// Two tests may build into the same folder; cargo's message about that is no answer to anything.
static BUILD: Mutex<()> = Mutex::new(());

/// Memcheck translates every instruction.
const LIMIT: Duration = Duration::from_secs(300);

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

/// Builds into `TARGET/debuggers`, or a folder in it; returns the folder of the debug profile.
fn build(cargo: &mut Command, arguments: &[&str], triple: Option<&str>) -> PathBuf {
    let _guard = BUILD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = target_directory().join("debuggers");
    cargo.args(["build", "--quiet", "--locked"]).args(arguments).arg("--target-dir").arg(&folder);
    if let Some(triple) = triple {
        cargo.args(["--target", triple]);
    }
    let output = cargo.current_dir(workspace()).output().expect("cargo runs");
    assert!(output.status.success(), "{cargo:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    folder.join(triple.unwrap_or("")).join("debug")
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The folder with the examples and the library that talk to valgrind.
fn with_valgrind(what: &[&str]) -> PathBuf {
    build(&mut cargo(), &[&["--features", "valgrind"], what].concat(), None)
}

const EXAMPLES: [&str; 3] = ["--package", "fairground-allocator", "--examples"];

/// Whether valgrind is there, which is started by a script; reports the skip.
fn valgrind_runs(test: &str) -> bool {
    let runs = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        program::skip(test, "valgrind not found (apt-get install valgrind)");
    }
    runs
}

fn memcheck(program: &Path, options: &[&str], arguments: &[&str]) -> Run {
    let run = Run::new("valgrind").args(["--leak-check=full", "--num-callers=30", "--errors-for-leak-kinds=definite"]);
    run.args(["--error-exitcode=9"]).args(options).args([program]).args(arguments).limit(LIMIT)
}

fn errors(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stderr).into_owned()
}

/// The page's table of errors: what memcheck and AddressSanitizer say of each; None where the page says 'nothing'.
fn promises() -> BTreeMap<String, [Option<String>; 2]> {
    let page = std::fs::read_to_string(workspace().join("docs/debugging.md")).expect("the page is there");
    let code = |cell: &str| cell.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_string);
    let section =
        page.split("## What they show").nth(1).and_then(|rest| rest.split("## ").next()).expect("the section");
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        (code(cells[0]).expect("an error's name"), [code(cells[1]), code(cells[2])])
    });
    let rows: BTreeMap<_, _> = rows.collect();
    assert!(rows.len() >= 5, "the page lists the errors: {rows:?}");
    rows
}

/// The function of the example in which an error is made, as a backtrace names it.
fn culprit(error: &str) -> String {
    format!("memory_errors::{}", error.replace('-', "_"))
}

#[test]
fn memcheck_names_each_error_and_finds_none_in_a_correct_program() {
    if !valgrind_runs("debuggers::memcheck_names_each_error_and_finds_none_in_a_correct_program") {
        return;
    }
    let program = with_valgrind(&EXAMPLES).join("examples/memory_errors");
    let correct = memcheck(&program, &[], &["correct"]).outcome();
    correct.assert_success();
    assert!(errors(&correct).contains("ERROR SUMMARY: 0 errors"), "{}", correct.describe());
    for (error, [says, _]) in promises() {
        let says = says.expect("memcheck finds all of them");
        let outcome = memcheck(&program, &[], &[&error]).outcome();
        let said = errors(&outcome);
        assert!(!outcome.status.success(), "{error} was not noticed: {said}");
        assert!(said.contains(&says) && said.contains(&culprit(&error)), "{error}: no {says:?} in\n{said}");
    }
}

#[test]
fn memcheck_sees_blocks_of_c_programs_through_the_preloaded_library() {
    let test = "debuggers::memcheck_sees_blocks_of_c_programs_through_the_preloaded_library";
    if !valgrind_runs(test) {
        return;
    }
    let Some([gcc]) = require(test, [Need("gcc", "gcc")]) else { return };
    let library = with_valgrind(&["--package", "fairground-ffi", "--lib"]).join("libfairground.so");
    let folder = temp_dir();
    let (source, program) = (folder.path().join("program.c"), folder.path().join("program"));
    std::fs::write(
        &source,
        "#include <stdlib.h>\n\
         #include <string.h>\n\
         int main(int count, char **words) {\n\
             char *volatile block = realloc(strcpy(malloc(20), words[0] ? \"a\" : \"b\"), 5000);\n\
             char first = block[0];\n\
             free(block);\n\
             return count > 1 ? block[1] == 7 : first != 'a';\n\
         }\n",
    )
    .expect("writing a source");
    Run::new(&gcc).args(["-g", "-O0", "-w", "-o"]).args([&program, &source]).outcome().assert_success();
    let run = |arguments: &[&str]| {
        let options = ["--soname-synonyms=somalloc=nouserintercepts"];
        memcheck(&program, &options, arguments).env("LD_PRELOAD", &library).outcome()
    };
    run(&[]).assert_success();
    let wrong = run(&["wrong"]);
    let said = errors(&wrong);
    assert_eq!(wrong.status.code(), Some(9), "{said}");
    assert!(said.contains("Invalid read of size 1") && said.contains("fairground_allocator"), "{said}");
}

#[test]
fn address_sanitizer_names_each_error_and_finds_none_in_a_correct_program() {
    let test = "debuggers::address_sanitizer_names_each_error_and_finds_none_in_a_correct_program";
    let nightly = || {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]);
        for variable in ["RUSTC", "CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command.env("RUSTFLAGS", "-Zsanitizer=address");
        command
    };
    if !nightly().arg("--version").output().is_ok_and(|output| output.status.success()) {
        return program::skip(test, "no nightly toolchain (rustup toolchain install nightly)");
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = [&["--features", "asan"], &EXAMPLES[..]].concat();
    let program = build(&mut nightly(), &arguments, Some(&triple)).join("examples/memory_errors");
    let run = |argument: &str| Run::new(&program).args([argument]).limit(LIMIT).outcome();
    run("correct").assert_success();
    for (error, [_, says]) in promises() {
        let Some(says) = says else { continue };
        let outcome = run(&error);
        let said = errors(&outcome);
        assert!(!outcome.status.success() && said.contains(&says), "{error}: {}", outcome.describe());
        // The allocator's own line has no backtrace.
        assert!(says.starts_with("double free") || said.contains(&culprit(&error)), "{error}: {said}");
    }
}

/// Whether this kernel gives names to anonymous mappings.
fn kernel_names_mappings() -> bool {
    const PR_SET_VMA: libc::c_int = 0x5356_4d41;
    // SAFETY: names a mapping of its own, which is then removed.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
        let named = libc::prctl(PR_SET_VMA, 0usize, page as usize, 4096usize, c"probe".as_ptr() as usize) == 0;
        libc::munmap(page, 4096);
        named
    }
}

#[test]
fn mappings_bear_names_if_that_is_configured() {
    let test = "debuggers::mappings_bear_names_if_that_is_configured";
    let Some([strace]) = require(test, [Need("strace", "strace")]) else { return };
    let program = with_valgrind(&EXAMPLES).join("examples/maps");
    let folder = temp_dir();
    // The mappings it printed, and the calls it made.
    let run = |configuration: &str| {
        let log = folder.path().join("calls");
        let run = Run::new(&strace).args(["-f", "-e", "trace=prctl", "-o"]).args([&log, &program]);
        let maps = run.env("FAIRGROUND_CONF", configuration).text();
        (maps, std::fs::read_to_string(log).expect("what strace saw"))
    };
    let names = ["fairground tables", "fairground heap", "fairground large"];

    let (maps, calls) = run("");
    assert!(!maps.contains("fairground ") && !calls.contains("fairground "), "off unless configured:\n{calls}{maps}");

    let (maps, calls) = run("name_maps:true");
    if kernel_names_mappings() {
        for name in names {
            assert!(maps.contains(&format!("[anon:{name}]")), "no {name} in\n{maps}");
        }
    } else {
        assert_eq!(calls.matches("fairground ").count(), 1, "a kernel that refuses is not asked again:\n{calls}");
        assert!(calls.contains(names[0]) && !maps.contains("fairground "), "{calls}{maps}");
    }
}
