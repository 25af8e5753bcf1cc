//! A heap that belongs to a thread: how its sheaves are filled and emptied.
//!
//! An empty sheaf is filled from the heap's *current* slab of that class, else from a partial or new slab. A full one gives
//! its older half back to the slabs' bitmaps, whoever allocated the objects; so what one thread frees another can
//! allocate, and a wrong pointer or a double free shows at the latest then. For the classes of the bins the same arrays are
//! the *fast bins*; they are filled from and emptied into the bins.
//!
//! Linux puts a *barn* between sheaves and slabs: full sheaves on their way from threads that free to threads that allocate.
//! It was built and taken out again: it gained nothing measurable over bitmaps (`benches/LEDGER.md`), and a double free
//! that passes through it is seen only by checks that cost more than the barn saves.
//!
//! A heap that has never allocated from a class does not cache it at first: the first frees go straight to the slabs. A
//! thread that was handed an object, frees it and allocates must not get the same cache line back that another thread's
//! objects lie in (passive false sharing).
//!
//! # Limits
//!
//! A sheaf is *closed* at first: its limit is at its base, so frees go to the slabs. Filled from below, or after some frees, it is
//! *open*: its limit is at its capacity. While memory is idle and not yet given back it may be *armed* (`reclaim.rs`): its
//! limit is one below its top, so that the next free, even one after an allocation, takes the slow path, and looks
//! whether it is time.
//!
//! # Fork
//!
//! The child finds the heaps of threads it does not have in any state. Every step below therefore lowers `top` *before* the
//! objects above it become reachable for others, so that at any moment what lies in `[base, top)` belongs to nobody else;
//! an interrupted step can lose a batch, or name an object twice, but cannot name a live one. `fork.rs` returns them.

use crate::bins::{self, Bins};
use crate::check::check_sheaf;
use crate::direct::{Strictness, give_back};
use crate::heap::{ABOVE_NULL, Heap, NR_SHEAVES};
use crate::kmem::sheaf::Sheaves;
use crate::kmem::table::{HEAP_BYTES, HEAPS};
use crate::lock::Lock;
use crate::pressure::{self, Pressure};
use crate::profile::sampler::Sampler;
use crate::reclaim;
use crate::slab::size_class::{
    CAPACITIES, Class, MEDIUM_CLASSES, NR_CLASSES, NR_SLAB_CLASSES, NR_SLOTS, OFFSETS, SHEAF_MAX, SMALL_CLASSES,
};
use crate::slab::slab::Slab;
use crate::watch::{self, Level};
use crate::zone::node::{Node, SlabBacking, batch_of};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*, compiler_fence};

/// Frees of a class that a heap which never allocated from it passes straight to the slabs before it begins to cache.
const DIRECT_FREES: u8 = 16;

/// Slow paths of a heap between two looks: a look reads the clock, which costs a tenth of a slow path.
const LOOK_EVERY: u8 = 15;

/// Allocations on the hot path between two looks. A program that makes 200 in a second comes by three times; a look costs some 25 ns while
/// something is idle.
const LOOK_EVERY_ALLOCATIONS: i32 = 64;

/// How often a heap arms its sheaves in one tick of the coarse clock, 1 to 10 milliseconds: each time costs one slow path for
/// each class in use, so all together some microseconds.
const ARMED_IN_A_TICK: u8 = 16;

/// Bytes between the start of a heap's first page and the heap. Programs write to the starts of pages more than anywhere
/// else (first objects of slabs, large blocks), and a load from the same place in another page waits for such a store.
const COLOUR: usize = 256;
const _: () = assert!(COLOUR + size_of::<Heap>() <= 4096, "the hot part lies in one page");
const _: () = assert!(COLOUR + size_of::<ThreadHeap>() <= HEAP_BYTES);

