//! A thread's heap: one sheaf a size class, and the slow paths that fill and empty them.
//!
//! A *sheaf* is an array of free objects, used as a stack: `malloc` pops, `free` pushes, and that is the whole hot path. It
//! is the heap's own; nobody else reads or writes it. `top` points one above the newest object, `limit` is where pushing
//! ends. Below each sheaf lies a slot that is always null, so popping from an empty sheaf yields null: emptiness and
//! 'no heap yet' are one test. Limits are data: a class that is not to be cached has its limit at its base.
//!
//! An empty sheaf is filled from the node's barn (a batch another thread freed), else from the heap's *current* slab of that
//! class, else from a partial or new slab. A full one gives its older half to the barn, or to the slabs' bitmaps. For the
//! classes of the bins the same arrays are the *fast bins*; they are filled from and emptied into the bins.
//!
//! A heap that has never allocated from a class does not cache it at first: the first frees go straight to the slabs. A
//! thread that was handed an object, frees it and allocates must not get the same cache line back that another thread's
//! objects lie in (passive false sharing).
//!
//! # Life
//!
//! A thread starts with the shared `EMPTY_HEAP`, whose sheaves are all empty and full at once. Its first slow path makes or
//! reuses a heap. At thread exit a `pthread_key` destructor gives everything back and leaves the thread with `DEAD_HEAP`:
//! later requests of the same thread (other destructors) are served one by one without a cache, so nothing is left behind.
//! Heaps are never unmapped; the registry keeps them for reuse and for `fork`.
//!
//! # Fork
//!
//! The child finds the heaps of threads it does not have in any state. Every step below therefore lowers `top` *before* the
//! objects above it become reachable for others, so that at any moment what lies in `[base, top)` belongs to nobody else;
//! an interrupted step can lose a batch, or name an object twice, but cannot name a live one. `fork.rs` returns them.

use crate::bins::{self, BadChunk};
use crate::lock::Lock;
use crate::memblock::{MEMBLOCK, NodeId, granule};
use crate::page::{Kind, PageIndex, Tag};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{
    CAPACITIES, CLASS_MAX, Class, MEDIUM_CLASSES, MEDIUM_ENTRIES, MEDIUM_SHIFT, NR_CLASSES, NR_SLAB_CLASSES, NR_SLOTS,
    OFFSETS, RECIPROCALS, SHEAF_MAX, SMALL_CLASSES, SMALL_ENTRIES, SMALL_MAX, SMALL_SHIFT, size_of_class,
};
use crate::slab::slab::{SLAB_BYTES, Slab};
use crate::zone::buddy::MigrateType;
use crate::zone::node::{Node, SlabBacking, batch_of, node, node_of, slab_at};
use crate::{arch, fork};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*, compiler_fence};

/// Sheaves a heap has room for: the classes, and the granule bytes above them, which `free` uses as an index too.
pub(crate) const NR_SHEAVES: usize = 104;

/// Frees of a class that a heap which never allocated from it passes straight to the slabs before it begins to cache.
const DIRECT_FREES: u8 = 16;

/// What the hot paths touch.
#[repr(C)]
pub struct Heap {
    /// One above the newest object of each sheaf; its slot below the first object is null.
    pub(crate) top: [Cell<*mut *mut u8>; NR_SHEAVES],
    /// Where pushing ends.
    pub(crate) limit: [Cell<*mut *mut u8>; NR_SHEAVES],
    /// Class by size, up to 1 KiB and up to 256 KiB: the tables of `size_class`, here because their address is at hand.
    pub(crate) small_classes: [u8; SMALL_ENTRIES],
    pub(crate) medium_classes: [u8; MEDIUM_ENTRIES],
}

// `pop` and `push` take the heap's address for that of `top`.
const _: () = assert!(core::mem::offset_of!(Heap, top) == 0);

/// Bytes between the start of a heap's first page and the heap. Programs write to the starts of pages more than anywhere
/// else (first objects of slabs, large blocks), and a load from the same place in another page waits for such a store.
const COLOUR: usize = 256;
const _: () = assert!(COLOUR + size_of::<Heap>() <= 4096, "the hot part lies in one page");

