//! Extents: blocks above 4 MiB, each a mapping of its own (the kernel's vmalloc side of the house).
//!
//! They lie outside the reservation, so that the kernel can grow and move them by `mremap` without copying. A hash table of
//! address to mapping tells them from foreign pointers. Freed extents up to 32 MiB are kept for reuse within a byte limit:
//! a program that frees and allocates a large buffer in a loop should not pay page faults each time. Like ptmalloc's, the
//! threshold is dynamic: what a program frees, it will want again, so the size of a freed extent becomes the size up to
//! which extents are kept (`mallopt(M_MMAP_THRESHOLD)` sets and fixes it).
//!
//! One lock, taken alone; system calls are made under it, which is nothing next to the page faults that follow.

use crate::lock::Lock;
use crate::os::map::{self, Access};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Largest extent that is ever kept: as ptmalloc's `DEFAULT_MMAP_THRESHOLD_MAX`.
const KEEP_MAX: usize = 32 << 20;

/// Bytes of freed extents kept at most.
const KEPT_BYTES: usize = 32 << 20;

/// Freed extents kept at most.
const KEPT: usize = 8;

#[derive(Clone, Copy)]
struct Extent {
    /// What the program has; 0 marks a free entry of the table.
    address: usize,
    start: *mut u8,
    len: usize,
}

const VACANT: Extent = Extent { address: 0, start: null_mut(), len: 0 };

struct Inner {
    table: *mut Extent,
    /// A power of two, or 0 before the first extent.
    capacity: usize,
    count: usize,
    bytes: usize,
    kept: [Extent; KEPT],
    nr_kept: usize,
    kept_bytes: usize,
    keep_up_to: usize,
    dynamic: bool,
}

/// All extents of the process.
pub(crate) struct Extents {
    lock: Lock,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Extents {}

/// All extents of the process.
pub(crate) static EXTENTS: Extents = Extents {
    lock: Lock::new(),
    inner: UnsafeCell::new(Inner {
        table: null_mut(),
        capacity: 0,
        count: 0,
        bytes: 0,
        kept: [VACANT; KEPT],
        nr_kept: 0,
        kept_bytes: 0,
        keep_up_to: 0,
        dynamic: true,
    }),
};

/// An extent, and whether it reads as zeroes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewExtent {
    pub(crate) address: *mut u8,
    pub(crate) zeroed: bool,
}

impl Extents {
    /// Maps at least `size` bytes at a multiple of `align` (a power of two).
    pub(crate) fn alloc(&self, size: usize, align: usize) -> Option<NewExtent> {
        let len = size.checked_next_multiple_of(map::os_page_size())?;
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if !inner.make_room() {
            return None;
        }
        if let Some(extent) = inner.take_kept(len, align) {
            inner.insert(extent);
            return Some(NewExtent { address: extent.start, zeroed: false });
        }
        let start = map::map_aligned(len, align, Access::ReadWrite);
        if start.is_null() {
            return None;
        }
        inner.insert(Extent { address: start.addr(), start, len });
        Some(NewExtent { address: start, zeroed: true })
    }

    /// Bytes usable at an address that is an extent's; None if it is none's.
    pub(crate) fn size_at(&self, address: usize) -> Option<usize> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        inner.find(address).map(|at| inner.entry(at).len)
    }

    /// Frees the extent at `address`. False if there is none.
    pub(crate) fn free(&self, address: usize) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let Some(at) = inner.find(address) else { return false };
        let extent = inner.entry(at);
        inner.remove(at);
        if inner.dynamic && extent.len <= KEEP_MAX {
            inner.keep_up_to = inner.keep_up_to.max(extent.len);
        }
        if extent.len <= inner.keep_up_to {
            inner.keep(extent);
        } else {
            inner.unmap(extent);
        }
        true
    }

    /// Grows or shrinks the extent at `address`, moving it if need be; null if the kernel refuses or there is none.
    pub(crate) fn resize(&self, address: usize, size: usize, may_move: bool) -> *mut u8 {
        let Some(len) = size.checked_next_multiple_of(map::os_page_size()) else { return null_mut() };
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let Some(at) = inner.find(address) else { return null_mut() };
        let extent = inner.entry(at);
        if extent.len == len {
            return extent.start;
        }
        // SAFETY: exactly a mapping of ours; the program gave it to us to resize.
        let start = unsafe { map::remap(extent.start, extent.len, len, may_move) };
        if !start.is_null() {
            inner.remove(at);
            inner.insert(Extent { address: start.addr(), start, len });
        }
        start
    }

    /// Unmaps what is kept for reuse. Returns the bytes given back.
    pub(crate) fn trim(&self) -> usize {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let bytes = inner.kept_bytes;
        while inner.nr_kept != 0 {
            inner.drop_oldest();
        }
        bytes
    }

    /// Fixes the size up to which freed extents are kept.
    pub(crate) fn set_threshold(&self, bytes: usize) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        inner.keep_up_to = bytes.min(KEEP_MAX);
        inner.dynamic = false;
    }

    /// Extents in use, their bytes, and bytes kept for reuse.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        (inner.count, inner.bytes, inner.kept_bytes)
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }
}

