//! What valgrind's memcheck and AddressSanitizer are told of blocks: the features `valgrind` and `asan`.
//!
//! Both tools keep a shadow of the program's memory that says which bytes may be touched. Here are the rules by which every
//! block passes through it; the tools' own ways to say it are at the end. With one of the features everything is watched
//! (`watch.rs`), so nothing is cached in sheaves, and speed is no aim.
//!
//! ```text
//!   p                    p + size                       p + usable
//!   │ the program's      │ red zone, at least RED │ size │
//! ```
//!
//! * A block is `RED` bytes longer than was asked for, and the rest up to its usable size is hidden. An overrun shows there;
//!   what lies before a block is the end of the one below it, so an underrun shows too, except at the start of a slab or run.
//! * Its last word holds the size that was asked for, or [`FREED`]: `realloc` must copy no more than that, and
//!   `malloc_usable_size` tells no more.
//! * What is freed is hidden, and waits in a [`QUARANTINE`] before it is handed out again, for a use after free shows only
//!   until then. Long blocks do not wait, and `trim` ends the wait of all.
//! * Memory leaves the shadow's rules when it leaves the program: when it becomes a thread's heap ([`show`]) or is unmapped.
//! * No sheaf holds pointers: memcheck looks for leaks by looking for pointers, in all memory, and would find a lost block in
//!   the slot that it was popped from.

#[cfg(feature = "valgrind")]
use crate::arch::valgrind;
use crate::block::{self, Block, Found, Place, out_of_memory};
use crate::direct::{self, Strictness};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::class_for;
use crate::trim::reclaim;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

/// Bytes of red zone behind a block, its last word included: what memcheck's own malloc has on each side.
const RED: usize = 16;

/// In place of the size: the block waits in the quarantine.
const FREED: usize = usize::MAX;

/// Blocks that wait, and the longest of them in bytes: 64 MiB at most.
const WAITING: usize = 1024;
const WAITS: usize = 64 << 10;

static QUARANTINE: [AtomicPtr<u8>; WAITING] = [const { AtomicPtr::new(null_mut()) }; WAITING];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A block of `size` bytes (not 0) at a multiple of `align`, of zeroes if that is wanted; null with `ENOMEM` if there is no
/// memory.
pub(crate) fn alloc(align: usize, size: usize, zeroes: bool) -> *mut u8 {
    let Some(all) = size.checked_add(RED) else { return out_of_memory() };
    let Block { address: p, mut zeroed } = alloc_uncached(align, all);
    if p.is_null() {
        return p;
    }
    let Some(Found { size: usable, .. }) = block::find("malloc", p) else { return p }; // cannot be: just allocated
    show(p, usable);
    // SAFETY: a new block; its last word lies behind what the program gets.
    unsafe {
        if zeroes && !zeroed {
            p.write_bytes(0, size);
            zeroed = true;
        }
        size_word(p, usable).write(size);
    }
    hide(p.wrapping_add(size), usable - size);
    begin(p, size, zeroed);
    p
}

/// Frees a block; null is allowed.
pub(crate) fn free(p: *mut u8) {
    if p.is_null() {
        return;
    }
    let Some(Found { size: usable, .. }) = block::find("free", p) else { return };
    if asked_for("free", p, usable).is_none() {
        return;
    }
    end(p);
    show(p.wrapping_add(usable - size_of::<usize>()), size_of::<usize>());
    // SAFETY: a block in use, which its owner gives up.
    unsafe { size_word(p, usable).write(FREED) };
    hide(p, usable);
    if usable > WAITS {
        return release(p);
    }
    let slot = &QUARANTINE[NEXT.fetch_add(1, Relaxed) % WAITING];
    let waited = slot.swap(p, AcqRel);
    if !waited.is_null() {
        release(waited);
    }
}