/// A heap that belongs to a thread.
#[repr(C)]
pub(crate) struct ThreadHeap {
    hot: Heap,
    node: &'static Node,
    /// All heaps ever made, newest first; constant once linked.
    next: *mut ThreadHeap,
    in_use: AtomicBool,
    current: [Cell<*mut Slab>; NR_SLAB_CLASSES + 1],
    direct_frees: [Cell<u8>; NR_SLAB_CLASSES + 1],
    slots: [UnsafeCell<*mut u8>; NR_SLOTS],
}

/// A heap nobody owns, for threads without one: every sheaf is empty for `malloc` and full for `free`.
#[repr(transparent)]
pub(crate) struct Sentinel(Heap);

// SAFETY: nothing ever writes to a sentinel: the hot paths write only after finding an object or room.
unsafe impl Sync for Sentinel {}

/// What an empty sheaf's `top` points above.
struct Null([*mut u8; 2]);
// SAFETY: never written.
unsafe impl Sync for Null {}
static NULL: Null = Null([null_mut(); 2]);

/// The top of a sheaf that is always empty.
const ABOVE_NULL: *mut *mut u8 = (&raw const NULL.0[1]).cast_mut();

const fn sentinel() -> Sentinel {
    Sentinel(Heap {
        top: [const { Cell::new(ABOVE_NULL) }; NR_SHEAVES],
        limit: [const { Cell::new(null_mut()) }; NR_SHEAVES],
        small_classes: [0; SMALL_ENTRIES],
        medium_classes: [0; MEDIUM_ENTRIES],
    })
}

/// The heap of a thread that has none yet.
pub(crate) static EMPTY_HEAP: Sentinel = sentinel();

/// The heap of a thread whose heap has been taken down.
pub(crate) static DEAD_HEAP: Sentinel = sentinel();

/// All heaps; the lock guards making, reusing and walking them.
pub(crate) struct Registry {
    lock: Lock,
    first: UnsafeCell<*mut ThreadHeap>,
    exit_key: AtomicU32,
}

// SAFETY: `first` is only touched under `lock`.
unsafe impl Sync for Registry {}

/// All heaps of the process.
pub(crate) static REGISTRY: Registry =
    Registry { lock: Lock::new(), first: UnsafeCell::new(null_mut()), exit_key: AtomicU32::new(NO_KEY) };

const NO_KEY: u32 = u32::MAX;

/// This thread's heap, made if need be. None if the thread's has been taken down, or if there is no memory for one.
#[inline]
pub(crate) fn current() -> Option<&'static ThreadHeap> {
    let heap = arch::heap_pointer();
    if core::ptr::eq(heap, (&raw const EMPTY_HEAP).cast()) {
        return create();
    }
    if core::ptr::eq(heap, (&raw const DEAD_HEAP).cast()) {
        return None;
    }
    // SAFETY: otherwise the pointer is that of a ThreadHeap of this thread.
    Some(unsafe { &*heap.cast::<ThreadHeap>() })
}

/// This thread's heap if it has one.
pub(crate) fn existing() -> Option<&'static ThreadHeap> {
    let heap = arch::heap_pointer();
    if core::ptr::eq(heap, (&raw const EMPTY_HEAP).cast()) || core::ptr::eq(heap, (&raw const DEAD_HEAP).cast()) {
        return None;
    }
    // SAFETY: as in `current`.
    Some(unsafe { &*heap.cast::<ThreadHeap>() })
}

#[cold]
#[inline(never)]
fn create() -> Option<&'static ThreadHeap> {
    let node = node(NodeId(0))?;
    let heap = {
        let _guard = REGISTRY.lock.lock();
        // SAFETY: under the lock.
        let first = unsafe { &mut *REGISTRY.first.get() };
        match reusable(*first, node) {
            Some(heap) => heap,
            None => {
                *first = make(node, *first)?;
                *first
            }
        }
    };
    arch::set_heap_pointer(heap.cast());
    // From here on allocating works, also for what the next lines call.
    register_exit(heap);
    // SAFETY: heaps are never unmapped.
    Some(unsafe { &*heap })
}

/// A heap on this node that no thread uses; now in use.
fn reusable(first: *mut ThreadHeap, node: &Node) -> Option<*mut ThreadHeap> {
    let mut heap = first;
    while !heap.is_null() {
        // SAFETY: heaps are never unmapped.
        let h = unsafe { &*heap };
        if core::ptr::eq(h.node, node) && !h.in_use.load(Relaxed) && !h.in_use.swap(true, Acquire) {
            return Some(heap);
        }
        heap = h.next;
    }
    None
}