impl Inner {
    fn entry(&self, at: usize) -> Extent {
        debug_assert!(at < self.capacity);
        // SAFETY: `table` has `capacity` entries.
        unsafe { *self.table.add(at) }
    }

    fn set(&mut self, at: usize, extent: Extent) {
        debug_assert!(at < self.capacity);
        // SAFETY: as above.
        unsafe { *self.table.add(at) = extent }
    }

    fn home(&self, address: usize) -> usize {
        // Fibonacci hashing of the page number.
        ((address >> 12) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 20 & (self.capacity - 1)
    }

    fn find(&self, address: usize) -> Option<usize> {
        if self.capacity == 0 || address == 0 {
            return None;
        }
        let mut at = self.home(address);
        loop {
            let known = self.entry(at).address;
            if known == address {
                return Some(at);
            }
            if known == 0 {
                return None;
            }
            at = (at + 1) & (self.capacity - 1);
        }
    }

    fn insert(&mut self, extent: Extent) {
        let mut at = self.home(extent.address);
        while self.entry(at).address != 0 {
            at = (at + 1) & (self.capacity - 1);
        }
        self.set(at, extent);
        self.count += 1;
        self.bytes += extent.len;
    }

    /// Linear probing without tombstones: entries that follow move up into the hole.
    fn remove(&mut self, mut at: usize) {
        self.count -= 1;
        self.bytes -= self.entry(at).len;
        let mask = self.capacity - 1;
        let mut next = at;
        loop {
            next = (next + 1) & mask;
            let extent = self.entry(next);
            if extent.address == 0 {
                break;
            }
            let home = self.home(extent.address);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(at) & mask) {
                self.set(at, extent);
                at = next;
            }
        }
        self.set(at, VACANT);
    }

    /// Keeps the table at most half full. False if there is no memory for a larger one.
    fn make_room(&mut self) -> bool {
        if (self.count + 1) * 2 <= self.capacity {
            return true;
        }
        let capacity = (self.capacity * 2).max(map::os_page_size() / size_of::<Extent>()).next_power_of_two();
        let bytes = (capacity * size_of::<Extent>()).next_multiple_of(map::os_page_size());
        let table = map::map(bytes, Access::ReadWrite).cast::<Extent>();
        if table.is_null() {
            return false;
        }
        let (old, old_capacity) = (self.table, self.capacity);
        (self.table, self.capacity) = (table, capacity);
        (self.count, self.bytes) = (0, 0);
        for at in 0..old_capacity {
            // SAFETY: the old table has `old_capacity` entries.
            let extent = unsafe { *old.add(at) };
            if extent.address != 0 {
                self.insert(extent);
            }
        }
        if old_capacity != 0 {
            let old_bytes = (old_capacity * size_of::<Extent>()).next_multiple_of(map::os_page_size());
            // SAFETY: nobody refers to the old table any more.
            unsafe { map::unmap(old.cast(), old_bytes) };
        }
        true
    }

    /// The kept extent that fits best, with at most an eighth to spare.
    fn take_kept(&mut self, len: usize, align: usize) -> Option<Extent> {
        let fits = |e: &Extent| e.len >= len && e.len - len <= len / 8 && e.address.is_multiple_of(align);
        let best = (0..self.nr_kept).filter(|&i| fits(&self.kept[i])).min_by_key(|&i| self.kept[i].len)?;
        let extent = self.kept[best];
        self.forget_kept(best);
        Some(extent)
    }

    fn keep(&mut self, extent: Extent) {
        while self.nr_kept != 0 && (self.nr_kept == KEPT || self.kept_bytes + extent.len > KEPT_BYTES) {
            self.drop_oldest();
        }
        self.kept[self.nr_kept] = extent;
        self.nr_kept += 1;
        self.kept_bytes += extent.len;
    }

    fn drop_oldest(&mut self) {
        let extent = self.kept[0];
        self.forget_kept(0);
        self.unmap(extent);
    }

    fn forget_kept(&mut self, at: usize) {
        self.kept_bytes -= self.kept[at].len;
        self.kept.copy_within(at + 1..self.nr_kept, at);
        self.nr_kept -= 1;
    }

    fn unmap(&mut self, extent: Extent) {
        // SAFETY: a mapping of ours that nobody has any more. Should the kernel refuse (a split at the mapping limit), at
        // least its memory is given back.
        unsafe {
            if !map::unmap(extent.start, extent.len) {
                map::dontneed(extent.start, extent.len);
            }
        }
    }
}
