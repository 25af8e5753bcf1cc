//! Giving memory back in time: who does it, and when (the kernel's `vmscan`).
//!
//! Free memory is given back by whoever comes by: on slow paths a thread takes a *look* ([`look`]), and if an interval
//! (`decay_ms`) is over, or something is owed already, makes a *pass* over the stocks of all nodes: partial slabs, bins, zone,
//! in this order, for each may hand something to the next. One thread at a time makes a pass; others go on. What a step may
//! take is bounded by `decay.rs`. While the pressure (`pressure.rs`) is Quiet a look is one load.
//!
//! | look | when |
//! |---|---|
//! | a sheaf was filled or emptied | every 16th time; the first time; the first after a rest; each time while the pressure is Urgent |
//! | a large block was freed | each time |
//! | a large block was allocated | each time while the pressure is Urgent |
//! | `malloc` served by a sheaf | every 64th time of a thread |
//! | a thread ends | once |
//! | the alarm of a heap | see below |
//! | the background thread, if configured | at the end of each interval, while the pressure is not Quiet |
//!
//! # The alarm
//!
//! A program that has freed a lot and then does little may not reach a slow path for a long time: a pair of malloc and free is
//! served by a sheaf. The hot paths are steered by data, so a look that leaves something idle *arms* the sheaves of its
//! heap: their limits are lowered to what they hold, less one (`thread_heap.rs`). The next free into such a sheaf takes
//! the slow path, looks, and opens the sheaf again. So that a busy thread does not pay for it, a heap arms its sheaves 16 times in a
//! tick of the coarse clock at most.
//!
//! A burst of frees uses these up, and pairs that come after it are served by sheaves that are open. So `malloc` counts, which is two
//! of its instructions. Allocations that Rust inlines do not count, only what grows: a program without either is seen by the alarm,
//! by chance, and by the background thread, as are programs that do nothing at all.

use crate::background;
use crate::config;
use crate::decay::Moment;
use crate::kmem::table;
use crate::lock::{Lock, Patience};
use crate::memblock::MEMBLOCK;
use crate::os::clock;
use crate::os::map;
use crate::pressure::{self, Pressure};
use crate::slab::cache::Cache;
use crate::slab::size_class::{Class, NR_SLAB_CLASSES};
use crate::slab::slab::{SLAB_SHIFT, Slab};
use crate::thread_heap::ThreadHeap;
use crate::zone::node::{Node, SLAB_ORDER, SlabBacking, node_of, nodes};
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Held for a pass; others do not wait for it, but fork and `malloc_trim`.
static PASS: Lock = Lock::new();

/// When the interval ends, in milliseconds; 0 before the first look.
static INTERVAL_ENDS: AtomicU64 = AtomicU64::new(0);

/// The background thread is wanted but cannot be had.
static NO_BACKGROUND: AtomicBool = AtomicBool::new(false);

/// From now on threads that come by make the passes, though a background thread is configured.
pub(crate) fn without_background() {
    NO_BACKGROUND.store(true, Relaxed);
}

/// The lock of passes, for `fork.rs`.
pub(crate) fn lock() -> &'static Lock {
    &PASS
}

/// A slow path of this heap's thread came by.
#[inline]
pub(crate) fn look(heap: Option<&ThreadHeap>) {
    if pressure::pressure() != Pressure::Quiet {
        look_slow(heap);
    }
}

/// A large block was allocated: if that made the program larger than it ever was, free pages go instead.
#[inline]
pub(crate) fn look_if_urgent() {
    if pressure::pressure() == Pressure::Urgent {
        look_slow(None);
    }
}

#[cold]
#[inline(never)]
fn look_slow(heap: Option<&ThreadHeap>) {
    let now = clock::now_ms();
    if config::get().background && !NO_BACKGROUND.load(Relaxed) {
        background::ensure();
        return;
    }
    if is_due(now) {
        try_pass(now);
    }
    if let Some(heap) = heap
        && pressure::pressure() != Pressure::Quiet
    {
        heap.arm(now);
    }
}

fn is_due(now: u64) -> bool {
    now >= INTERVAL_ENDS.load(Relaxed) || pressure::pressure() == Pressure::Urgent
}

/// Makes a pass unless somebody else does.
pub(crate) fn try_pass(now: u64) {
    if let Some(_guard) = PASS.lock_if(Patience::Try) {
        pass(now);
    }
}

fn pass(now: u64) {
    let interval = config::get().decay_ms as u64;
    let ends = INTERVAL_ENDS.load(Relaxed);
    let moment = match interval {
        0 => Moment::AtOnce,
        _ if now >= ends => Moment::IntervalOver,
        _ => Moment::Step,
    };
    if now >= ends {
        INTERVAL_ENDS.store(now + interval, Relaxed);
    }
    if ends == 0 && interval != 0 {
        return; // the first interval begins
    }
    pressure::calm();
    for node in nodes() {
        let mut more = Pressure::Quiet;
        for class in 1..=NR_SLAB_CLASSES {
            more = more.max(decay_slabs(node, class as Class, moment));
        }
        for bins in &node.bins {
            more = more.max(bins.decay(&node.zone, moment));
        }
        more = more.max(node.zone.decay(moment));
        if moment != Moment::Step {
            more = more.max(node.zone.ask_where_dense());
        }
        pressure::raise(more);
    }
}

fn decay_slabs(node: &Node, class: Class, moment: Moment) -> Pressure {
    let backing = SlabBacking { node, class };
    match node.caches[class as usize].decay(moment, &backing, page_shift(), |slab| {
        give_back(slab);
    }) {
        (true, _) => Pressure::Urgent,
        (false, true) => Pressure::Pending,
        (false, false) => Pressure::Quiet,
    }
}

/// Gives the free pages inside all partial slabs of a cache back, for `malloc_trim`. Returns the bytes.
pub(crate) fn sweep(cache: &Cache, backing: &SlabBacking<'_>) -> usize {
    let bytes = Cell::new(0);
    cache.sweep_all(backing, page_shift(), |slab| bytes.set(bytes.get() + give_back(slab)));
    bytes.get()
}

fn page_shift() -> u32 {
    map::os_page_size().trailing_zeros().min(SLAB_SHIFT)
}

/// Likewise for the typed caches whose free objects may lose their contents.
pub(crate) fn sweep_typed() -> usize {
    let bytes = Cell::new(0);
    table::sweep_all(page_shift(), |slab| bytes.set(bytes.get() + give_back(slab)));
    bytes.get()
}

/// Gives the free pages of a slab back that the caller holds. Returns the bytes.
fn give_back(slab: &Slab) -> usize {
    let (shift, start, mut bytes) = (page_shift(), slab.base().wrapping_sub(slab.colour()), 0);
    let mut pages = slab.free_pages(shift);
    if pages != 0
        && let Some(index) = MEMBLOCK.index_of(start.addr())
    {
        node_of(index).zone.before_giving_back(index, SLAB_ORDER.pages());
    }
    while pages != 0 {
        let first = pages.trailing_zeros();
        let n = (pages >> first).trailing_ones();
        // SAFETY: pages of a slab of ours without an object in use, and nobody takes one while the slab is held.
        let given = unsafe { map::dontneed(start.wrapping_add((first as usize) << shift), (n as usize) << shift) };
        bytes += if given { (n as usize) << shift } else { 0 };
        pages &= u32::MAX.checked_shl(first + n).unwrap_or(0);
    }
    bytes
}