/// A new heap; all its sheaves are empty and do not cache yet.
fn make(node: &'static Node, next: *mut ThreadHeap) -> Option<*mut ThreadHeap> {
    let pages = (COLOUR + size_of::<ThreadHeap>()).div_ceil(4096) as u32;
    let got = node.zone.alloc_exact(pages, 1, MigrateType::Stack)?;
    let page = MEMBLOCK.page_map();
    page.page(got.start).set_tag(Tag::new(Kind::Reserved, 0, 0));
    let heap = MEMBLOCK.address_of(got.start).wrapping_add(COLOUR).cast::<ThreadHeap>();
    // SAFETY: our pages, aligned to a page and large enough; written field by field, for the slots should stay untouched
    // (they are zero: fresh pages are, others are zeroed here).
    unsafe {
        if !got.zeroed {
            heap.cast::<u8>().write_bytes(0, size_of::<ThreadHeap>());
        }
        let h = &*heap;
        for class in 0..NR_SHEAVES {
            let is_class = (1..NR_CLASSES).contains(&class);
            let base = if is_class { h.base(class as Class) } else { ABOVE_NULL };
            h.hot.top[class].set(base);
            h.hot.limit[class].set(if is_class { base } else { null_mut() });
        }
        (&raw mut (*heap).hot.small_classes).write(SMALL_CLASSES);
        (&raw mut (*heap).hot.medium_classes).write(MEDIUM_CLASSES);
        (&raw mut (*heap).node).write(node);
        (&raw mut (*heap).next).write(next);
        h.in_use.store(true, Relaxed);
    }
    Some(heap)
}

/// Sees to it that the heap is taken down with its thread.
fn register_exit(heap: *mut ThreadHeap) {
    let mut key = REGISTRY.exit_key.load(Acquire);
    if key == NO_KEY {
        let mut new: libc::pthread_key_t = 0;
        // SAFETY: creates a key; does not allocate.
        if unsafe { libc::pthread_key_create(&mut new, Some(thread_exit)) } != 0 {
            return; // no keys left: heaps of exiting threads stay in use, their caches are lost
        }
        match REGISTRY.exit_key.compare_exchange(NO_KEY, new, AcqRel, Acquire) {
            Ok(_) => {
                key = new;
                fork::register();
            }
            Err(winner) => {
                // SAFETY: ours and unused.
                unsafe { libc::pthread_key_delete(new) };
                key = winner;
            }
        }
    }
    // SAFETY: a valid key. May allocate (keys above 31), which works by now.
    unsafe { libc::pthread_setspecific(key, heap.cast()) };
}

unsafe extern "C" fn thread_exit(heap: *mut libc::c_void) {
    let heap = heap.cast::<ThreadHeap>();
    if !core::ptr::eq(arch::heap_pointer(), heap.cast()) {
        return;
    }
    arch::set_heap_pointer((&raw const DEAD_HEAP).cast_mut().cast());
    // SAFETY: the exiting thread's own heap.
    let h = unsafe { &*heap };
    h.give_everything_back(Strictness::Report);
    h.in_use.store(false, Release);
}

/// What to do about an object in a sheaf that is free already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The program freed it twice: report and abort.
    Report,
    /// The sheaf was caught in the middle of a step by fork: skip it.
    Tolerate,
}

impl ThreadHeap {
    /// The first slot of a class's sheaf.
    #[inline]
    fn base(&self, class: Class) -> *mut *mut u8 {
        let offset = OFFSETS[class as usize] as usize + 1;
        // SAFETY: offsets of classes lie within the slots.
        unsafe { self.slots.as_ptr().cast::<*mut u8>().cast_mut().add(offset) }
    }

