//! Every example builds, runs and prints what it should.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the temporary directory is in the build directory")
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("output in UTF-8")
}

/// Installs library, header, pkg-config file and launcher below `prefix`, which builds them if need be.
fn install(prefix: &Path) {
    let mut make = Command::new("make");
    make.args(["-s", "-f", "ffi/install.mk", "install"]).arg(format!("PREFIX={}", prefix.display()));
    make.current_dir(workspace()).env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", target());
    // Not those of a make that runs these tests.
    output(make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("DESTDIR"));
}

/// The number before ` KiB in use` in the line that starts with `when`.
fn in_use(text: &str, when: &str) -> u64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(when)).unwrap_or_else(|| panic!("no {when:?} in:\n{text}"));
    let number = line.trim_start_matches(": ").split(" KiB in use").next();
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no KiB in use in {line:?}"))
}

#[test]
fn word_count_counts_as_a_sorted_map_does() {
    const WORDS: usize = 300_000;
    let text = output(Command::new(env!("CARGO_BIN_EXE_word_count")).arg(WORDS.to_string()));

    let words = fairground_examples::text(WORDS);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words.split(' ') {
        *counts.entry(word).or_default() += 1;
    }
    let mut expected: Vec<(usize, &str)> = counts.iter().map(|(&word, &count)| (count, word)).collect();
    expected.sort_by_key(|&(count, word)| (usize::MAX - count, word));
    let table: String = expected.iter().take(5).map(|(count, word)| format!("{count:8} {word}\n")).collect();
    let expected = format!("{WORDS} words, {} different\n{table}", counts.len());
    assert!(text.starts_with(&expected), "expected:\n{expected}\nprinted:\n{text}");
    assert!(counts.len() > 1000, "only {} different words: the text is too simple", counts.len());

    // The counts are in memory and then they are not; had another allocator served the program, both would be near 0.
    let (with, without) = (in_use(&text, "with the counts"), in_use(&text, "without them"));
    let least = (words.len() + counts.len() * size_of::<(String, usize)>()) as u64 / 1024;
    assert!(with >= least, "{with} KiB in use cannot hold {least} KiB of counts and text");
    assert!(without < with / 2, "{without} KiB in use after {with} KiB were freed");
}

#[test]
fn word_count_refuses_what_is_no_number() {
    let output = Command::new(env!("CARGO_BIN_EXE_word_count")).arg("many").output().expect("run the example");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: word_count"));
}

#[test]
fn heap_tables_shows_the_strings_in_their_class() {
    let text = output(&mut Command::new(env!("CARGO_BIN_EXE_heap_tables")));
    assert!(text.ends_with(" bytes live in all\n") && text.contains("\n10000 strings left, "), "{text}");
    for table in
        ["summary", "threads", "buddyinfo", "pagetypeinfo", "zoneinfo", "slabinfo - version: 2.1", "fragmentation"]
    {
        assert!(text.lines().any(|line| line == table), "no table {table:?} in:\n{text}");
    }
    // The row of the last table: name, bytes of slabs, live, cached by threads, percent.
    let row = text.lines().rfind(|line| line.starts_with("size-112 ")).expect("the class of 100 bytes");
    let fields: Vec<u64> = row.split_whitespace().skip(1).map(|field| field.parse().expect("a number")).collect();
    assert!((10_000 * 112..11_000 * 112).contains(&fields[1]), "the strings left: {row}");
    assert!(fields[0] > 8 * fields[1] && fields[3] <= 12, "slabs of which nine tenths were freed: {row}");

    let json = output(Command::new(env!("CARGO_BIN_EXE_heap_tables")).arg("--json"));
    assert!(json.starts_with("{\"version\":1,\"allocator\":\"fairground\",") && json.ends_with("}\n"), "{json}");
}

