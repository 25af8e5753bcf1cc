//! What is done with a fuzzer's bytes. The fuzzer's own programs are in the folder `fuzz` at the root; `fuzz_inputs.rs` runs the
//! same on its seeds, on inputs that once failed, and on random bytes, without a fuzzer.

// Each program compiles this module and uses a part of it.
#![allow(dead_code)]

pub mod calls;
pub mod configuration;
