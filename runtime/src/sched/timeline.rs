//! The order in which fair entities wait: the kernel's `tasks_timeline`, a red-black tree by the key that the policy gave them
//! (`policy/`); under CFS that is the virtual run time.
//!
//! Who runs next stands at the left end. Both ends are cached: what ran just now has the largest key, mostly, and goes to
//! the right end without a search, and the one to pick is known without a walk. Equal ones stay in the order they came in.

use super::entity::{Entity, EntityRef};
use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};
use std::cmp::Ordering;

/// A moment of a queue's virtual time, in nanoseconds of nice 0. It may wrap around (a group of the smallest weight would get
/// there in a year), so moments are compared by their distance, which is far below half the range between entities of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VRuntime(u64);

impl VRuntime {
    /// Where queues begin: a millisecond before the numbers wrap, as the kernel does, so that what cannot wrap shows at once.
    pub(crate) const START: VRuntime = VRuntime(0u64.wrapping_sub(1 << 20));

    #[inline]
    pub(crate) fn plus(self, ns: u64) -> VRuntime {
        VRuntime(self.0.wrapping_add(ns))
    }

    #[inline]
    pub(crate) fn minus(self, ns: u64) -> VRuntime {
        VRuntime(self.0.wrapping_sub(ns))
    }

    /// How much later than `other` it is, in nanoseconds; negative if it is before.
    #[inline]
    pub(crate) fn since(self, other: VRuntime) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }

    #[inline]
    pub(crate) fn offset(self, ns: i64) -> VRuntime {
        VRuntime(self.0.wrapping_add_signed(ns))
    }
}

impl Ord for VRuntime {
    #[inline]
    fn cmp(&self, other: &VRuntime) -> Ordering {
        self.since(*other).cmp(&0)
    }
}

impl PartialOrd for VRuntime {
    #[inline]
    fn partial_cmp(&self, other: &VRuntime) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

intrusive_adapter!(ByKey = UnsafeRef<Entity>: Entity { run_node => RBTreeLink });

impl<'a> KeyAdapter<'a> for ByKey {
    type Key = VRuntime;

    #[inline]
    fn get_key(&self, entity: &'a Entity) -> VRuntime {
        entity.key.get()
    }
}

/// See the module's text.
pub(super) struct Timeline {
    tree: RBTree<ByKey>,
    leftmost: Option<EntityRef>,
    rightmost: Option<EntityRef>,
}

impl Timeline {
    pub(super) const fn new() -> Timeline {
        Timeline { tree: RBTree::new(ByKey::NEW), leftmost: None, rightmost: None }
    }

    /// The next to run.
    #[inline]
    pub(super) fn leftmost(&self) -> Option<EntityRef> {
        self.leftmost
    }

    /// The last to run.
    pub(super) fn rightmost(&self) -> Option<EntityRef> {
        self.rightmost
    }

    /// Puts an entity that is in no timeline where its key says. It may not change while it is in here.
    #[inline]
    pub(super) fn insert(&mut self, entity: EntityRef) {
        debug_assert!(!entity.run_node.is_linked());
        // SAFETY: by the contract of `EntityRef` the entity stays in its place while it is on a queue, and is touched under the
        // queue's lock only.
        let node = unsafe { UnsafeRef::from_raw(entity.as_ptr().as_ptr()) };
        let (Some(leftmost), Some(rightmost)) = (self.leftmost, self.rightmost) else {
            self.tree.insert(node);
            (self.leftmost, self.rightmost) = (Some(entity), Some(entity));
            return;
        };
        let key = entity.key.get();
        if key >= rightmost.key.get() {
            // SAFETY: an end is in this tree.
            unsafe { self.tree.cursor_mut_from_ptr(rightmost.as_ptr().as_ptr()) }.insert_after(node);
            self.rightmost = Some(entity);
        } else if key < leftmost.key.get() {
            // SAFETY: as above.
            unsafe { self.tree.cursor_mut_from_ptr(leftmost.as_ptr().as_ptr()) }.insert_before(node);
            self.leftmost = Some(entity);
        } else {
            self.tree.insert(node);
        }
    }

    /// Takes out one that is in here.
    #[inline]
    pub(super) fn remove(&mut self, entity: EntityRef) {
        debug_assert!(entity.run_node.is_linked());
        let first = self.leftmost == Some(entity);
        if self.rightmost == Some(entity) {
            self.rightmost = self.prev(entity);
        }
        // SAFETY: by this function's contract.
        let mut cursor = unsafe { self.tree.cursor_mut_from_ptr(entity.as_ptr().as_ptr()) };
        cursor.remove();
        if first {
            // The cursor went on to the next one, which is a queued entity as well.
            // SAFETY: so it keeps the contract.
            self.leftmost = cursor.get().map(|next| unsafe { EntityRef::new(next) });
        }
    }

    /// Takes out the leftmost, which is `out`, and puts another one in.
    #[inline]
    pub(super) fn exchange_leftmost(&mut self, out: EntityRef, entity: EntityRef) {
        debug_assert!(self.leftmost == Some(out) && !entity.run_node.is_linked());
        if self.rightmost != Some(out) {
            self.remove(out);
            return self.insert(entity);
        }
        // Two tasks that take turns, a common case: the tree of one node keeps its form.
        // SAFETY: as in `insert` and `remove`.
        let done = unsafe {
            let node = UnsafeRef::from_raw(entity.as_ptr().as_ptr());
            self.tree.cursor_mut_from_ptr(out.as_ptr().as_ptr()).replace_with(node)
        };
        debug_assert!(done.is_ok());
        (self.leftmost, self.rightmost) = (Some(entity), Some(entity));
    }

    /// The one after an entity that is in here.
    #[inline]
    pub(super) fn next(&self, entity: EntityRef) -> Option<EntityRef> {
        if self.rightmost == Some(entity) {
            return None;
        }
        // SAFETY: it is in this tree, and what follows is a queued entity as well.
        unsafe {
            self.tree.cursor_from_ptr(entity.as_ptr().as_ptr()).peek_next().get().map(|next| EntityRef::new(next))
        }
    }

    /// The one before an entity that is in here.
    pub(super) fn prev(&self, entity: EntityRef) -> Option<EntityRef> {
        if self.leftmost == Some(entity) {
            return None;
        }
        // SAFETY: as in `next`.
        unsafe {
            self.tree.cursor_from_ptr(entity.as_ptr().as_ptr()).peek_prev().get().map(|prev| EntityRef::new(prev))
        }
    }
}

impl Drop for Timeline {
    /// Entities that still wait are not touched: they may be gone, and their owner says what becomes of them.
    fn drop(&mut self) {
        self.tree.fast_clear();
    }
}