#[test]
fn the_c_program_builds_by_pkg_config_and_runs_on_the_library() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let prefix = folder.path().join("prefix");
    install(&prefix);
    let flags = output(
        Command::new("pkg-config")
            .args(["--cflags", "--libs", "fairground"])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
    );
    let program: PathBuf = folder.path().join("totals");
    let cc = std::env::var_os("CC").unwrap_or_else(|| "gcc".into());
    let mut compiler = Command::new(cc);
    compiler.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    output(compiler.arg(workspace().join("examples/c/totals.c")).args(flags.split_whitespace()));

    let text = output(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")).env_remove("LD_PRELOAD"));
    assert!(text.starts_with(concat!("fairground ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
    assert!(text.contains("\nfreed 100000\n"), "{text}");
    let (start, full) = (in_use(&text, "at the start"), in_use(&text, "with a list of 100000"));
    let end = in_use(&text, "at the end");
    assert!(full - start >= 100_000 * 108 / 1024, "the list is not in the library's memory:\n{text}");
    assert!(end < full / 4, "the list was freed, and most of it is still in use:\n{text}");
}

#[test]
fn the_script_runs_programs_on_the_library() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    install(folder.path());
    // As in a build directory: launcher and library side by side.
    std::fs::copy(folder.path().join("lib/libfairground.so.0"), folder.path().join("bin/libfairground.so"))
        .expect("copy the library");
    let mut script = Command::new("sh");
    script.arg(workspace().join("examples/preload.sh")).env("FAIRGROUND_BUILT", folder.path().join("bin"));
    let text = output(script.env_remove("LD_PRELOAD").env_remove("FAIRGROUND_LIBRARY").env("LC_ALL", "C"));
    assert_eq!(text, "zone\nslab\nbuddy\nlibfairground.so\n3\n");
}

/// An example of the runtime: cargo builds those before these tests.
fn example(name: &str) -> Command {
    let program = std::env::current_exe().expect("this program's path");
    let profile = program.ancestors().nth(2).expect("tests are in a folder of the profile's");
    Command::new(profile.join("examples").join(name))
}

#[test]
fn tcp_echo_answers_every_request_with_what_was_sent() {
    let text = output(example("tcp_echo").args(["50", "20"]));
    assert!(text.starts_with("50 clients and as many connections, a task each; "), "{text}");
    assert!(text.contains("\n1000 requests of 100 bytes answered, all right, in "), "{text}");
    assert!(text.ends_with(" requests/s\n"), "{text}");
}

#[test]
fn pipeline_adds_up_what_all_stages_passed_on() {
    let text = output(example("pipeline").arg("10000"));
    assert!(text.starts_with("10000 lines, 495000 pieces in all"), "{text}");
    assert!(text.contains("SWITCHES") && text.contains("WAKEUPS"), "no tables:\n{text}");
}

#[test]
fn a_policy_of_ones_own_is_simulated_and_runs() {
    let text = output(example("feedback").arg("200"));
    for part in ["cfs on 2 simulated cores", "feedback on 2 simulated cores", "typing", "1 + 2 + ... + 100 = 5050"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn hogs_are_preempted() {
    let text = output(example("hogs").arg("0.5"));
    let late = |what: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what:?} in:\n{text}"));
        line.split("late by")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .expect("a number")
            .parse()
            .expect("a number")
    };
    // Half of all ticks are over when the first hog is.
    assert!(late("without preemption") > 100.0, "{text}");
    assert!(late("with preemption") < 50.0, "{text}");
}

#[test]
fn tenants_get_their_shares() {
    let text = output(example("tenants").arg("1"));
    let share = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        let number = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
        number.unwrap_or_else(|| panic!("no number in {line:?}"))
    };
    let (small, large, limited) = (share("small"), share("large"), share("limited"));
    // The exact shares are tests of the runtime's own; here the machine may be busy.
    assert!((2.0..4.0).contains(&(large / small)), "{text}");
    assert!((5.0..15.0).contains(&limited), "{text}");
}

#[test]
fn examples_of_the_runtime_say_what_they_take() {
    for (name, wrong) in
        [("feedback", "many"), ("hogs", "0"), ("pipeline", "many"), ("tenants", "-1"), ("tcp_echo", "many")]
    {
        let output = example(name).arg(wrong).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{name} {wrong}");
        assert!(!output.stderr.is_empty(), "{name} {wrong} said nothing");
    }
}
