//! Bytes as a sequence of calls to the allocator. What they mean is in `allocator/tests/fuzzed/calls.rs`.

#![no_main]

#[path = "../../allocator/tests/fuzzed/calls.rs"]
mod calls;
#[path = "../../allocator/tests/shadow/mod.rs"]
mod shadow;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| calls::run(bytes));