    /// The heap's node.
    pub(crate) fn node(&self) -> &'static Node {
        self.node
    }

    /// Pops from a class's sheaf; null if it is empty. Nulls that a sized free of null pushed are dropped: they hide what is
    /// below them from the fast path.
    pub(crate) fn pop(&self, class: Class) -> *mut u8 {
        let (top, base) = (&self.hot.top[class as usize], self.base(class));
        // SAFETY: slots from base to top are the sheaf's.
        while top.get() > base && unsafe { *top.get().sub(1) }.is_null() {
            top.set(top.get().wrapping_sub(1));
        }
        // SAFETY: a heap of this thread.
        unsafe { Heap::pop(&self.hot, class as usize) }
    }

    /// Fills the empty sheaf of a slab class and pops one object; null if there is no memory.
    pub(crate) fn refill(&self, class: Class) -> *mut u8 {
        let base = self.base(class);
        let want = batch_of(class);
        let cache = &self.node.caches[class as usize];
        // SAFETY: the sheaf has room for a batch, and holds what was taken.
        let got = unsafe {
            let mut batch = cache.take_batch(base);
            while batch != 0 && (*base.add(batch - 1)).is_null() {
                batch -= 1; // sized frees of null, from a thread that did nothing else
            }
            if batch != 0 { batch } else { self.take_from_slabs(class, base, want) }
        };
        if got == 0 {
            return null_mut();
        }
        self.hot.limit[class as usize].set(base.wrapping_add(CAPACITIES[class as usize] as usize));
        // SAFETY: `got` objects lie from `base` on.
        unsafe {
            let top = base.add(got - 1);
            self.hot.top[class as usize].set(top);
            *top
        }
    }

    /// # Safety
    /// There is room for `want` pointers at `out`.
    unsafe fn take_from_slabs(&self, class: Class, out: *mut *mut u8, want: usize) -> usize {
        let cache = &self.node.caches[class as usize];
        let backing = SlabBacking { node: self.node, class };
        let current = &self.current[class as usize];
        loop {
            let mut slab = current.get();
            if slab.is_null() {
                slab = cache.hold_slab(&backing);
                if slab.is_null() {
                    return 0;
                }
                current.set(slab);
            }
            // SAFETY: held by this heap; room by the caller.
            unsafe {
                let got = (*slab).take(out.add(want), want);
                if got != 0 {
                    if got < want {
                        core::ptr::copy(out.add(want - got), out, got);
                    }
                    return got;
                }
                current.set(null_mut());
                if cache.exhausted(slab, &backing) {
                    current.set(slab);
                }
            }
        }
    }

    /// Fills the empty fast bin of a medium class and returns one chunk; None if there is no memory.
    pub(crate) fn refill_chunks(&self, class: Class) -> Option<bins::Chunk> {
        let base = self.base(class);
        let want = (CAPACITIES[class as usize] as usize / 2).max(1);
        let mut first = None;
        let mut top = base;
        self.node.bins.alloc(&self.node.zone, class, want, |chunk| {
            if first.is_none() {
                first = Some(chunk);
            } else {
                // SAFETY: fewer than the sheaf's capacity.
                unsafe {
                    *top = chunk.address;
                    top = top.add(1);
                }
            }
        });
        first?;
        self.hot.top[class as usize].set(top);
        self.hot.limit[class as usize].set(base.wrapping_add(CAPACITIES[class as usize] as usize));
        first
    }

    /// Frees an object whose sheaf is full, or not in use yet. `class` is what its granule says.
    pub(crate) fn free_full(&self, class: Class, object: *mut u8) {
        let c = class as usize;
        let base = self.base(class);
        if core::ptr::eq(self.hot.limit[c].get(), base) {
            if c <= NR_SLAB_CLASSES && self.direct_frees[c].get() < DIRECT_FREES {
                self.direct_frees[c].set(self.direct_frees[c].get() + 1);
                return give_back(class, &[object], Strictness::Report);
            }
            self.hot.limit[c].set(base.wrapping_add(CAPACITIES[c] as usize));
        } else {
            self.flush(class, batch_of(class));
        }
        let top = self.hot.top[c].get();
        // SAFETY: there is room now.
        unsafe { *top = object };
        compiler_fence(Release);
        self.hot.top[c].set(top.wrapping_add(1));
    }

    /// Takes the oldest `count` objects out of a sheaf: to the barn, or to where they came from.
    fn flush(&self, class: Class, count: usize) {
        let mut objects = [null_mut(); SHEAF_MAX];
        let c = class as usize;
        let base = self.base(class);
        let top = self.hot.top[c].get();
        // SAFETY: the sheaf holds at least `count` objects between base and top.
        unsafe {
            let held = top.offset_from(base) as usize;
            debug_assert!(held >= count);
            core::ptr::copy_nonoverlapping(base, objects.as_mut_ptr(), count);
            core::ptr::copy(base.add(count), base, held - count);
        }
        self.hot.top[c].set(top.wrapping_sub(count));
        // Fork: what is published below must have left the sheaf. See the module's text.
        compiler_fence(SeqCst);
        let objects = &objects[..count];
        if c <= NR_SLAB_CLASSES
            && count == batch_of(class)
            // SAFETY: a batch of objects of this class that we just took out of the sheaf.
            && unsafe { self.node.caches[c].put_batch(objects.as_ptr()) }
        {
            return;
        }
        give_back(class, objects, Strictness::Report);
    }

    /// Empties all sheaves into slabs and bins, and lets go of the current slabs.
    pub(crate) fn give_everything_back(&self, strictness: Strictness) {
        for class in 1..NR_CLASSES {
            let base = self.base(class as Class);
            let top = self.hot.top[class].get();
            // Whatever happens next, the sheaf is empty and caches nothing.
            self.hot.top[class].set(base);
            self.hot.limit[class].set(base);
            compiler_fence(SeqCst);
            // SAFETY: `top` lies in the sheaf.
            let held = unsafe { top.offset_from(base) } as usize;
            if held != 0 {
                // SAFETY: as above; nobody pushes meanwhile.
                give_back(class as Class, unsafe { core::slice::from_raw_parts(base, held) }, strictness);
            }
        }
        for class in 1..=NR_SLAB_CLASSES {
            self.direct_frees[class].set(0);
            let slab = self.current[class].replace(null_mut());
            if !slab.is_null() && self.holds(slab, class as Class) {
                let backing = SlabBacking { node: self.node, class: class as Class };
                // SAFETY: held by this heap.
                unsafe { self.node.caches[class].let_go(slab, &backing) };
            }
        }
    }

    /// Looks at all that lies in the sheaves, without taking it out: reports what is not an object in use of its class, or
    /// is there twice, or in the barn too. For the end of a process, which no flush may come before.
    pub(crate) fn check(&self) {
        for class in 1..NR_CLASSES {
            let base = self.base(class as Class);
            let top = self.hot.top[class].get();
            if top == base {
                continue;
            }
            // SAFETY: from base to top lies the sheaf, and this thread does nothing else meanwhile.
            let sheaf = unsafe { core::slice::from_raw_parts(base, top.offset_from(base) as usize) };
            let seen = check_sheaf(class as Class, sheaf);
            if class <= NR_SLAB_CLASSES {
                self.node.caches[class].look_into_barn(|barn| seen.check_barn(class as Class, sheaf, barn));
            }
        }
    }

    /// Whether `slab` really is in the state a current slab has: always, unless fork interrupted a change of slabs.
    fn holds(&self, slab: *mut Slab, class: Class) -> bool {
        use crate::slab::cache::Backing;
        use crate::slab::slab::State;
        let backing = SlabBacking { node: self.node, class };
        // SAFETY: the record's memory is always readable.
        backing.is_ours(slab) && unsafe { (*slab).look() }.state == State::Current
    }
}

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
            arch::advance::<8>(heap, sheaf); // after the store: see 'Fork'
            true
        }
    }
}

