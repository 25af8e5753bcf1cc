//! `make install`: what is installed, and that a C program can be built and run with it.

mod support;

use std::path::Path;
use std::process::Command;

fn install(arguments: &[String]) {
    support::library();
    let mut make = Command::new("make");
    make.arg("-f").arg(support::package_dir().join("install.mk")).arg("install").args(arguments);
    make.env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", support::target_dir());
    // Not those of a make that runs these tests.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("PREFIX").env_remove("DESTDIR");
    support::successful(&mut make);
}

fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("fairground").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    support::successful(&mut command).split_whitespace().map(String::from).collect()
}

#[test]
fn a_program_builds_and_runs_with_the_installed_library() {
    let folder = support::scratch("install");
    let prefix = folder.join("prefix");
    install(&[format!("PREFIX={}", prefix.display())]);

    let program = folder.join("example");
    let mut compiler = support::cc();
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-fno-builtin", "-o"]).arg(&program);
    compiler.arg(support::package_dir().join("tests/c/example.c"));
    compiler.args(pkg_config(&prefix, &["--cflags", "--libs"]));
    support::successful(&mut compiler);

    let said = support::successful(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
    assert_eq!(said, format!("runs on {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(pkg_config(&prefix, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    assert_eq!(pkg_config(&prefix, &["--variable=prefix"]), [prefix.to_str().expect("a path in UTF-8")]);

    let needed = support::successful(Command::new("readelf").arg("-d").arg(&program));
    assert!(needed.contains("[libfairground.so.0]"), "the program does not record the soname:\n{needed}");

    let launcher = support::successful(Command::new(prefix.join("bin/fairground")).arg("--version"));
    assert!(launcher.contains(env!("CARGO_PKG_VERSION")), "the installed launcher says: {launcher}");
}

#[test]
fn destdir_comes_before_the_prefix_and_does_not_show() {
    let folder = support::scratch("destdir");
    install(&["PREFIX=/opt/fair".into(), format!("DESTDIR={}", folder.display())]);
    let mut installed = Vec::new();
    list(&folder, &folder, &mut installed);
    installed.sort();
    assert_eq!(
        installed,
        [
            "opt/fair/bin/fairground",
            "opt/fair/include/fairground.h",
            "opt/fair/lib/libfairground.so",
            "opt/fair/lib/libfairground.so.0",
            "opt/fair/lib/pkgconfig/fairground.pc",
        ]
    );
    let link = std::fs::read_link(folder.join("opt/fair/lib/libfairground.so")).expect("read the link");
    assert_eq!(link, Path::new("libfairground.so.0"));
    let description = std::fs::read_to_string(folder.join("opt/fair/lib/pkgconfig/fairground.pc")).expect("read it");
    assert!(description.starts_with("prefix=/opt/fair\n") && !description.contains('@'), "{description}");
}

fn list(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("read a folder") {
        let path = entry.expect("read a folder").path();
        if path.is_dir() && !path.is_symlink() {
            list(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).expect("below the root").display().to_string());
        }
    }
}
