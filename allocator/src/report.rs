//! Errors for people: one line on stderr, made without allocating, then `abort`.
//!
//! A misused pointer is a bug in the program (or an attack on it), and going on could hand the same memory out twice. The line
//! says which call, which address, what is wrong with it, and what is known of the block.
//!
//! With `misuse:report` the line is all, and [`misuse`] returns: its callers then leave alone what the pointer points to. A
//! call with a wrong pointer does nothing (`realloc` returns null with `EINVAL`, `malloc_usable_size` 0); memory whose state is
//! in doubt is lost, never handed out. That needs every free to be checked at once, so frees are watched then (`watch.rs`).

use crate::config::{self, OnMisuse};
use crate::kmem::error::CacheName;
use crate::os::map::write_all;
use crate::text::Text;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Lines printed by a process that goes on: a bug in a loop should not fill a disk.
const LINES_MAX: u32 = 100;

/// Writes one line to stderr, `fairground: ` before it.
pub fn line(write: impl FnOnce(&mut Text)) {
    let mut sink = |bytes: &[u8]| write_all(2, bytes);
    let mut text = Text::new(&mut sink);
    text.text("fairground: ");
    write(&mut text);
    text.text("\n");
}

/// What is wrong with a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// Not in any memory of ours.
    Foreign,
    /// Ours, but no block starts there. The block or slab it lies in starts at `start` and has `size` bytes, if known.
    Interior { start: usize, size: usize },
    /// Ours, and in memory that is not in use.
    NotAllocated,
    /// The block was freed before; it has `size` bytes.
    DoubleFree { size: usize },
    /// A sized call named another size than the block has.
    WrongSize { size: usize, claimed: usize },
    /// In a slab of a typed cache, and given to another or to `malloc`'s relatives.
    OfCache { name: CacheName },
    /// In memory of `malloc`'s, and given to a typed cache.
    OfMalloc,
    /// The bytes behind the block have changed; its slot has room for `room` bytes.
    Overflow { room: usize },
    /// The block was freed, and has been written to since, at `offset`; its slot has room for `room` bytes.
    UsedAfterFree { room: usize, offset: usize },
}

/// Reports a misused pointer, and aborts unless the configuration says to go on.
#[cold]
#[inline(never)]
pub(crate) fn misuse(call: &str, address: usize, what: Misuse) {
    report(address, what, |text| _ = text.text(call));
}

/// Reports a misused pointer that was given to a typed cache, and aborts unless the configuration says to go on.
#[cold]
#[inline(never)]
pub(crate) fn cache_misuse(cache: &CacheName, address: usize, what: Misuse) {
    report(address, what, |text| _ = text.text("cache ").text(cache.as_str()).text(": free"));
}

fn report(address: usize, what: Misuse, call: impl FnOnce(&mut Text)) {
    static REPORTED: AtomicU32 = AtomicU32::new(0);
    let goes_on = config::get().misuse == OnMisuse::Report;
    if goes_on {
        // Looked at first, so that the number cannot wrap around.
        if REPORTED.load(Relaxed) > LINES_MAX {
            return;
        }
        let before = REPORTED.fetch_add(1, Relaxed);
        if before >= LINES_MAX {
            if before == LINES_MAX {
                line(|text| _ = text.number(LINES_MAX as usize).text(" wrong pointers were reported; no more will be"));
            }
            return;
        }
    }
    line(|text| {
        call(text);
        text.text("(").hex(address).text("): ");
        describe(text, address, what);
    });
    if !goes_on {
        // SAFETY: abort has no preconditions.
        unsafe { libc::abort() }
    }
}

fn describe(text: &mut Text, address: usize, what: Misuse) {
    match what {
        Misuse::Foreign => text
            .text("not a pointer from this allocator (another's, a stack or static address, huge and freed before, or damaged)"),
        Misuse::Interior { start, size: 0 } => {
            text.text("no block starts here; it lies in memory of ours that begins at ").hex(start)
        }
        Misuse::Interior { start, size } => text
            .text("points ")
            .number(address - start)
            .text(" bytes into the block of ")
            .number(size)
            .text(" bytes at ")
            .hex(start),
        Misuse::NotAllocated => text.text("no block is allocated here (freed before, or damaged)"),
        Misuse::DoubleFree { size } => {
            text.text("double free: the block of ").number(size).text(" bytes is free already")
        }
        Misuse::WrongSize { size, claimed } => text
            .text("wrong size: freed as a block of ")
            .number(claimed)
            .text(" bytes, but its size class has ")
            .number(size)
            .text(" bytes"),
        Misuse::OfCache { name } => text
            .text("belongs to the cache ")
            .text(name.as_str())
            .text(": free it with that cache (fairground_cache_free; in Rust drop its handle, or free_raw)"),
        Misuse::OfMalloc => text.text("not an object of a typed cache; it lies in memory of malloc's: free it with free"),
        Misuse::Overflow { room } => text
            .text("overflow: the bytes behind the block have been written to (its place has room for ")
            .number(room)
            .text(" bytes)"),
        Misuse::UsedAfterFree { room, offset } => text
            .text("use after free: the block has been written to at byte ")
            .number(offset)
            .text(" since it was freed (its place has room for ")
            .number(room)
            .text(" bytes)"),
    };
}
