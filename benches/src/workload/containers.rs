//! What the workloads made of Rust's containers share.
//!
//! They use `Box`, `Vec`, `String` and maps only, never `malloc` itself, so that a program linked with a
//! `#[global_allocator]` runs them on that. There is no stamp in such blocks; instead each workload makes a digest of all it
//! has stored at the time it drops it, and a byte that changed meanwhile changes the checksum.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// Fixed keys: with the standard, randomly keyed hasher no two runs would do the same work.
pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// FNV-1a of a text.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
