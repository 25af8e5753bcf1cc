//! Java: the compiler (javac, itself a Java program) and a program with threads, direct buffers and zlib: the parts of
//! a virtual machine that use malloc.

use fairground_tests::{Need, Run, assert_binds, assert_same_answer, require, temp_dir};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/Work.java");
const JAVA: Need = Need("java", "default-jdk-headless");
const JAVAC: Need = Need("javac", "default-jdk-headless");

#[test]
fn threads_with_native_memory_compute_the_same() {
    let Some([java, javac]) = require("java", [JAVA, JAVAC]) else { return };
    assert_same_answer("java", |allocator| {
        let classes = temp_dir();
        // There, too, the virtual machine leaves its log if it crashes.
        let javac = Run::on(allocator, &javac).dir(classes.path());
        javac.args(["-d".as_ref(), classes.path().as_os_str(), SOURCE.as_ref()]).text();
        let run =
            Run::on(allocator, &java).dir(classes.path()).args(["-Xmx256m", "-XX:MaxDirectMemorySize=512m", "-cp"]);
        run.args([classes.path().as_os_str(), "Work".as_ref()]).text()
    });
}

#[test]
fn malloc_is_the_librarys() {
    let Some([java]) = require("java_binding", [JAVA]) else { return };
    assert_binds(&java, ["-version"], &["java"]);
}
