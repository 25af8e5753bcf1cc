//! How the library is linked.
//!
//! rustc already gives the linker a version script with exactly the `no_mangle` functions, full RELRO and a
//! non-executable stack. The rest is said here, for the library alone: the launcher in this package is an ordinary
//! program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in [
        // The name programs record; 0 until the interface is declared stable.
        "-Wl,-soname,libfairground.so.0",
        // Our own calls go to our own functions, whatever else is preloaded.
        "-Wl,-Bsymbolic",
        // Everything is bound before the first malloc: lazy binding would happen inside it.
        "-Wl,-z,now",
        "-Wl,-z,relro",
        "-Wl,-z,noexecstack",
        // A missing symbol is an error here rather than in somebody's program. Weak ones may stay open.
        "-Wl,--no-undefined",
        // Without std nobody else asks for it.
        "-lc",
        // Of the libraries the libc crate names, only those that are used (none, since glibc 2.34).
        "-Wl,--as-needed",
        // The kernel maps a file in windows of 64 KiB: with segments that begin at such, what is hot fills few of them (text.ld).
        "-Wl,-z,max-page-size=65536",
        // The allocator must not be unloaded: its blocks outlive the handle.
        "-Wl,-z,nodelete",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rerun-if-changed=text.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{folder}/text.ld");
}
