//! The C functions answer as glibc documents: `tests/c/c_semantics.c`, on glibc and on the library.

mod support;

#[test]
fn corners_are_those_of_glibc() {
    let folder = support::scratch("c-semantics");
    // Casts of dlsym's result to functions are POSIX, though not ISO C; mallinfo is deprecated and still called.
    let flags = ["-std=gnu11", "-O1", "-fno-builtin", "-Wno-deprecated-declarations", "-Wno-use-after-free", "-ldl"];
    let program = support::compile(support::cc(), "c_semantics.c", &flags, &folder);
    support::check_on_both(&program, &[], None);
}
