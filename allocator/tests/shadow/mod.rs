//! A second opinion on the allocator: every call is checked against a map of its own.
//!
//! ```text
//! steps (shadow_stress.rs: random, in threads; fuzzed/calls.rs: from a fuzzer's bytes)
//!   └─ Checked: each call, and what must hold after it      checked.rs
//!        ├─ Block: who has it, and the pattern in it        block.rs
//!        └─ ShadowMap: who has which addresses              map.rs
//! ```
//!
//! Everything in here takes its own memory from the system's allocator. The allocator under test is called by name, so its
//! mistakes cannot reach the books.
//!
//! A block is in the map from the return of the call that gave it until just before the call that takes it back: of two
//! blocks that overlap, the one entered second finds the first. What the map cannot see, the contents show: each block is
//! filled with a pattern made of its address, its size and a serial number, and whoever has written into it is noticed when
//! it is checked, at the latest when it is freed.
//!
//! Whatever is wrong is a panic that names the blocks.

// Each program compiles this module and uses a part of it.
#![allow(dead_code)]

pub mod block;
pub mod checked;
pub mod map;
pub mod random;