/// Allocates one object without a heap: for threads that have none any more.
pub(crate) fn alloc_direct(class: Class) -> *mut u8 {
    let Some(node) = node(NodeId(0)) else { return null_mut() };
    if class as usize > NR_SLAB_CLASSES {
        let mut found = null_mut();
        node.bins.alloc(&node.zone, class, 1, |chunk| found = chunk.address);
        return found;
    }
    let cache = &node.caches[class as usize];
    let backing = SlabBacking { node, class };
    loop {
        let slab = cache.hold_slab(&backing);
        if slab.is_null() {
            return null_mut();
        }
        let mut object: *mut u8 = null_mut();
        // SAFETY: held here, and let go of here.
        unsafe {
            if (*slab).take((&raw mut object).add(1), 1) != 0 {
                cache.let_go(slab, &backing);
                return object;
            }
            if cache.exhausted(slab, &backing) {
                cache.let_go(slab, &backing);
            }
        }
    }
}

/// Returns objects that were in a sheaf to their slabs or to the bins. This is where a wrong pointer shows at the latest.
pub(crate) fn give_back(class: Class, objects: &[*mut u8], strictness: Strictness) {
    if class as usize > NR_SLAB_CLASSES {
        for &chunk in objects.iter().filter(|chunk| !chunk.is_null()) {
            give_back_chunk(chunk, class, strictness);
        }
        return;
    }
    let size = size_of_class(class);
    let reciprocal = RECIPROCALS[class as usize] as u64;
    // Objects of one slab often follow each other: their bits are set word by word, their count subtracted once.
    let mut run = Run { slab: null_mut(), page: PageIndex::NONE, word: 0, mask: 0, count: 0 };
    for &object in objects {
        let address = object.addr();
        if object.is_null() {
            continue; // a sized free of null
        }
        let Some(index) = MEMBLOCK.index_of(address) else { misuse("free", address, Misuse::Foreign) };
        if MEMBLOCK.granule(index).load(Relaxed) != class {
            if strictness == Strictness::Tolerate {
                continue; // named twice, and its slab went with the last object
            }
            wrong_class(address, index, size);
        }
        let offset = address % SLAB_BYTES;
        let number = ((offset as u64 * reciprocal) >> 32) as usize;
        if number * size != offset {
            misuse("free", address, Misuse::Interior { start: address - offset + number * size, size });
        }
        let slab = slab_at(index);
        if !core::ptr::eq(run.slab, slab) {
            run.end(class, strictness);
            run = Run { slab, page: index, word: number / 64, mask: 0, count: 0 };
        } else if run.word != number / 64 {
            run.put(class, strictness);
            run.word = number / 64;
        }
        let bit = 1 << (number % 64);
        if run.mask & bit != 0 && strictness == Strictness::Report {
            misuse("free", address, Misuse::DoubleFree { size });
        }
        run.mask |= bit;
    }
    run.end(class, strictness);
}

