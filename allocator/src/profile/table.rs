//! What has been sampled: places (backtraces) with their counts, and the blocks that are in use still.
//!
//! ```text
//!   samples, by address ── Sample { address, size, place } ─┐
//!   places, by hash of their frames ── Place { counts, frames } ◄┘   never removed, frames never changed
//! ```
//!
//! Both are hash tables with chains. Their memory comes straight from the kernel in pieces, is bump-allocated, and never goes
//! back; freed samples are kept for the next ones. So it depends on nothing of the allocator that it observes.
//!
//! One lock guards all of it; see `lock.rs` for the order. While it is held nothing is called but `mmap`.

use super::sampler::{WEIGHT_ONE, weight};
use crate::lock::Lock;
use crate::os::map::{self, Access};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Buckets: chains stay short for what programs have (thousands of places; a heap of 64 GiB has 131,072 samples at the default
/// mean), and pages of empty buckets are never touched.
const PLACE_BUCKETS: usize = 1 << 13;
const SAMPLE_BUCKETS: usize = 1 << 17;

/// Bytes taken from the kernel at once.
const PIECE: usize = 256 << 10;

/// Blocks and bytes, estimated: in units of 1/[`WEIGHT_ONE`], and in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    weight: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn of(size: usize, mean: usize) -> Count {
        let weight = weight(size, mean);
        Count { weight, bytes: (weight as u128 * size as u128 / WEIGHT_ONE as u128) as u64 }
    }

    fn add(&mut self, other: Count) {
        self.weight += other.weight;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Count) {
        self.weight -= other.weight;
        self.bytes -= other.bytes;
    }

    /// Blocks, rounded.
    pub(crate) fn objects(&self) -> u64 {
        (self.weight + WEIGHT_ONE / 2) / WEIGHT_ONE
    }
}

/// Where something was allocated. The frames lie behind it in memory.
pub(crate) struct Place {
    next: *mut Place,
    hash: u64,
    depth: usize,
    /// Everything ever allocated here, and what of it is in use.
    pub(crate) allocated: Count,
    pub(crate) in_use: Count,
    /// Samples among what is in use.
    pub(crate) samples: usize,
}

impl Place {
    /// Return addresses, innermost first. Constant, and there for good.
    pub(crate) fn frames(&self) -> &[usize] {
        // SAFETY: `Table::place` lays `depth` addresses behind each place.
        unsafe { core::slice::from_raw_parts((&raw const *self).add(1).cast(), self.depth) }
    }
}

/// A sampled block that is in use.
pub(crate) struct Sample {
    next: *mut Sample,
    address: usize,
    size: usize,
    place: *mut Place,
}

/// What [`Table::forget`] has removed, to be put back.
pub(crate) struct Forgotten {
    size: usize,
    place: *mut Place,
}

struct Inner {
    /// Null until the first sample.
    places: *mut *mut Place,
    samples: *mut *mut Sample,
    unused: *mut Sample,
    /// The rest of the newest piece of memory.
    free: *mut u8,
    free_bytes: usize,
}

/// See the module's text.
pub(crate) struct Table {
    lock: Lock,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `inner` is only touched under `lock`.
unsafe impl Sync for Table {}

/// The process's table.
pub(crate) static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Table {
        let inner =
            Inner { places: null_mut(), samples: null_mut(), unused: null_mut(), free: null_mut(), free_bytes: 0 };
        Table { lock: Lock::new(), inner: UnsafeCell::new(inner) }
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        f(unsafe { &mut *self.inner.get() })
    }

    /// Notes a sampled block. Without memory for that it is not noted.
    pub(crate) fn remember(&self, address: usize, size: usize, mean: usize, frames: &[usize]) {
        self.with(|inner| {
            // SAFETY: places are there for good; under the lock.
            if let Some(place) = unsafe { inner.place(frames).as_mut() } {
                place.allocated.add(Count::of(size, mean));
                inner.insert(address, size, place, mean);
            }
        });
    }

    /// Notes that a block is in use no more. None if it was not sampled.
    pub(crate) fn forget(&self, address: usize, mean: usize) -> Option<Forgotten> {
        self.with(|inner| {
            if inner.samples.is_null() {
                return None;
            }
            let mut link = inner.sample_bucket(address);
            // SAFETY: chains hold samples of ours; under the lock.
            unsafe {
                while !(*link).is_null() {
                    let sample = *link;
                    if (*sample).address == address {
                        let forgotten = Forgotten { size: (*sample).size, place: (*sample).place };
                        (*forgotten.place).in_use.subtract(Count::of(forgotten.size, mean));
                        (*forgotten.place).samples -= 1;
                        *link = (*sample).next;
                        (*sample).next = inner.unused;
                        inner.unused = sample;
                        return Some(forgotten);
                    }
                    link = &raw mut (*sample).next;
                }
            }
            None
        })
    }

    /// Notes that a block which was forgotten is in use after all.
    pub(crate) fn restore(&self, address: usize, mean: usize, forgotten: Forgotten) {
        self.with(|inner| inner.insert(address, forgotten.size, forgotten.place, mean));
    }

    /// Calls `each` with every place, under the lock: it may neither allocate nor ask the loader.
    pub(crate) fn for_each_place(&self, mut each: impl FnMut(&Place)) {
        self.with(|inner| {
            if inner.places.is_null() {
                return;
            }
            for bucket in 0..PLACE_BUCKETS {
                // SAFETY: buckets and chains are ours; under the lock.
                let mut place = unsafe { *inner.places.add(bucket) };
                // SAFETY: as above; places are there for good.
                while let Some(p) = unsafe { place.as_ref() } {
                    each(p);
                    place = p.next;
                }
            }
        });
    }
}

