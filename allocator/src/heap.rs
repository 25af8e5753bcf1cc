//! A thread's heap, the part the hot paths touch: one sheaf a size class.
//!
//! A *sheaf* is an array of free objects, used as a stack: `malloc` pops, `free` pushes, and that is the whole hot path. It
//! is the heap's own; nobody else reads or writes it. `top` points one above the newest object, `limit` is where pushing
//! ends. Below each sheaf lies a slot that is always null, so popping from an empty sheaf yields null: emptiness and
//! 'no heap yet' are one test. Limits are data: a class that is not to be cached has its limit at its base.
//!
//! A thread starts with the shared [`EMPTY_HEAP`], whose sheaves are all empty and full at once; its first slow path makes a
//! heap (`thread.rs`). A thread whose heap has been taken down has [`DEAD_HEAP`]. How sheaves are filled and emptied is in
//! `thread_heap.rs`.

use crate::arch;
use crate::hardened::Quarantine;
use crate::kmem::sheaf::Sheaves;
use crate::slab::size_class::{CLASS_MAX, MEDIUM_ENTRIES, MEDIUM_SHIFT, SMALL_ENTRIES, SMALL_MAX, SMALL_SHIFT};
use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicPtr};

/// Sheaves a heap has room for: the classes, and the granule bytes above them, which `free` uses as an index too.
pub(crate) const NR_SHEAVES: usize = 104;

/// What the hot paths touch.
#[repr(C)]
pub struct Heap {
    /// One above the newest object of each sheaf; its slot below the first object is null.
    pub(crate) top: [Cell<*mut *mut u8>; NR_SHEAVES],
    /// Where pushing ends.
    pub(crate) limit: [Cell<*mut *mut u8>; NR_SHEAVES],
    /// Calls of `malloc` until the next look at what lies idle.
    pub(crate) until_look: AtomicI32,
    /// Class by size, up to 1 KiB and up to 256 KiB: the tables of `size_class`, here because their address is at hand.
    pub(crate) small_classes: [u8; SMALL_ENTRIES],
    pub(crate) medium_classes: [u8; MEDIUM_ENTRIES],
    /// Sheaves of typed caches (`kmem/sheaf.rs`); null before the first is used, and in the sentinels for good.
    pub(crate) sheaves: AtomicPtr<Sheaves>,
    /// What hardening keeps for the thread (`hardened/quarantine.rs`); null where there is none.
    pub(crate) quarantine: Cell<*mut Quarantine>,
}

// `pop` and `push` take the heap's address for that of `top`.
const _: () = assert!(core::mem::offset_of!(Heap, top) == 0);

/// A heap nobody owns, for threads without one: every sheaf is empty for `malloc` and full for `free`.
#[repr(transparent)]
pub(crate) struct Sentinel(Heap);

// SAFETY: nothing ever writes to a sentinel but to its counter, which is atomic: the hot paths write only after finding an object or
// room.
unsafe impl Sync for Sentinel {}

/// What an empty sheaf's `top` points above.
struct Null([*mut u8; 2]);
// SAFETY: never written.
unsafe impl Sync for Null {}
static NULL: Null = Null([null_mut(); 2]);

/// The top of a sheaf that is always empty.
pub(crate) const ABOVE_NULL: *mut *mut u8 = (&raw const NULL.0[1]).cast_mut();

const fn sentinel() -> Sentinel {
    Sentinel(Heap {
        top: [const { Cell::new(ABOVE_NULL) }; NR_SHEAVES],
        limit: [const { Cell::new(null_mut()) }; NR_SHEAVES],
        until_look: AtomicI32::new(0),
        small_classes: [0; SMALL_ENTRIES],
        medium_classes: [0; MEDIUM_ENTRIES],
        sheaves: AtomicPtr::new(null_mut()),
        quarantine: Cell::new(null_mut()),
    })
}

/// The heap of a thread that has none yet.
pub(crate) static EMPTY_HEAP: Sentinel = sentinel();

/// The heap of a thread whose heap has been taken down.
pub(crate) static DEAD_HEAP: Sentinel = sentinel();

impl Heap {
    /// The class of a size from 1 to 256 KiB, for sizes the compiler does not know; None for others, 0 among them.
    ///
    /// # Safety
    /// `heap` is this thread's (or a sentinel, for which every class is 0, and that sheaf is empty and full).
    #[inline(always)]
    pub(crate) unsafe fn class_of(heap: *const Heap, size: usize) -> Option<usize> {
        let last = size.wrapping_sub(1); // size 0 becomes huge
        // SAFETY: by the caller; the indices are below the tables' lengths.
        unsafe {
            if last < SMALL_MAX {
                Some(*(*heap).small_classes.as_ptr().add(last >> SMALL_SHIFT) as usize)
            } else if last < CLASS_MAX {
                // Small sizes first, without a jump; which of the two lies apart is otherwise left to chance.
                core::hint::cold_path();
                // Opaque, or the compiler merges both look-ups into one with a variable shift, two instructions longer.
                Some(arch::opaque(*(*heap).medium_classes.as_ptr().add(last >> MEDIUM_SHIFT) as usize))
            } else {
                None
            }
        }
    }

    /// Pops the newest object of a sheaf; null if it is empty.
    ///
    /// # Safety
    /// `heap` is this thread's (or a sentinel), `sheaf` below [`NR_SHEAVES`].
    #[inline(always)]
    pub(crate) unsafe fn pop(heap: *const Heap, sheaf: usize) -> *mut u8 {
        debug_assert!(sheaf < NR_SHEAVES);
        // SAFETY: by the caller; below every top lies an object or the null slot.
        unsafe {
            let top = (*heap).top.as_ptr().add(sheaf);
            let object = *(*top).get().sub(1);
            if !object.is_null() {
                arch::advance::<-8>(heap, sheaf); // top is the heap's first field
            }
            object
        }
    }

    /// Counts a call; true if it is time for a look at what lies idle.
    ///
    /// # Safety
    /// `heap` is this thread's, or a sentinel.
    #[inline(always)]
    pub(crate) unsafe fn counts_down(heap: *const Heap) -> bool {
        // SAFETY: by the caller.
        unsafe { arch::counts_down::<{ core::mem::offset_of!(Heap, until_look) }>(heap) }
    }

    /// Pushes an object; false if there is no room.
    ///
    /// # Safety
    /// As for [`Heap::pop`]; the object is the caller's and belongs to this sheaf's class.
    #[inline(always)]
    pub(crate) unsafe fn push(heap: *const Heap, sheaf: usize, object: *mut u8) -> bool {
        debug_assert!(sheaf < NR_SHEAVES);
        // SAFETY: by the caller; below the limit there is room.
        unsafe {
            let top = (*heap).top.as_ptr().add(sheaf);
            let slot = (*top).get();
            if slot >= (*(*heap).limit.as_ptr().add(sheaf)).get() {
                return false;
            }
            *slot = object;
            // `advance` keeps the order: what fork copies must not have the new top without the object (`thread_heap.rs`).
            arch::advance::<8>(heap, sheaf);
            true
        }
    }
}