/// Objects of one slab on their way back.
struct Run {
    slab: *mut Slab,
    page: PageIndex,
    word: usize,
    mask: u64,
    count: u32,
}

impl Run {
    /// Sets the bits collected for one word.
    fn put(&mut self, class: Class, strictness: Strictness) {
        if self.mask == 0 {
            return;
        }
        // SAFETY: the objects count as in use until `settle`, so the slab exists.
        let slab = unsafe { &*self.slab };
        if self.word * 64 + (63 - self.mask.leading_zeros() as usize) >= slab.objects as usize {
            let size = size_of_class(class);
            let address = slab.base().addr() + (self.word * 64 + self.mask.trailing_zeros() as usize) * size;
            misuse("free", address, Misuse::NotAllocated);
        }
        let mut newly = self.mask;
        if let Err(double) = slab.put(self.word, self.mask) {
            if strictness == Strictness::Report {
                let number = self.word * 64 + double.bits.trailing_zeros() as usize;
                let size = size_of_class(class);
                misuse("free", slab.base().addr() + number * size, Misuse::DoubleFree { size });
            }
            newly &= !double.bits;
        }
        self.count += newly.count_ones();
        self.mask = 0;
    }

    /// Sets the last bits and subtracts the objects; the slab may be gone afterwards.
    fn end(&mut self, class: Class, strictness: Strictness) {
        self.put(class, strictness);
        if self.count == 0 {
            return;
        }
        // SAFETY: as in `put`.
        let found = unsafe { (*self.slab).settle(self.count) };
        let node = node_of(self.page);
        node.caches[class as usize].after_free(self.slab, found, &SlabBacking { node, class });
    }
}

/// A bit for each address, by a hash: only if it is set already can the address have been there before.
struct Seen([u64; 16]);

impl Seen {
    #[inline]
    fn bit(address: usize) -> (usize, u64) {
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
        (hash as usize / 64, 1 << (hash % 64))
    }

    #[inline]
    fn insert(&mut self, address: usize) -> bool {
        let (word, bit) = Seen::bit(address);
        let known = self.0[word] & bit != 0;
        self.0[word] |= bit;
        known
    }

