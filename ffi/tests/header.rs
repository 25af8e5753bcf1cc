//! `include/fairground.h` is clean C and C++, in every dialect it promises.

mod support;

#[test]
fn compiles_without_a_warning() {
    let folder = support::scratch("header");
    let strict = ["-c", "-Wpedantic", "-Wshadow", "-Wstrict-prototypes", "-Wundef"];
    for dialect in ["-std=c99", "-std=c11", "-std=gnu17"] {
        let flags: Vec<_> = strict.iter().copied().chain([dialect]).collect();
        support::compile(support::cc(), "header.c", &flags, &folder);
    }
    let strict = ["-c", "-Wpedantic", "-Wshadow", "-Wundef", "-x", "c++"];
    for dialect in ["-std=c++11", "-std=c++17", "-std=gnu++20"] {
        let mut compiler = support::cxx();
        // The language must be named before the file.
        compiler.args(strict).arg(dialect);
        support::compile(compiler, "header.c", &[], &folder);
    }
}

#[test]
fn says_the_version_of_the_package() {
    let header = std::fs::read_to_string(support::package_dir().join("include/fairground.h")).expect("read the header");
    for (part, value) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        let line = format!("#define FAIRGROUND_VERSION_{part} {value}");
        assert!(header.lines().any(|present| present == line), "fairground.h lacks: {line}");
    }
}
