//! What differs between processors: the counter behind the scheduler's clock, words that may change while they are copied, and where a
//! signal found the stack pointer.
//!
//! `portable.rs` is for all others; `--cfg fairground_portable` chooses it so that the tests run it too. It has no words: what would copy them takes a
//! lock instead.

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
#[path = "x86_64.rs"]
mod imp;
#[cfg(all(target_arch = "aarch64", not(fairground_portable)))]
#[path = "aarch64.rs"]
mod imp;
#[cfg(any(fairground_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "portable.rs"]
mod imp;

#[cfg(not(loom))]
pub(crate) use imp::{counter, frequency, is_constant, stack_pointer};
#[cfg(not(any(loom, fairground_portable)))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use imp::{load_word, store_word};

/// Eight bytes that need not be initialised.
#[cfg(not(fairground_portable))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) type Word = core::mem::MaybeUninit<u64>;