/// A heap that belongs to a thread.
#[repr(C)]
pub(crate) struct ThreadHeap {
    pub(crate) hot: Heap,
    pub(crate) node: &'static Node,
    /// Where its chunks come from: the bins of one of the node's arenas.
    bins: &'static Bins,
    /// All heaps ever made, newest first; constant once linked.
    pub(crate) next: *mut ThreadHeap,
    pub(crate) in_use: AtomicBool,
    /// Guards the sheaves of typed caches where their protocol (`kmem/sheaf.rs`) says so.
    pub(crate) sheaf_lock: Lock,
    /// Counts the bytes to the next sample of the heap profile.
    pub(crate) sampler: Sampler,
    current: [Cell<*mut Slab>; NR_SLAB_CLASSES + 1],
    direct_frees: [Cell<u8>; NR_SLAB_CLASSES + 1],
    /// Sheaves that are open, with their limits at their capacities, and sheaves that are armed, as bits by class.
    opened: [Cell<u64>; 2],
    armed: [Cell<u64>; 2],
    /// The coarse time when sheaves were armed last, and how often at that time.
    armed_ms: Cell<u64>,
    armed_times: Cell<u8>,
    /// Slow paths until the next look.
    until_look: Cell<u8>,
    /// The pressure was Quiet when this heap's last slow path ended.
    saw_quiet: Cell<bool>,
    slots: [UnsafeCell<*mut u8>; NR_SLOTS],
}

/// A new heap; all its sheaves are empty and do not cache yet.
pub(crate) fn make(node: &'static Node, next: *mut ThreadHeap) -> Option<*mut ThreadHeap> {
    let object = HEAPS.alloc_direct();
    if object.is_null() {
        return None;
    }
    let heap = object.wrapping_add(COLOUR).cast::<ThreadHeap>();
    watch::own(heap.cast(), size_of::<ThreadHeap>());
    // SAFETY: an object of ours, aligned to a page and large enough; written field by field, for the slots should stay
    // untouched. They are zero, and so is all that is not written here: heaps never come back to their cache.
    unsafe {
        let h = &*heap;
        let level = watch::level();
        for class in 0..NR_SHEAVES {
            let is_class = (1..NR_CLASSES).contains(&class);
            let base = if is_class { h.base(class as Class) } else { ABOVE_NULL };
            h.hot.top[class].set(base);
            h.hot.limit[class].set(if is_class && level < Level::Everything { base } else { null_mut() });
        }
        // Tables of zeroes name no class: see `watch.rs`.
        if level == Level::Nobody {
            (&raw mut (*heap).hot.small_classes).write(SMALL_CLASSES);
            (&raw mut (*heap).hot.medium_classes).write(MEDIUM_CLASSES);
        }
        (&raw mut (*heap).node).write(node);
        (&raw mut (*heap).bins).write(node.next_bins());
        (&raw mut (*heap).next).write(next);
        h.in_use.store(true, Relaxed);
    }
    Some(heap)
}

impl ThreadHeap {
    /// Bytes of the pages a heap takes.
    pub(crate) const BYTES: usize = (COLOUR + size_of::<ThreadHeap>()).next_multiple_of(4096);

    /// The first slot of a class's sheaf.
    #[inline]
    fn base(&self, class: Class) -> *mut *mut u8 {
        let offset = OFFSETS[class as usize] as usize + 1;
        // SAFETY: offsets of classes lie within the slots.
        unsafe { self.slots.as_ptr().cast::<*mut u8>().cast_mut().add(offset) }
    }

    /// Moves a sheaf's top. Atomically, which costs nothing: statistics of other threads read it (`stats`).
    fn set_top(&self, class: Class, top: *mut *mut u8) {
        // SAFETY: an aligned word that lives as long as the heap.
        unsafe { AtomicPtr::from_ptr(self.hot.top[class as usize].as_ptr()) }.store(top, Relaxed);
    }

    /// How many objects lie in a sheaf; from any thread, and then an estimate.
    pub(crate) fn cached(&self, class: Class) -> usize {
        // SAFETY: as above; every write after the heap was published is atomic (`set_top`), or an instruction of `advance`.
        let top = unsafe { AtomicPtr::from_ptr(self.hot.top[class as usize].as_ptr()) }.load(Relaxed);
        (top.addr().saturating_sub(self.base(class).addr()) / 8).min(CAPACITIES[class as usize] as usize)
    }

    /// The sheaves of typed caches, if this heap has used any.
    #[inline]
    pub(crate) fn sheaves(&self) -> &AtomicPtr<Sheaves> {
        &self.hot.sheaves
    }

