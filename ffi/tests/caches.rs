//! Typed caches through the C interface: `tests/c/caches.c`.

mod support;

use support::On;

#[test]
fn caches_do_what_the_header_says() {
    let folder = support::scratch("caches");
    // Casts of dlsym's result to functions are POSIX, though not ISO C.
    let program = support::compile(support::cc(), "caches.c", &["-std=gnu11", "-O1", "-ldl", "-pthread"], &folder);
    let rows = support::rows("caches.c on fairground", &support::run(&program, On::Fairground, &[], None));
    assert!(rows.iter().all(|row| !row.skipped), "skipped on fairground: {rows:?}");
    let oracle = support::rows("caches.c without the library", &support::run(&program, On::System, &[], None));
    assert_eq!(rows.len(), oracle.len());
}
