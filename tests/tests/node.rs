//! Node.js: V8 keeps its own heap, but buffers, zlib, worker threads and the compiler use malloc and operator new.

use fairground_tests::{Need, Run, assert_binds, assert_same_answer, require};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/work.js");
const NODE: Need = Need("node", "nodejs");

#[test]
fn worker_threads_with_buffers_compute_the_same() {
    let Some([node]) = require("node", [NODE]) else { return };
    assert_same_answer("node", |allocator| Run::on(allocator, &node).args([SCRIPT]).text());
}

#[test]
fn malloc_is_the_librarys() {
    let Some([node]) = require("node_binding", [NODE]) else { return };
    assert_binds(&node, ["-e", "0"], &["node"]);
}
