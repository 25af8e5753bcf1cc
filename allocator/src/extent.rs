//! Extents: blocks above 4 MiB, each a mapping of its own (the kernel's vmalloc side of the house).
//!
//! They lie outside the reservation, so that the kernel can grow and move them by `mremap` without copying. A hash table of
//! address to mapping tells them from foreign pointers. Freeing one unmaps it at once.
//!
//! What a program frees, it will want again: as in ptmalloc, the size of a freed extent (up to 32 MiB) becomes the *mmap
//! threshold*, and requests up to it are served from the zone from then on, which keeps its pages for a while.
//! `mallopt(M_MMAP_THRESHOLD)` sets and fixes the threshold.
//!
//! For hardening an extent can have a *guard* behind it, a page without access, and then the block ends at the guard instead of
//! beginning where the mapping does.
//!
//! One lock, taken alone; system calls are made under it, which is nothing next to the page faults that follow.

use crate::lock::{Lock, Patience};
use crate::memblock::TABLES_NAME;
use crate::os::map::{self, Access};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Guard pages there may be at most. Each splits a mapping, and a process has 65,530 of those (`vm.max_map_count`); beyond this
/// number blocks have no guard.
const GUARDS_MAX: usize = 4096;

/// Largest value of the dynamic threshold: ptmalloc's `DEFAULT_MMAP_THRESHOLD_MAX`.
const THRESHOLD_MAX: usize = 32 << 20;

#[derive(Clone, Copy)]
struct Extent {
    /// What the program has; 0 marks a free entry of the table.
    address: usize,
    start: *mut u8,
    len: usize,
    /// Bytes without access behind those.
    guard: usize,
}

const VACANT: Extent = Extent { address: 0, start: null_mut(), len: 0, guard: 0 };

impl Extent {
    /// Bytes that the program may use.
    fn usable(&self) -> usize {
        self.start.addr() + self.len - self.address
    }
}

struct Inner {
    table: *mut Extent,
    /// A power of two, or 0 before the first extent.
    capacity: usize,
    count: usize,
    bytes: usize,
    guards: usize,
    dynamic: bool,
}

/// All extents of the process.
pub(crate) struct Extents {
    lock: Lock,
    inner: UnsafeCell<Inner>,
    /// Requests up to this many bytes are the zone's.
    threshold: AtomicUsize,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Extents {}

/// All extents of the process.
pub(crate) static EXTENTS: Extents = Extents {
    lock: Lock::new(),
    inner: UnsafeCell::new(Inner { table: null_mut(), capacity: 0, count: 0, bytes: 0, guards: 0, dynamic: true }),
    threshold: AtomicUsize::new(0),
};

impl Extents {
    /// Maps at least `size` bytes of zeroes at a multiple of `align` (a power of two); null if there is no memory.
    pub(crate) fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        let Some(len) = size.checked_next_multiple_of(map::os_page_size()) else { return null_mut() };
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if !inner.make_room() {
            return null_mut();
        }
        let start = map::map_aligned(len, align, Access::ReadWrite);
        if !start.is_null() {
            map::name(start, len, c"fairground large");
            inner.insert(Extent { address: start.addr(), start, len, guard: 0 });
        }
        start
    }

    /// As `alloc`, with a page without access behind the block, which ends as close to it as `align` (at most a page) allows;
    /// at least `before` bytes of the mapping lie before the block. Null also if there are too many guards already.
    pub(crate) fn alloc_guarded(&self, size: usize, align: usize, before: usize) -> *mut u8 {
        let guard = map::os_page_size();
        let whole = size.checked_next_multiple_of(align).and_then(|size| Some((size, size.checked_add(before)?)));
        let Some((size, whole)) = whole else { return null_mut() };
        let Some(len) = whole.checked_next_multiple_of(guard) else { return null_mut() };
        let Some(mapped) = len.checked_add(guard) else { return null_mut() };
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        if inner.guards >= GUARDS_MAX || align > guard || !inner.make_room() {
            return null_mut();
        }
        let start = map::map(mapped, Access::None);
        if start.is_null() {
            return start;
        }
        // SAFETY: a part of the mapping just made.
        if unsafe { !map::commit(start, len) } {
            // SAFETY: nobody knows the mapping yet.
            unsafe { map::unmap(start, mapped) };
            return null_mut();
        }
        let address = start.wrapping_add(len - size);
        inner.guards += 1;
        inner.insert(Extent { address: address.addr(), start, len, guard });
        address
    }

