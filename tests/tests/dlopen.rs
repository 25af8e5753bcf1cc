//! Libraries that come and go: ours, opened beside the system's allocator; a plug-in's, opened on ours.

use fairground_tests::{Allocator, Need, Run, assert_binds, library, require, temp_dir};
use std::path::{Path, PathBuf};

const CC: Need = Need("cc", "gcc");

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

fn compile(cc: &Path, name: &str, output: &Path, arguments: &[&str]) {
    let warnings = ["-O1", "-Wall", "-Wextra", "-Werror"];
    let files = [source(name).into_os_string(), "-o".into(), output.into()];
    // After the sources: libraries (dlopen is in one of its own before glibc 2.34).
    Run::new(cc).args(warnings).args(files).args(arguments).args(["-pthread", "-ldl"]).text();
}

#[test]
fn our_library_opened_beside_the_systems_allocator() {
    let Some([cc]) = require("dlopen_library", [CC]) else { return };
    let dir = temp_dir();
    let program = dir.path().join("dlopen_library");
    compile(&cc, "dlopen_library.c", &program, &[]);
    for binding in ["usual", "deep"] {
        let answer = Run::new(&program).args([library().as_os_str(), binding.as_ref()]).text();
        assert_eq!(answer, "three rounds\n", "{binding}");
    }
}

#[test]
fn a_plugin_that_comes_and_goes_leaves_memory_flat() {
    let Some([cc]) = require("dlopen_plugin", [CC]) else { return };
    let dir = temp_dir();
    let (host, plugin) = (dir.path().join("plugin_host"), dir.path().join("plugin.so"));
    compile(&cc, "plugin_host.c", &host, &[]);
    compile(&cc, "plugin.c", &plugin, &["-shared", "-fPIC"]);
    assert_binds(&host, [&plugin], &["plugin_host"]);
    let answer = Run::on(Allocator::Fairground, &host).args([&plugin]).text();
    let resident: Vec<i64> = answer.lines().map(|line| line.parse().expect("a number of KiB")).collect();
    let [settled, end] = resident[..] else { panic!("two figures expected: {answer:?}") };
    // A round allocates 6 MB, touched to the last byte: one that is not given back shows.
    assert!(settled > 0 && end <= settled + 1024, "{settled} KiB resident after 20 rounds, {end} after 200");
}
