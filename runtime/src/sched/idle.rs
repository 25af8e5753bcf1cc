//! The idle class: first come, first served, one turn each, and only if no other class has anything to run.

use super::entity::{EntityRef, On};
use super::rt::List;

pub(super) struct IdleQueue {
    list: List,
    pub(super) nr_queued: u32,
}

impl IdleQueue {
    pub(super) fn new() -> IdleQueue {
        IdleQueue { list: List::new(), nr_queued: 0 }
    }

    pub(super) fn enqueue(&mut self, entity: EntityRef) {
        entity.on.set(On::Queue);
        self.list.push_back(entity);
        self.nr_queued += 1;
    }

    pub(super) fn dequeue(&mut self, entity: EntityRef) {
        entity.on.set(On::Nothing);
        self.list.remove(entity);
        self.nr_queued -= 1;
    }

    pub(super) fn first(&self) -> Option<EntityRef> {
        self.list.first()
    }

    /// From the end that waits longest still.
    pub(super) fn find_last(&self, most: usize, mut good: impl FnMut(EntityRef) -> bool) -> Option<EntityRef> {
        self.list.find_last(most, &mut good)
    }
}
