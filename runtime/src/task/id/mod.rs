//! Task ids: an IDR, as the kernel calls its map from small numbers to things.
//!
//! # Which ids
//!
//! 64 bits that only go up, from 1. The kernel's cyclic allocation (ids rise, wrap, and skip what is in use) exists because its
//! ids have 32 bits; at a thousand million tasks a second these would wrap after 584 years. So an id names one task, ever: no generation beside it, no
//! search for a free one, and a stale id is simply not found.
//!
//! # How spawn stays cheap
//!
//! Ids are handed out in leaves of [`LEAF_IDS`] = 64. A cpu has an [`IdRange`], that is a leaf of which it alone allocates; it gets one by a
//! `fetch_add` and a place for it in a radix tree, once every 64 tasks. In between:
//!
//! | | what it does | atomic read-modify-writes |
//! |---|---|---|
//! | [`IdRange::reserve`] | counts up its own number | 0 |
//! | [`Slot::publish`] | stores the entry (release) | 0 |
//! | [`Idr::remove`] | under the leaf's lock: clears the entry, counts down | 1 |
//!
//! A task keeps its [`Slot`] (leaf and id), so the tree is not walked at its end. Who looks an id up or lists tasks walks the tree under its
//! lock; the hot path takes that lock twice in 64 tasks.
//!
//! # Protocol
//!
//! * An **entry** is null; its slot's owner publishes it, once; its slot's owner removes it. What happened before `publish` is visible to who
//!   finds the entry (release, acquire).
//! * **`left`** of a leaf, under the leaf's lock, is how many of its ids are not removed yet, those included that its range has
//!   not handed out. A range that ends takes off the latter. Who brings it to zero, nobody else can, unlinks the leaf under the tree's lock and
//!   frees it.
//! * **A leaf exists** while `left` is not zero, hence for all with a slot of it or its range; and for who found it in the tree, as long as
//!   they hold the tree's lock.
//! * **An entry's thing exists** for who looks it up during the call of their closure, under the leaf's lock: its owner removes the slot first and
//!   frees the thing afterwards.
//! * **Lock order**: shared range, tree, leaf. No closure may use the IDR.
//! * In a free leaf all entries are null: it stays constructed.
//!
//! Rejected: looking up without a lock. The entry's thing would have to outlive the look (RCU, hazard pointers), for a call that only people make
//! (`ps`, "who is 4711"). Larger leaves: one task that lives long keeps its whole leaf, 576 bytes now.

mod tree;

use super::slab::Slab;
use crate::atomic::{Arc, AtomicPtr, AtomicU64, Ordering};
use crate::spin::Spin;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ptr::{NonNull, null_mut};
use tree::Tree;

/// Ids that a cpu takes at a time: 63 of 64 spawns touch nothing shared, and a leaf is 9 cache lines.
const LEAF_IDS: u64 = if cfg!(loom) { 2 } else { 64 };

