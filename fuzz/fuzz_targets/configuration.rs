//! Bytes as a configuration. What is checked is in `allocator/tests/fuzzed/configuration.rs`.

#![no_main]

#[path = "../../allocator/tests/fuzzed/configuration.rs"]
mod configuration;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| configuration::run(bytes));