    /// Reports an object of the sheaf that lies in the barn too.
    fn check_barn(&self, class: Class, sheaf: &[*mut u8], barn: &[*mut u8]) {
        for &object in barn {
            let (word, bit) = Seen::bit(object.addr());
            if self.0[word] & bit != 0 && !object.is_null() && sheaf.contains(&object) {
                misuse("free", object.addr(), Misuse::DoubleFree { size: size_of_class(class) });
            }
        }
    }
}

/// See [`ThreadHeap::check`]. Returns what it saw.
fn check_sheaf(class: Class, objects: &[*mut u8]) -> Seen {
    let size = size_of_class(class);
    let expected = if class as usize > NR_SLAB_CLASSES { granule::BINS } else { class };
    let mut seen = Seen([0; 16]);
    let (mut granule_start, mut slab) = (0, null_mut::<Slab>());
    for (at, &object) in objects.iter().enumerate().filter(|(_, object)| !object.is_null()) {
        let address = object.addr();
        if address & !(SLAB_BYTES - 1) != granule_start || expected == granule::BINS {
            let Some(index) = MEMBLOCK.index_of(address) else { misuse("free", address, Misuse::Foreign) };
            if MEMBLOCK.granule(index).load(Relaxed) != expected {
                wrong_class(address, index, size);
            }
            if expected == granule::BINS && bins::chunk_class(address, index) != Some(class) {
                misuse("free", address, Misuse::NotAllocated);
            }
            (granule_start, slab) = (address & !(SLAB_BYTES - 1), slab_at(index));
        }
        if expected != granule::BINS {
            let offset = address - granule_start;
            let number = ((offset as u64 * RECIPROCALS[class as usize] as u64) >> 32) as usize;
            if number * size != offset {
                misuse("free", address, Misuse::Interior { start: address - offset + number * size, size });
            }
            // SAFETY: the granule byte says that a slab is here; what lies in a sheaf counts as in use, so it stays.
            let slab = unsafe { &*slab };
            if number >= slab.objects as usize {
                misuse("free", address, Misuse::NotAllocated);
            }
            if slab.is_free(number) {
                misuse("free", address, Misuse::DoubleFree { size });
            }
        }
        if seen.insert(address) && objects[..at].contains(&object) {
            misuse("free", address, Misuse::DoubleFree { size });
        }
    }
    seen
}

#[cold]
fn wrong_class(address: usize, index: PageIndex, claimed: usize) -> ! {
    let class = MEMBLOCK.granule(index).load(Relaxed);
    let what = match class {
        granule::NONE => Misuse::NotAllocated,
        granule::BINS => Misuse::WrongSize { size: bins::chunk_size(index), claimed },
        _ if (class as usize) < NR_CLASSES => Misuse::WrongSize { size: size_of_class(class), claimed },
        _ => Misuse::NotAllocated,
    };
    misuse("free", address, what)
}

fn give_back_chunk(chunk: *mut u8, class: Class, strictness: Strictness) {
    let address = chunk.addr();
    let Some(index) = MEMBLOCK.index_of(address) else { misuse("free", address, Misuse::Foreign) };
    if MEMBLOCK.granule(index).load(Relaxed) != granule::BINS {
        if strictness == Strictness::Tolerate {
            return; // as in `give_back`
        }
        wrong_class(address, index, size_of_class(class));
    }
    let node = node_of(index);
    match node.bins.free(&node.zone, address, index) {
        Ok(()) => {}
        Err(_) if strictness == Strictness::Tolerate => {}
        Err(BadChunk::Free) => misuse("free", address, Misuse::DoubleFree { size: size_of_class(class) }),
        Err(BadChunk::Inside) => misuse("free", address, Misuse::NotAllocated),
    }
}

impl Registry {
    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// In a child of fork, with all locks just released: returns what the threads it does not have held.
    pub(crate) fn bury_dead(&self) {
        let mine = arch::heap_pointer();
        // SAFETY: the child has one thread.
        let mut heap = unsafe { *self.first.get() };
        while !heap.is_null() {
            // SAFETY: heaps are never unmapped.
            let h = unsafe { &*heap };
            if !core::ptr::eq(mine, heap.cast()) && h.in_use.load(Relaxed) {
                h.give_everything_back(Strictness::Tolerate);
                h.in_use.store(false, Relaxed);
            }
            heap = h.next;
        }
    }
}
