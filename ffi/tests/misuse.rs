//! Wrong pointers through the C interface: the library reports them, at the latest at normal exit.
//!
//! `allocator/tests/misuse.rs` has every kind for every size; here is what only the library can show: the names of the C
//! calls, and its destructor, for in these programs nothing else looks at a small block after its last `free`.

mod support;

use std::os::unix::process::ExitStatusExt;
use support::On;

/// Sizes the program knows by number: small and large slab, bins, run, extent.
const SIZES: usize = 5;

/// Name, call, and what is said of slabs and of larger blocks (whose end may have joined other free memory).
const CASES: [(&str, &str, [&str; 2]); 10] = [
    ("free-stack", "free", ["not a pointer from this allocator"; 2]),
    ("free-static", "free", ["not a pointer from this allocator"; 2]),
    ("free-interior", "free", ["points 16 bytes into the block of"; 2]),
    ("free-misaligned", "free", ["points 1 bytes into the block of"; 2]),
    ("free-twice", "free", ["double free", "double free|no block is|not a pointer from this"]),
    ("free-twice-others-between", "free", ["double free", "double free|no block is|not a pointer from this"]),
    ("realloc-interior", "realloc", ["points 16 bytes into the block of"; 2]),
    ("realloc-static", "realloc", ["not a pointer from this allocator"; 2]),
    ("realloc-freed", "realloc", ["double free|no block is", "double free|no block is|not a pointer from this"]),
    ("usable-size-interior", "malloc_usable_size", ["points 16 bytes into the block of"; 2]),
];

#[test]
fn wrong_pointers_are_reported_and_the_process_aborted() {
    let folder = support::scratch("misuse");
    let program = support::compile(support::cc(), "misuse.c", &["-O0", "-fno-builtin", "-w"], &folder);
    for (case, call, words) in CASES {
        for size in 0..SIZES {
            let output = support::run(&program, On::Fairground, &[case, &size.to_string()], None);
            let errors = String::from_utf8_lossy(&output.stderr);
            let address = String::from_utf8_lossy(&output.stdout).trim().to_string();
            let context = format!("{case}, size {size}: {}: {address}: {errors}", output.status);
            // timeout(1) passes the signal on as it is, or as a status, by its version.
            assert!(output.status.signal() == Some(6) || output.status.code() == Some(134), "not aborted: {context}");
            assert!(errors.contains(&format!("fairground: {call}{address}: ")), "call and address: {context}");
            let words = words[usize::from(size >= 2)];
            assert!(words.split('|').any(|word| errors.contains(word)), "{words}: {context}");
        }
    }
    for size in 0..SIZES {
        let output = support::run(&program, On::Fairground, &["no-misuse", &size.to_string()], None);
        assert!(output.status.success() && output.stderr.is_empty(), "no misuse, size {size}: {output:?}");
    }
}
