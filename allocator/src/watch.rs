//! Watchers: what some users want to happen at every allocation or free, at no cost to the others.
//!
//! The hot paths are steered by data: by the class tables and the limits in a thread's heap (`heap.rs`). While somebody
//! watches, heaps are made with class tables that name no class, so that every malloc and every sized free takes the slow
//! path; and, if frees are watched too, with limits that leave no room, so that every free does. The slow paths ask
//! [`on`] and come here. With nobody watching nothing is different but that one load on slow paths.
//!
//! | level | who | allocations | frees |
//! |---|---|---|---|
//! | `Nobody` | | hot | hot |
//! | `Sizes` | heap profile | here | hot; sampled blocks are page runs, whose frees come here anyway |
//! | `Everything` | zeroing, hardening, valgrind, AddressSanitizer | here | here |
//!
//! The level is fixed when the configuration is read, which the first allocation of the process does: it finds the level
//! `Unread`. It comes here before any block has been handed out, so no block is older than its watcher.

use crate::block::{self, Block, Found};
use crate::config::{self, Config};
use crate::extent::EXTENTS;
use crate::zone;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    Nobody = 0,
    Sizes = 1,
    Everything = 2,
}

/// The configuration has not been read.
const UNREAD: u8 = 3;

static LEVEL: AtomicU8 = AtomicU8::new(UNREAD);

/// Whether somebody watches, or that is not known yet.
#[inline(always)]
pub(crate) fn on() -> bool {
    LEVEL.load(Relaxed) != Level::Nobody as u8
}

/// How much is watched. Reads the configuration if that has not happened.
pub(crate) fn level() -> Level {
    match LEVEL.load(Acquire) {
        0 => Level::Nobody,
        1 => Level::Sizes,
        2 => Level::Everything,
        _ => {
            config::read_once(apply);
            level()
        }
    }
}

/// Sets up what the configuration asks for; called once, before the first block.
fn apply(config: &Config) {
    if config.mmap_threshold != 0 {
        EXTENTS.set_threshold(config.mmap_threshold);
    }
    if config.dirty_cap != 0 {
        zone::set_dirty_cap(config.dirty_cap);
    }
    let level = if config.zero_on_free { Level::Everything } else { Level::Nobody };
    LEVEL.store(level as u8, Release);
}

/// Allocates a block of at least `size` bytes (not 0) at a multiple of `align`, of zeroes if that is wanted; null with `ENOMEM`
/// if there is no memory.
#[cold]
#[inline(never)]
pub(crate) fn alloc(align: usize, size: usize, zeroes: bool) -> *mut u8 {
    level();
    let Block { address, zeroed } = block::alloc(align, size);
    if zeroes && !zeroed && !address.is_null() {
        // SAFETY: a new block of at least this size.
        unsafe { address.write_bytes(0, size) };
    }
    address
}

/// Frees a block; null is allowed.
#[cold]
#[inline(never)]
pub(crate) fn free(p: *mut u8) {
    if !p.is_null() && config::get().zero_on_free {
        let size = block::find("free", p).size;
        // SAFETY: a block in use, which its owner gives up.
        unsafe { p.write_bytes(0, size) };
    }
    block::free(p);
}

/// Finds a block by its address; reports what is none. Its size is what the program may use.
pub(crate) fn find(call: &str, p: *mut u8) -> Found {
    block::find(call, p)
}

/// Makes a block longer or shorter where it is, or null: then it must be copied.
#[cold]
pub(crate) fn resize(p: *mut u8, block: Found, align: usize, size: usize) -> *mut u8 {
    if level() == Level::Everything { null_mut() } else { block::resize(p, block, align, size) }
}
