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
//! | `Everything` | hardening (`hardened/`), zeroing, `misuse:report`, valgrind, AddressSanitizer | here | here |
//!
//! A process that goes on after a wrong pointer needs every free to be checked at once: in a sheaf, where the hot paths do not
//! look, a block freed twice would be handed out twice.
//!
//! The level is fixed when the configuration is read, which the first allocation of the process does: it finds the level
//! `Unread`. It comes here before any block has been handed out, so no block is older than its watcher.

use crate::block::{self, Block, Found, Place};
use crate::config::{self, Config, OnMisuse};
use crate::direct::Strictness;
use crate::extent::EXTENTS;
use crate::heap::Heap;
use crate::{hardened, profile, zone};
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

/// Whether this build tells valgrind or AddressSanitizer of every block (`shadow.rs`); then nobody else watches.
const SHADOW: bool = cfg!(any(feature = "valgrind", feature = "asan"));

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
    if config.hardened && !SHADOW {
        hardened::turn_on(config);
    }
    let everything = config.hardened || config.zero_on_free || config.misuse == OnMisuse::Report || SHADOW;
    let level = if everything { Level::Everything } else { Level::Nobody };
    let level = level.max(if config.profile || config.leaks { Level::Sizes } else { Level::Nobody });
    LEVEL.store(level as u8, Release);
}

/// Allocates a block of at least `size` bytes (not 0) at a multiple of `align`, of zeroes if that is wanted; null with `ENOMEM`
/// if there is no memory.
#[inline]
pub(crate) fn alloc(align: usize, size: usize, zeroes: bool) -> *mut u8 {
    if !hardened::on() {
        alloc_slow(align, size, zeroes)
    } else if zeroes {
        hardened::zalloc(align, size)
    } else {
        hardened::alloc(align, size)
    }
}

#[cold]
#[inline(never)]
fn alloc_slow(align: usize, size: usize, zeroes: bool) -> *mut u8 {
    level();
    #[cfg(any(feature = "valgrind", feature = "asan"))]
    return crate::shadow::alloc(align, size, zeroes);
    #[allow(unreachable_code)]
    if hardened::on() {
        return alloc(align, size, zeroes); // it was not known before
    }
    let Block { address, zeroed } = profile::alloc(align, size).unwrap_or_else(|| block::alloc(align, size));
    if zeroes && !zeroed && !address.is_null() {
        // SAFETY: a new block of at least this size.
        unsafe { address.write_bytes(0, size) };
    }
    address
}

/// Frees a block; null is allowed.
#[inline]
pub(crate) fn free(p: *mut u8) {
    if hardened::on() { hardened::free(p) } else { free_slow(p) }
}

#[cold]
#[inline(never)]
fn free_slow(p: *mut u8) {
    level(); // a wrong pointer may be all that came so far
    #[cfg(any(feature = "valgrind", feature = "asan"))]
    return crate::shadow::free(p);
    #[allow(unreachable_code)]
    if !p.is_null() && config::get().zero_on_free {
        let Some(Found { place, size }) = block::find("free", p) else { return };
        // What an extent held is gone with its mapping.
        if place != Place::Extent {
            // SAFETY: a block in use, which its owner gives up.
            unsafe { p.write_bytes(0, size) };
        }
    }
    profile::forget(p);
    block::free(p);
}

/// Finds a block by its address; None, and a report, if there is none. Its size is what the program may use.
pub(crate) fn find(call: &str, p: *mut u8) -> Option<Found> {
    level(); // as in `free`
    #[cfg(any(feature = "valgrind", feature = "asan"))]
    return crate::shadow::find(call, p);
    #[allow(unreachable_code)]
    if hardened::on() {
        return hardened::find(call, p);
    }
    block::find(call, p)
}

/// What watchers hold back from being handed out again is let go.
pub(crate) fn let_go() {
    #[cfg(any(feature = "valgrind", feature = "asan"))]
    crate::shadow::empty_quarantine();
}

/// Memory that a program may have had becomes the allocator's own.
pub(crate) fn own(start: *mut u8, len: usize) {
    #[cfg(any(feature = "valgrind", feature = "asan"))]
    crate::shadow::show(start, len);
    let _ = (start, len);
}

/// Makes a block longer or shorter where it is, or null: then it must be copied.
#[cold]
pub(crate) fn resize(p: *mut u8, block: Found, align: usize, size: usize) -> *mut u8 {
    if hardened::on() {
        return hardened::resize(p, block, align, size);
    }
    // What a run or chunk leaves behind must be zero before anybody else can get it, and yet be whole if it stays. Copied, the
    // block is zeroed as any that is freed.
    let leaves_a_part = size < block.size && matches!(block.place, Place::Chunk(_) | Place::Run(_));
    if SHADOW || leaves_a_part && config::get().zero_on_free {
        return null_mut();
    }
    profile::resize(p, block, align, size)
}

/// A heap gives up all that it has.
pub(crate) fn give_everything_back(heap: &Heap, strictness: Strictness) {
    hardened::give_everything_back(heap, strictness);
}

/// A heap is looked through at the end of the process.
pub(crate) fn check(heap: &Heap) {
    hardened::check(heap);
}