/// Names one task, in the whole life of the process's runtime. Later ids are not always larger: each cpu takes them from a range of its own.
///
/// # Examples
/// ```
/// use fairground_runtime::task::TaskId;
///
/// let id = TaskId::new(4711).expect("not zero");
/// assert_eq!((id.get(), id.to_string().as_str()), (4711, "4711"));
/// assert_eq!(TaskId::new(0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(crate) const FIRST: TaskId = TaskId(NonZeroU64::MIN);

    /// The id of a number; None if it is 0. Whether there is such a task is another question.
    pub const fn new(id: u64) -> Option<TaskId> {
        match NonZeroU64::new(id) {
            Some(id) => Some(TaskId(id)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The next number, to go on listing behind this one; None at the end of all numbers.
    pub(crate) fn after(self) -> Option<TaskId> {
        self.0.checked_add(1).map(TaskId)
    }

    fn leaf(self) -> u64 {
        self.get() / LEAF_IDS
    }

    fn place(self) -> usize {
        (self.get() % LEAF_IDS) as usize
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// There is no memory for ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfIds;

impl fmt::Display for OutOfIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for a task's id")
    }
}

impl std::error::Error for OutOfIds {}

/// In cache lines of its own: neighbours belong to other cpus.
#[derive(Debug)]
#[repr(align(64))]
struct Leaf {
    left: Spin<u64>,
    entries: [AtomicPtr<()>; LEAF_IDS as usize],
}

static LEAVES: Slab<Leaf> =
    Slab::new("idr_leaf", || Leaf { left: Spin::new(0), entries: std::array::from_fn(|_| AtomicPtr::new(null_mut())) });

/// The ids of a leaf that its owner has not handed out yet: `next` up to `end`.
#[derive(Debug)]
struct Span {
    leaf: NonNull<Leaf>,
    next: u64,
    end: u64,
}

// SAFETY: the leaf is made for use by all threads; it exists, by the protocol, while the span is not used up.
unsafe impl Send for Span {}

impl Span {
    const EMPTY: Span = Span { leaf: NonNull::dangling(), next: 0, end: 0 };

    #[inline]
    fn reserve<T>(&mut self, idr: &Inner) -> Result<Slot<T>, OutOfIds> {
        if self.next == self.end {
            *self = idr.new_span()?;
        }
        let Some(id) = TaskId::new(self.next) else { return Err(OutOfIds) };
        self.next += 1;
        Ok(Slot { leaf: self.leaf, id, entry: PhantomData })
    }

    /// Gives up what is left.
    fn retire(&mut self, idr: &Inner) {
        if self.next != self.end {
            let index = self.next / LEAF_IDS;
            // SAFETY: not used up, so the leaf exists.
            unsafe { idr.count_down(self.leaf, index, self.end - self.next, |_| {}) };
            *self = Span::EMPTY;
        }
    }
}

#[derive(Debug)]
struct Inner {
    tree: Spin<Tree<Leaf>>,
    /// The first leaf that nobody has had.
    next: AtomicU64,
    /// For threads without a range.
    shared: Spin<Span>,
}

impl Inner {
    #[cold]
    #[inline(never)]
    fn new_span(&self) -> Result<Span, OutOfIds> {
        let leaf = LEAVES.alloc().ok_or(OutOfIds)?;
        // Which number it gets matters to nobody; the tree's lock publishes the leaf.
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let (first, end) = (index * LEAF_IDS, (index + 1) * LEAF_IDS);
        let next = first.max(1); // 0 is no id.
        // SAFETY: just allocated.
        *unsafe { leaf.as_ref() }.left.lock() = end - next;
        if !self.tree.lock().insert(index, leaf) {
            // SAFETY: not in the tree, so nobody else knows it; its entries are null.
            unsafe { LEAVES.free(leaf) };
            return Err(OutOfIds);
        }
        Ok(Span { leaf, next, end })
    }

    /// Takes `count` off `left`, after `change` under the same lock.
    ///
    /// # Safety
    /// The leaf is of this IDR and in its place `index`; `count` of what is left are the caller's, who does not use them again.
    #[inline]
    unsafe fn count_down(&self, leaf: NonNull<Leaf>, index: u64, count: u64, change: impl FnOnce(&Leaf)) {
        let none_left = {
            // SAFETY: some of its ids are the caller's, so it exists until the lock is released, at least.
            let leaf = unsafe { leaf.as_ref() };
            let mut left = leaf.left.lock();
            change(leaf);
            *left -= count;
            *left == 0
        };
        if none_left {
            // SAFETY: we brought it to zero.
            unsafe { self.unlink(leaf, index) };
        }
    }

    /// # Safety
    /// The caller brought `left` to zero.
    #[cold]
    #[inline(never)]
    unsafe fn unlink(&self, leaf: NonNull<Leaf>, index: u64) {
        self.tree.lock().remove(index);
        // SAFETY: nobody has a slot of it, nobody finds it any more, and who had found it was done before we got the lock.
        unsafe { LEAVES.free(leaf) };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut shared = std::mem::replace(&mut *self.shared.lock(), Span::EMPTY);
        shared.retire(self);
    }
}

/// Tasks by their ids. A handle: clones are the same IDR.
///
/// What slots refer to must be removed by them before it goes; slots that are never removed keep their leaf.
#[derive(Debug)]
pub(crate) struct Idr<T> {
    inner: Arc<Inner>,
    entries: PhantomData<fn(NonNull<T>)>,
}

impl<T> Clone for Idr<T> {
    fn clone(&self) -> Idr<T> {
        Idr { inner: self.inner.clone(), entries: PhantomData }
    }
}

impl<T> Idr<T> {
    pub(crate) fn new() -> Idr<T> {
        let inner = Inner { tree: Spin::new(Tree::new()), next: AtomicU64::new(0), shared: Spin::new(Span::EMPTY) };
        Idr { inner: Arc::new(inner), entries: PhantomData }
    }

    /// Ids for one cpu to hand out. Costs nothing until the first.
    pub(crate) fn range(&self) -> IdRange<T> {
        IdRange { span: Span::EMPTY, idr: self.clone() }
    }

    /// An id for who has no range, under a lock.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn reserve(&self) -> Result<Slot<T>, OutOfIds> {
        self.inner.shared.lock().reserve(&self.inner)
    }

    /// Ends an id. Afterwards nobody looks at its entry.
    ///
    /// # Safety
    /// The slot is from this IDR.
    #[inline]
    pub(crate) unsafe fn remove(&self, slot: Slot<T>) {
        let clear = |leaf: &Leaf| leaf.entries[slot.id.place()].store(null_mut(), Ordering::Relaxed);
        // SAFETY: of this IDR; the slot is one of what is left, and used for the last time.
        unsafe { self.inner.count_down(slot.leaf, slot.id.leaf(), 1, clear) };
    }

    /// Calls `f` with the entry of an id, which stays in place meanwhile; None if it is not published, or removed. `f` is short (it takes a
    /// reference, say) and does not use the IDR.
    pub(crate) fn get<R>(&self, id: TaskId, f: impl FnOnce(NonNull<T>) -> R) -> Option<R> {
        let tree = self.inner.tree.lock();
        let leaf = tree.get(id.leaf())?;
        // SAFETY: found in the tree, whose lock is held.
        let leaf = unsafe { leaf.as_ref() };
        let _left = leaf.left.lock();
        NonNull::new(leaf.entries[id.place()].load(Ordering::Acquire)).map(|entry| f(entry.cast()))
    }

    /// As [`Idr::get`], for the first entry whose id is `from` or above. No lock is held between two calls, so tasks may begin
    /// and end meanwhile, the one just returned too.
    pub(crate) fn next<R>(&self, from: TaskId, f: impl FnOnce(TaskId, NonNull<T>) -> R) -> Option<(TaskId, R)> {
        let tree = self.inner.tree.lock();
        let (mut at, mut place) = (from.leaf(), from.place());
        loop {
            let (index, leaf) = tree.at_or_after(at)?;
            // SAFETY: found in the tree, whose lock is held.
            let leaf = unsafe { leaf.as_ref() };
            let _left = leaf.left.lock();
            let first = if index == at { place } else { 0 };
            for (offset, entry) in leaf.entries.iter().enumerate().skip(first) {
                let entry = NonNull::new(entry.load(Ordering::Acquire));
                if let (Some(id), Some(entry)) = (TaskId::new(index * LEAF_IDS + offset as u64), entry) {
                    return Some((id, f(id, entry.cast())));
                }
            }
            (at, place) = (index + 1, 0);
        }
    }

    /// All entries by rising id, each as [`Idr::next`] sees it: a task that lives from the beginning to the end of the iteration comes once.
    pub(crate) fn iter<R>(&self, mut f: impl FnMut(TaskId, NonNull<T>) -> R) -> impl Iterator<Item = (TaskId, R)> {
        let mut from = Some(TaskId::FIRST);
        std::iter::from_fn(move || {
            let found = self.next(from?, &mut f)?;
            from = found.0.after();
            Some(found)
        })
    }

    /// Inner nodes of the tree.
    #[cfg(test)]
    fn nodes(&self) -> usize {
        self.inner.tree.lock().nodes()
    }
}

/// Ids that one cpu hands out.
#[derive(Debug)]
pub(crate) struct IdRange<T> {
    span: Span,
    idr: Idr<T>,
}

impl<T> IdRange<T> {
    /// An id that nobody had. Nothing is found under it until it is published.
    ///
    /// # Errors
    /// There is no memory.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Result<Slot<T>, OutOfIds> {
        self.span.reserve(&self.idr.inner)
    }
}

impl<T> Drop for IdRange<T> {
    fn drop(&mut self) {
        self.span.retire(&self.idr.inner);
    }
}

/// An id in use, and where its entry is. Ended by [`Idr::remove`].
#[derive(Debug)]
pub(crate) struct Slot<T> {
    leaf: NonNull<Leaf>,
    id: TaskId,
    entry: PhantomData<fn(NonNull<T>)>,
}

// SAFETY: the leaf is made for use by all threads and exists as long as the slot; the entry belongs to who has the slot.
unsafe impl<T> Send for Slot<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    #[inline]
    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// From now on the entry is found. It must be there until the slot has been removed.
    #[inline]
    pub(crate) fn publish(&self, entry: NonNull<T>) {
        // SAFETY: the leaf has this slot left, so it exists.
        let leaf = unsafe { self.leaf.as_ref() };
        leaf.entries[self.id.place()].store(entry.as_ptr().cast(), Ordering::Release);
    }
}

#[cfg(all(loom, test))]
mod models;
#[cfg(all(not(loom), test))]
mod tests;
