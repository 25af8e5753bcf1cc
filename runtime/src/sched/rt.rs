//! The real-time classes: a list for each priority, and a bitmap of those that are not empty.
//!
//! A preempted task is still the first of its priority; one that yields, or whose turn is over (round robin only), goes to the
//! end of its list. What runs is in no list.

use super::entity::{Class, Entity, EntityRef, On};
use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};
use std::fmt;

/// A real-time priority: 1 (lowest) to 99 (highest).
///
/// ```
/// use fairground_runtime::sched::RtPriority;
/// assert_eq!(RtPriority::new(50)?.get(), 50);
/// assert_eq!(RtPriority::new(0).unwrap_err().to_string(), "real-time priority 0: 1 to 99 are allowed");
/// # Ok::<(), fairground_runtime::sched::RtPriorityError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RtPriority(u8);

impl RtPriority {
    /// The lowest.
    pub const MIN: RtPriority = RtPriority(1);
    /// The highest.
    pub const MAX: RtPriority = RtPriority(99);

    /// A priority.
    ///
    /// # Errors
    /// It is not within 1 to 99.
    pub const fn new(priority: u32) -> Result<RtPriority, RtPriorityError> {
        if priority < RtPriority::MIN.0 as u32 || priority > RtPriority::MAX.0 as u32 {
            return Err(RtPriorityError(priority));
        }
        Ok(RtPriority(priority as u8))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0 as u32
    }
}

/// A number that is no real-time priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtPriorityError(u32);

impl fmt::Display for RtPriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "real-time priority {}: 1 to 99 are allowed", self.0)
    }
}

impl std::error::Error for RtPriorityError {}

intrusive_adapter!(ByListNode = UnsafeRef<Entity>: Entity { list_node => LinkedListLink });

/// Entities in a row.
pub(super) struct List(LinkedList<ByListNode>);

impl List {
    pub(super) const fn new() -> List {
        List(LinkedList::new(ByListNode::NEW))
    }

    fn node(entity: EntityRef) -> UnsafeRef<Entity> {
        debug_assert!(!entity.list_node.is_linked());
        // SAFETY: by the contract of `EntityRef` the entity stays in its place while it is on a queue.
        unsafe { UnsafeRef::from_raw(entity.as_ptr().as_ptr()) }
    }

    pub(super) fn push_back(&mut self, entity: EntityRef) {
        self.0.push_back(List::node(entity));
    }

    pub(super) fn push_front(&mut self, entity: EntityRef) {
        self.0.push_front(List::node(entity));
    }

    /// Takes out one that is in here.
    pub(super) fn remove(&mut self, entity: EntityRef) {
        debug_assert!(entity.list_node.is_linked());
        // SAFETY: by this function's contract.
        unsafe { self.0.cursor_mut_from_ptr(entity.as_ptr().as_ptr()) }.remove();
    }

    pub(super) fn first(&self) -> Option<EntityRef> {
        // SAFETY: what is in here keeps the contract.
        self.0.front().get().map(|entity| unsafe { EntityRef::new(entity) })
    }

    /// The one after one that is in here.
    pub(super) fn after(&self, entity: EntityRef) -> Option<EntityRef> {
        // SAFETY: by this function's contract; what follows keeps its own.
        unsafe { self.0.cursor_from_ptr(entity.as_ptr().as_ptr()).peek_next().get().map(|next| EntityRef::new(next)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = EntityRef> {
        // SAFETY: as in `first`.
        self.0.iter().map(|entity| unsafe { EntityRef::new(entity) })
    }

    pub(super) fn find_last(&self, most: usize, good: &mut dyn FnMut(EntityRef) -> bool) -> Option<EntityRef> {
        self.iter().rev().take(most).find(|entity| good(*entity))
    }
}

impl Drop for List {
    /// Entities that still wait are not touched: they may be gone.
    fn drop(&mut self) {
        self.0.fast_clear();
    }
}

const LEVELS: usize = RtPriority::MAX.0 as usize + 1;

pub(super) struct RtQueue {
    /// Bit p: somebody waits at priority p.
    bitmap: u128,
    lists: Box<[List; LEVELS]>,
    pub(super) nr_queued: u32,
}

impl RtQueue {
    pub(super) fn new() -> RtQueue {
        RtQueue { bitmap: 0, lists: Box::new([const { List::new() }; LEVELS]), nr_queued: 0 }
    }

    pub(super) fn enqueue(&mut self, entity: EntityRef, at_head: bool) {
        let priority = priority(entity.class.get());
        entity.on.set(On::Queue);
        self.bitmap |= 1 << priority;
        self.nr_queued += 1;
        let list = &mut self.lists[priority as usize];
        if at_head { list.push_front(entity) } else { list.push_back(entity) }
    }

    pub(super) fn dequeue(&mut self, entity: EntityRef) {
        let priority = priority(entity.class.get());
        let list = &mut self.lists[priority as usize];
        list.remove(entity);
        if list.is_empty() {
            self.bitmap &= !(1 << priority);
        }
        self.nr_queued -= 1;
        entity.on.set(On::Nothing);
    }

    /// The highest priority that waits; 0 if none does.
    #[inline]
    pub(super) fn highest(&self) -> u32 {
        127u32.wrapping_sub(self.bitmap.leading_zeros()).min(127) * u32::from(self.bitmap != 0)
    }

    pub(super) fn first(&self) -> Option<EntityRef> {
        self.lists[self.highest() as usize].first()
    }

    /// One that waits, from the highest priority on.
    pub(super) fn find_first(&self, most: usize, mut good: impl FnMut(EntityRef) -> bool) -> Option<EntityRef> {
        let mut left = self.bitmap;
        let levels = std::iter::from_fn(|| {
            let priority = 127u32.checked_sub(left.leading_zeros())?;
            left &= !(1 << priority);
            Some(priority)
        });
        levels.flat_map(|priority| self.lists[priority as usize].iter()).take(most).find(|entity| good(*entity))
    }
}

/// 0 for what is not real-time.
pub(super) fn priority(class: Class) -> u32 {
    match class {
        Class::Fifo(priority) | Class::RoundRobin(priority) => priority.get(),
        Class::Fair(_) | Class::Idle => 0,
    }
}
