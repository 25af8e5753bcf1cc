//! The configuration of a C program: its own in `fairground_conf`, that of the environment, and of the two only its own in a
//! process that has gained privileges, for there the environment is the caller's.

use fairground_tests::program::skip;
use fairground_tests::{Need, Outcome, Run, library, require, temp_dir};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

extern const char fairground_conf[];
const char fairground_conf[] = "stats:json,of_the_program:1";

int main(void)
{
    void *volatile block = malloc(100);
    free(block);
    printf("secure %lu\n", getauxval(AT_SECURE));
    return 0;
}
"#;

/// How the allocator gets into the program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Linking,
    Preloading,
}

/// Builds the program, with a copy of the library beside it: other users may not enter the build directory.
fn build(gcc: &Path, folder: &Path, by: By) -> PathBuf {
    let (source, program) = (folder.join("configured.c"), folder.join("configured"));
    fs::write(&source, SOURCE).unwrap();
    fs::copy(library(), folder.join("libfairground.so.0")).unwrap();
    fs::set_permissions(folder.join("libfairground.so.0"), Permissions::from_mode(0o755)).unwrap();
    let compiler = Run::new(gcc).args(["-Wall", "-Werror", "-O1", "-o"]).args([&program, &source]);
    let compiler = match by {
        By::Linking => compiler.args([
            folder.join("libfairground.so.0").into_os_string(),
            format!("-Wl,-rpath,{}", folder.display()).into(),
        ]),
        // Else the loader would not see the symbol.
        By::Preloading => compiler.args(["-rdynamic"]),
    };
    compiler.text();
    program
}

fn errors(outcome: &Outcome) -> String {
    outcome.assert_success();
    String::from_utf8_lossy(&outcome.stderr).into_owned()
}

#[test]
fn the_programs_own_holds_and_the_environment_has_the_last_word() {
    let Some([gcc]) = require("configuration_in_c", [Need("gcc", "gcc libc6-dev")]) else { return };
    for by in [By::Linking, By::Preloading] {
        let dir = temp_dir();
        let program = build(&gcc, dir.path(), by);
        let run = || match by {
            By::Linking => Run::new(&program),
            By::Preloading => Run::new(&program).env("LD_PRELOAD", library()),
        };
        let own = errors(&run().outcome());
        assert!(own.starts_with("fairground: fairground_conf: 'of_the_program:1' is skipped: "), "{by:?}: {own}");
        assert!(own.contains("\n{\"version\":1,"), "{by:?}: {own}");

        let both = errors(&run().env("FAIRGROUND_CONF", "of_the_caller:1,stats:text").outcome());
        assert!(both.contains("\nfairground: FAIRGROUND_CONF: 'of_the_caller:1' is skipped: "), "{by:?}: {both}");
        assert!(both.contains("\nsummary\n") && !both.contains("{\"version\""), "{by:?}: {both}");
    }
}

#[test]
fn a_setuid_program_does_not_look_at_the_environment() {
    const NAME: &str = "configuration_of_setuid_programs";
    let needs = [Need("gcc", "gcc libc6-dev"), Need("setpriv", "util-linux")];
    let Some([gcc, setpriv]) = require(NAME, needs) else { return };
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return skip(NAME, "only root can give a program to another user");
    }
    // Two users, neither root nor one another: by their numbers, so that they need not exist.
    let (owner, caller) = (61_001, 61_002);
    let dir = temp_dir();
    let program = build(&gcc, dir.path(), By::Linking);
    let run = || {
        let user = [format!("--reuid={caller}"), format!("--regid={caller}"), "--clear-groups".into()];
        let run = Run::new(&setpriv).args(user).args([&program]);
        run.env("FAIRGROUND_CONF", "of_the_caller:1,stats:text").outcome()
    };
    let plain = run();
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "secure 0\n", "{}", plain.describe());
    assert!(errors(&plain).contains("'of_the_caller:1'"), "the variable does not arrive: {}", plain.describe());

    chown(&program, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    let setuid = run();
    if setuid.stdout == b"secure 0\n" {
        return skip(NAME, "setuid programs gain nothing here (a file system mounted nosuid, or no_new_privs)");
    }
    assert_eq!(String::from_utf8_lossy(&setuid.stdout), "secure 1\n", "{}", setuid.describe());
    let text = errors(&setuid);
    assert!(!text.contains("of_the_caller") && !text.contains("summary\n"), "the caller's variable counts: {text}");
    assert!(text.contains("'of_the_program:1'") && text.contains("{\"version\":1,"), "the program's does not: {text}");
}
