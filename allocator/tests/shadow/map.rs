//! The shadow map: which addresses belong to which live block.
//!
//! An ordered map of intervals, cut into windows of addresses so that threads seldom meet: a block is entered in each window
//! it touches, in ascending order, under that window's lock alone. Two blocks that overlap share a window, and in that window
//! one of them comes second and finds the other. Blocks never wait for one another: no two locks are held at once.
//!
//! The lock is the C library's mutex and not std's: ThreadSanitizer knows it, whereas the part of std's that waits is
//! compiled without instrumentation.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::fmt;

/// A value under a mutex.
pub struct Lock<T> {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is touched under the mutex only.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub const fn new(value: T) -> Lock<T> {
        Lock { mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER), value: UnsafeCell::new(value) }
    }

    /// Runs `body` under the lock. A panic in it leaves the lock taken: the program is about to end.
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: an initialised mutex that is not moved while it is borrowed; it guards the value.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(self.mutex.get()), 0);
            let result = body(&mut *self.value.get());
            assert_eq!(libc::pthread_mutex_unlock(self.mutex.get()), 0);
            result
        }
    }
}

/// Who has a stretch of memory, and by which request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub start: usize,
    /// Bytes that are the owner's: what `usable_size` said.
    pub usable: usize,
    /// Bytes that were asked for.
    pub size: usize,
    pub align: usize,
    /// Unlike that of any other block of this process.
    pub serial: u64,
    pub thread: u32,
    /// The call that gave the block.
    pub call: &'static str,
}

impl Owner {
    fn end(&self) -> usize {
        // A block without a byte still has its address to itself.
        self.start + self.usable.max(1)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Owner { start, usable, size, align, serial, thread, call } = self;
        let end = self.end();
        write!(
            out,
            "{start:#x}..{end:#x} ({size} bytes asked for, {usable} usable, aligned to {align}; by {call} in thread \
             {thread}, number {serial:#x})"
        )
    }
}

/// Addresses of a window: as many as a slab has, so that classes that are busy at the same time are in different ones.
const WINDOW: usize = 64 << 10;

/// Locks that the windows share. A power of two; well above the number of threads.
const SHARDS: usize = 256;

/// Blocks by the first address they have in the window.
type Pieces = BTreeMap<usize, Owner>;

pub struct ShadowMap {
    shards: [Lock<Pieces>; SHARDS],
}

impl ShadowMap {
    pub const fn new() -> ShadowMap {
        ShadowMap { shards: [const { Lock::new(BTreeMap::new()) }; SHARDS] }
    }

    fn shard(&self, window: usize) -> &Lock<Pieces> {
        &self.shards[(window.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) % SHARDS]
    }

    /// The windows a block touches, each with the block's first address in it.
    fn pieces(owner: &Owner) -> impl Iterator<Item = (usize, usize)> {
        let start = owner.start;
        (start / WINDOW..=(owner.end() - 1) / WINDOW).map(move |window| (window, start.max(window * WINDOW)))
    }

    /// Enters a block that has just been given; panics if any byte of it belongs to another.
    pub fn enter(&self, new: Owner) {
        for (window, first) in ShadowMap::pieces(&new) {
            let piece_end = |start: usize, owner: &Owner| owner.end().min((start / WINDOW + 1) * WINDOW);
            let old = self.shard(window).with(|pieces| {
                // The last that begins below this one's end; it may be in another window of the shard.
                let below = pieces.range(..piece_end(first, &new)).next_back();
                let old = below.filter(|&(&start, old)| piece_end(start, old) > first).map(|(_, &old)| old);
                if old.is_none() {
                    pieces.insert(first, new);
                }
                old
            });
            if let Some(old) = old {
                panic!("two blocks overlap:\n  new: {new}\n  old: {old}");
            }
        }
    }

    /// Removes a block that is about to be given back.
    pub fn remove(&self, owner: &Owner) {
        for (window, first) in ShadowMap::pieces(owner) {
            let found = self.shard(window).with(|pieces| pieces.remove(&first));
            assert!(found == Some(*owner), "{owner} should be in the map; {} is", Or(found));
        }
    }

    /// Blocks in the map; those of several windows count once for each.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.with(|pieces| pieces.len())).sum()
    }
}

struct Or(Option<Owner>);

impl fmt::Display for Or {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(owner) => owner.fmt(out),
            None => out.write_str("nothing"),
        }
    }
}