impl Inner {
    /// The place with these frames; null if there is no memory for it.
    fn place(&mut self, frames: &[usize]) -> *mut Place {
        if self.places.is_null() {
            let bytes = PLACE_BUCKETS * size_of::<*mut Place>();
            self.places = map::map(bytes, Access::ReadWrite).cast();
            if self.places.is_null() {
                return null_mut();
            }
        }
        let hash = frames.iter().fold(frames.len() as u64, |hash, &frame| mix(hash ^ frame as u64));
        // SAFETY: the bucket is in the table; chains hold places of ours.
        unsafe {
            let bucket = self.places.add(hash as usize % PLACE_BUCKETS);
            let mut place = *bucket;
            while !place.is_null() {
                if (*place).hash == hash && (*place).frames() == frames {
                    return place;
                }
                place = (*place).next;
            }
            let place = self.bump(size_of::<Place>() + size_of_val(frames)).cast::<Place>();
            if !place.is_null() {
                let (allocated, in_use) = (Count::default(), Count::default());
                place.write(Place { next: *bucket, hash, depth: frames.len(), allocated, in_use, samples: 0 });
                place.add(1).cast::<usize>().copy_from_nonoverlapping(frames.as_ptr(), frames.len());
                *bucket = place;
            }
            place
        }
    }

    fn insert(&mut self, address: usize, size: usize, place: *mut Place, mean: usize) {
        if self.samples.is_null() {
            self.samples = map::map(SAMPLE_BUCKETS * size_of::<*mut Sample>(), Access::ReadWrite).cast();
            if self.samples.is_null() {
                return;
            }
        }
        // SAFETY: unused samples are ours; the bucket is in the table; the place is there for good.
        unsafe {
            let mut sample = self.unused;
            if sample.is_null() {
                sample = self.bump(size_of::<Sample>()).cast();
                if sample.is_null() {
                    return;
                }
            } else {
                self.unused = (*sample).next;
            }
            let bucket = self.sample_bucket(address);
            sample.write(Sample { next: *bucket, address, size, place });
            *bucket = sample;
            (*place).in_use.add(Count::of(size, mean));
            (*place).samples += 1;
        }
    }

    fn sample_bucket(&self, address: usize) -> *mut *mut Sample {
        // SAFETY: below the number of buckets.
        unsafe { self.samples.add(mix(address as u64) as usize % SAMPLE_BUCKETS) }
    }

    /// Memory for good, aligned to a word; null if there is none.
    fn bump(&mut self, bytes: usize) -> *mut u8 {
        if self.free_bytes < bytes {
            let piece = map::map(PIECE, Access::ReadWrite);
            if piece.is_null() {
                return null_mut();
            }
            (self.free, self.free_bytes) = (piece, PIECE);
        }
        let start = self.free;
        self.free = start.wrapping_add(bytes);
        self.free_bytes -= bytes;
        start
    }
}

/// Spreads the bits of a number over all of it (the finaliser of MurmurHash3).
fn mix(mut n: u64) -> u64 {
    n ^= n >> 33;
    n = n.wrapping_mul(0xff51_afd7_ed55_8ccd);
    n ^= n >> 33;
    n = n.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ n >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames, what was allocated and what is in use (objects and bytes), samples in use.
    fn all(table: &Table) -> Vec<(Vec<usize>, [u64; 4], usize)> {
        let mut all = Vec::new();
        table.for_each_place(|place| {
            let (a, u) = (place.allocated, place.in_use);
            all.push((place.frames().to_vec(), [a.objects(), a.bytes, u.objects(), u.bytes], place.samples));
        });
        all.sort();
        all
    }

    #[test]
    fn counts_are_kept_for_each_place() {
        let table = Table::new();
        assert!(table.forget(0x1000, 1).is_none() && all(&table).is_empty());
        table.remember(0x1000, 10, 1, &[1, 2, 3]);
        table.remember(0x2000, 20, 1, &[1, 2, 3]);
        table.remember(0x3000, 30, 1, &[1, 2]);
        table.remember(0x4000, 40, 1, &[]);
        assert!(table.forget(0x1000, 1).is_some() && table.forget(0x1000, 1).is_none());
        assert!(table.forget(0x5000, 1).is_none());
        let expected =
            vec![(vec![], [1, 40, 1, 40], 1), (vec![1, 2], [1, 30, 1, 30], 1), (vec![1, 2, 3], [2, 30, 1, 20], 1)];
        assert_eq!(all(&table), expected);
        let forgotten = table.forget(0x2000, 1).expect("there");
        assert_eq!(all(&table)[2].1, [2, 30, 0, 0]);
        table.restore(0x6000, 1, forgotten);
        assert_eq!(all(&table), expected);
        assert!(table.forget(0x6000, 1).is_some());
    }

    #[test]
    fn what_frees_take_away_is_what_allocations_brought() {
        let (table, mean) = (Table::new(), 4096);
        for round in 0..3 {
            for i in 1..20_000usize {
                table.remember(i << 12, i, mean, &[i % 7, i % 11]);
            }
            let in_use: u64 = all(&table).iter().map(|place| place.1[3]).sum();
            assert!(in_use > 20_000 * 10_000 / 2, "{in_use}");
            for i in (1..20_000usize).rev() {
                assert!(table.forget(i << 12, mean).is_some(), "round {round}, {i}");
            }
            for (frames, counts, samples) in all(&table) {
                assert_eq!((counts[2], counts[3], samples), (0, 0, 0), "{frames:?}");
            }
        }
        assert_eq!(all(&table).len(), 77);
    }
}