    /// The heap's node.
    pub(crate) fn node(&self) -> &'static Node {
        self.node
    }

    /// Where its chunks come from.
    pub(crate) fn bins(&self) -> &'static Bins {
        self.bins
    }

    /// Pops from a class's sheaf; null if it is empty. Nulls that a sized free of null pushed are dropped: they hide what is
    /// below them from the fast path.
    pub(crate) fn pop(&self, class: Class) -> *mut u8 {
        let (top, base) = (&self.hot.top[class as usize], self.base(class));
        // SAFETY: slots from base to top are the sheaf's.
        while top.get() > base && unsafe { *top.get().sub(1) }.is_null() {
            self.set_top(class, top.get().wrapping_sub(1));
        }
        // SAFETY: a heap of this thread.
        unsafe { Heap::pop(&self.hot, class as usize) }
    }

    /// Fills the empty sheaf of a slab class and pops one object; null if there is no memory.
    pub(crate) fn refill(&self, class: Class) -> *mut u8 {
        let base = self.base(class);
        let want = batch_of(class);
        // SAFETY: the sheaf has room for half of it.
        let got = unsafe { self.take_from_slabs(class, base, want) };
        if got == 0 {
            return null_mut();
        }
        let was_open = self.open(class);
        // SAFETY: `got` objects lie from `base` on.
        let object = unsafe {
            let top = base.add(got - 1);
            self.set_top(class, top);
            *top
        };
        self.slow_path_came_by(!was_open);
        object
    }

    /// Takes up to `want` objects out of slabs; 0 if there is no memory. Fewer only come from the end of a slab.
    ///
    /// # Safety
    /// There is room for `want` pointers at `out`.
    pub(crate) unsafe fn take_from_slabs(&self, class: Class, out: *mut *mut u8, want: usize) -> usize {
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
        self.bins.alloc(&self.node.zone, class, want, |chunk| {
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
        self.set_top(class, top);
        let was_open = self.open(class);
        self.slow_path_came_by(!was_open);
        first
    }

    /// Lets a sheaf take objects up to its capacity, unless frees are watched: then its limit is null for good. True if it
    /// did already.
    fn open(&self, class: Class) -> bool {
        let limit = &self.hot.limit[class as usize];
        let (word, bit) = (class as usize / 64, 1 << (class % 64));
        if limit.get().is_null() || self.opened[word].get() & bit != 0 {
            return true;
        }
        limit.set(self.base(class).wrapping_add(CAPACITIES[class as usize] as usize));
        self.opened[word].set(self.opened[word].get() | bit);
        self.armed[word].set(self.armed[word].get() & !bit);
        false
    }

    fn is_armed(&self, class: Class) -> bool {
        self.armed[class as usize / 64].get() >> (class % 64) & 1 != 0
    }

    /// Arms all open sheaves, unless that has happened often in this tick of the clock.
    pub(crate) fn arm(&self, now_ms: u64) {
        if self.armed_ms.replace(now_ms) != now_ms {
            self.armed_times.set(0);
        }
        if self.armed_times.get() == ARMED_IN_A_TICK {
            return;
        }
        self.armed_times.set(self.armed_times.get() + 1);
        for (word, (opened, armed)) in self.opened.iter().zip(&self.armed).enumerate() {
            let mut classes = opened.replace(0);
            armed.set(armed.get() | classes);
            while classes != 0 {
                let class = (word * 64) as u32 + classes.trailing_zeros();
                let (base, top) = (self.base(class as Class), self.hot.top[class as usize].get());
                self.hot.limit[class as usize].set(if top > base { top.wrapping_sub(1) } else { base });
                classes &= classes - 1;
            }
        }
    }

    /// The end of a slow path: now and then, or if the thread may not come by again soon, a look at what lies idle.
    #[inline]
    fn slow_path_came_by(&self, must_look: bool) {
        let left = self.until_look.get().wrapping_sub(1);
        self.until_look.set(left);
        let pressure = pressure::pressure();
        // What was freed just now may be the first after a rest, and all there is to come: sheaves are not armed in a rest.
        let has_risen = self.saw_quiet.replace(pressure == Pressure::Quiet) && pressure != Pressure::Quiet;
        if left >= LOOK_EVERY || must_look || has_risen || pressure == Pressure::Urgent {
            self.until_look.set(LOOK_EVERY);
            reclaim::look(Some(self));
            self.saw_quiet.set(pressure::pressure() == Pressure::Quiet);
        }
    }

    /// The hot path has come by often: a look.
    pub(crate) fn look_around(&self) {
        self.hot.until_look.store(LOOK_EVERY_ALLOCATIONS - 1, Relaxed);
        reclaim::look(Some(self));
    }

    /// Frees an object whose sheaf is full, armed, or not in use yet. `class` is what its granule says.
    pub(crate) fn free_full(&self, class: Class, object: *mut u8) {
        let c = class as usize;
        let base = self.base(class);
        if self.hot.limit[c].get().is_null() {
            give_back(class, &[object], Strictness::Report);
            return self.slow_path_came_by(false);
        }
        let is_closed = core::ptr::eq(self.hot.limit[c].get(), base) && !self.is_armed(class);
        if is_closed && c <= NR_SLAB_CLASSES && self.direct_frees[c].get() < DIRECT_FREES {
            self.direct_frees[c].set(self.direct_frees[c].get() + 1);
            give_back(class, &[object], Strictness::Report);
            return self.slow_path_came_by(true);
        }
        let was_open = self.open(class);
        if self.hot.top[c].get() >= self.hot.limit[c].get() {
            self.flush(class, batch_of(class));
        }
        let top = self.hot.top[c].get();
        // SAFETY: there is room now.
        unsafe { *top = object };
        compiler_fence(Release);
        self.set_top(class, top.wrapping_add(1));
        self.slow_path_came_by(!was_open);
    }

    /// Takes the oldest `count` objects out of a sheaf, to where they came from.
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
        self.set_top(class, top.wrapping_sub(count));
        // Fork: what is published below must have left the sheaf. See the module's text.
        compiler_fence(SeqCst);
        give_back(class, &objects[..count], Strictness::Report);
    }

    /// Empties all sheaves into slabs and bins, and lets go of the current slabs.
    pub(crate) fn give_everything_back(&self, strictness: Strictness) {
        watch::give_everything_back(&self.hot, strictness);
        for class in 1..NR_CLASSES {
            let base = self.base(class as Class);
            let top = self.hot.top[class].get();
            // Whatever happens next, the sheaf is empty and caches nothing.
            self.set_top(class as Class, base);
            if !self.hot.limit[class].get().is_null() {
                self.hot.limit[class].set(base);
            }
            compiler_fence(SeqCst);
            // SAFETY: `top` lies in the sheaf.
            let held = unsafe { top.offset_from(base) } as usize;
            if held != 0 {
                // SAFETY: as above; nobody pushes meanwhile.
                give_back(class as Class, unsafe { core::slice::from_raw_parts(base, held) }, strictness);
            }
        }
        self.opened.iter().chain(&self.armed).for_each(|classes| classes.set(0));
        for class in 1..=NR_SLAB_CLASSES {
            self.direct_frees[class].set(0);
            let slab = self.current[class].replace(null_mut());
            if !slab.is_null() && self.holds(slab, class as Class) {
                let backing = SlabBacking { node: self.node, class: class as Class };
                // SAFETY: held by this heap.
                unsafe { self.node.caches[class].let_go(slab, &backing) };
            }
        }
        self.give_objects_back(strictness);
    }

    /// Looks at all that lies in the sheaves, without taking it out: reports what is not an object in use of its class, or
    /// is there twice. For the end of a process, which no flush may come before.
    pub(crate) fn check(&self) {
        watch::check(&self.hot);
        for class in 1..NR_CLASSES {
            check_sheaf(class as Class, self.sheaf(class as Class));
        }
        self.check_objects();
    }

    /// Whether the program has freed this block into the sheaf of its class and not got it back since.
    pub(crate) fn has_cached(&self, class: Class, block: *mut u8) -> bool {
        self.sheaf(class).contains(&block)
    }

    /// What lies in a sheaf now.
    fn sheaf(&self, class: Class) -> &[*mut u8] {
        let (base, top) = (self.base(class), self.hot.top[class as usize].get());
        // SAFETY: from base to top lies the sheaf; the slice is gone before this thread pushes or pops again.
        unsafe { core::slice::from_raw_parts(base, top.offset_from(base) as usize) }
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