    /// Bytes usable at an address that is an extent's, and whether it has a guard; None if it is none's.
    pub(crate) fn size_at(&self, address: usize) -> Option<(usize, bool)> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        inner.find(address).map(|at| (inner.entry(at).usable(), inner.entry(at).guard != 0))
    }

    /// Start and bytes of the extent that an address lies in; for reports.
    pub(crate) fn around(&self, address: usize) -> Option<(usize, usize)> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        let extents = (0..inner.capacity).map(|at| inner.entry(at));
        extents.map(|e| (e.address, e.usable())).find(|&(start, len)| start != 0 && address.wrapping_sub(start) < len)
    }

    /// Frees the extent at `address`. False if there is none.
    pub(crate) fn free(&self, address: usize) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let Some(at) = inner.find(address) else { return false };
        let extent = inner.entry(at);
        inner.remove(at);
        if extent.guard != 0 {
            inner.guards -= 1;
        }
        if inner.dynamic && extent.len <= THRESHOLD_MAX {
            self.threshold.fetch_max(extent.len, Relaxed);
        }
        // SAFETY: a mapping of ours that nobody has any more. Should the kernel refuse (a split at the mapping limit), at
        // least its memory is given back.
        unsafe {
            if !map::unmap(extent.start, extent.len + extent.guard) {
                map::dontneed(extent.start, extent.len);
            }
        }
        true
    }

    /// Grows or shrinks the extent at `address`, moving it if need be; null if the kernel refuses, if there is none or if
    /// it has a guard.
    pub(crate) fn resize(&self, address: usize, size: usize, may_move: bool) -> *mut u8 {
        let Some(len) = size.checked_next_multiple_of(map::os_page_size()) else { return null_mut() };
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        let inner = unsafe { &mut *self.inner.get() };
        let Some(at) = inner.find(address) else { return null_mut() };
        let extent = inner.entry(at);
        if extent.guard != 0 {
            return null_mut();
        }
        if extent.len == len {
            return extent.start;
        }
        // SAFETY: exactly a mapping of ours; the program gave it to us to resize.
        let start = unsafe { map::remap(extent.start, extent.len, len, may_move) };
        if !start.is_null() {
            inner.remove(at);
            inner.insert(Extent { address: start.addr(), start, len, guard: 0 });
        }
        start
    }

    /// Size up to which the zone serves requests.
    pub(crate) fn threshold(&self) -> usize {
        self.threshold.load(Relaxed)
    }

    /// Fixes the threshold. False if it is above the largest allowed, 32 MiB.
    pub(crate) fn set_threshold(&self, bytes: usize) -> bool {
        if bytes > THRESHOLD_MAX {
            return false;
        }
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { (*self.inner.get()).dynamic = false };
        self.threshold.store(bytes, Relaxed);
        true
    }

    /// Extents in use, and their bytes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.counts_if(Patience::Wait).unwrap_or_default()
    }

    /// The same; None if the lock is taken and may not be waited for.
    pub(crate) fn counts_if(&self, patience: Patience) -> Option<(usize, usize)> {
        let _guard = self.lock.lock_if(patience)?;
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        Some((inner.count, inner.bytes))
    }

    /// Whether an extent touches a range; None if the lock is taken and may not be waited for.
    pub(crate) fn touch(&self, start: usize, end: usize, patience: Patience) -> Option<bool> {
        let _guard = self.lock.lock_if(patience)?;
        // SAFETY: under the lock.
        let inner = unsafe { &*self.inner.get() };
        let mut extents = (0..inner.capacity).map(|at| inner.entry(at));
        Some(extents.any(|e| e.address != 0 && e.address < end && e.address + e.len > start))
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
        map::name(table.cast(), bytes, TABLES_NAME);
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
}