/// A block in use, with the size that was asked for; None, and a report, if there is none.
pub(crate) fn find(call: &str, p: *mut u8) -> Option<Found> {
    let found = block::find(call, p)?;
    Some(Found { size: asked_for(call, p, found.size)?, ..found })
}

/// The size that was asked for; None, and a report, for a block that was freed.
fn asked_for(call: &str, p: *mut u8, usable: usize) -> Option<usize> {
    let word = size_word(p, usable);
    show(word.cast(), size_of::<usize>());
    // SAFETY: the last word of a block that `alloc` made.
    let size = unsafe { word.read() };
    hide(word.cast(), size_of::<usize>());
    if size > usable - RED {
        end(p); // valgrind knows more: where it was freed, and where allocated
        misuse(call, p.addr(), Misuse::DoubleFree { size: usable });
        return None;
    }
    Some(size)
}

fn size_word(p: *mut u8, usable: usize) -> *mut usize {
    p.wrapping_add(usable - size_of::<usize>()).cast()
}

/// A block past the sheaves.
fn alloc_uncached(align: usize, size: usize) -> Block {
    let Some(class) = class_for(size, align) else { return block::alloc(align, size) };
    let mut p = direct::alloc_direct(class);
    if p.is_null() {
        reclaim();
        p = direct::alloc_direct(class);
    }
    if p.is_null() {
        out_of_memory();
    }
    Block { address: p, zeroed: false }
}

/// Gives a block whose time has come to the engine it is from.
fn release(p: *mut u8) {
    let Some(found) = block::find("free", p) else { return };
    match (found.place, found.class()) {
        (_, Some(class)) => direct::give_back(class, &[p], Strictness::Report),
        // Others may map that place.
        (Place::Extent, _) => {
            show(p, found.size);
            block::free(p);
        }
        _ => block::free(p),
    }
}

/// Releases all that waits: when memory is short, or asked back.
pub(crate) fn empty_quarantine() {
    for slot in &QUARANTINE {
        let waited = slot.swap(null_mut(), AcqRel);
        if !waited.is_null() {
            release(waited);
        }
    }
}

// ------------------------------------------------------------------------------------------------ the tools

#[cfg(feature = "asan")]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const u8, len: usize);
    fn __asan_unpoison_memory_region(start: *const u8, len: usize);
}

/// A block begins to exist: the program may touch it, and read it if it is of zeroes.
#[inline(always)]
fn begin(p: *mut u8, size: usize, zeroed: bool) {
    #[cfg(feature = "valgrind")]
    valgrind::client_request(valgrind::MALLOCLIKE_BLOCK, [p.addr(), size, 0, zeroed as usize]);
    // For AddressSanitizer it is shown already, and nothing is undefined.
    let _ = (p, size, zeroed);
}

/// A block ceases to exist.
#[inline(always)]
fn end(p: *mut u8) {
    #[cfg(feature = "valgrind")]
    valgrind::client_request(valgrind::FREELIKE_BLOCK, [p.addr(), 0, 0, 0]);
    let _ = p;
}

/// Nobody may touch this memory.
#[inline(always)]
fn hide(start: *mut u8, len: usize) {
    #[cfg(feature = "valgrind")]
    valgrind::client_request(valgrind::MAKE_MEM_NOACCESS, [start.addr(), len, 0, 0]);
    #[cfg(feature = "asan")]
    // SAFETY: memory of ours; the call changes what the sanitizer thinks of it, nothing else.
    unsafe {
        __asan_poison_memory_region(start, len)
    };
}

/// This memory may be touched.
#[inline(always)]
pub(crate) fn show(start: *mut u8, len: usize) {
    #[cfg(feature = "valgrind")]
    valgrind::client_request(valgrind::MAKE_MEM_DEFINED, [start.addr(), len, 0, 0]);
    #[cfg(feature = "asan")]
    // SAFETY: as in `hide`.
    unsafe {
        __asan_unpoison_memory_region(start, len)
    };
}
