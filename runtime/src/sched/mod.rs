//! Who runs next: first come, first served, until the classes are here.

use std::collections::VecDeque;
use std::ptr::NonNull;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueue {
    New,
    Wakeup,
    Migrated,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Preempted,
    Blocked,
    Dead,
}
#[derive(Clone, Copy, Debug, Default)]
pub struct Tunables;
#[derive(Clone, Copy, Debug, Default)]
pub struct Nice;
#[derive(Debug)]
#[repr(C)]
pub struct Entity {
    _x: [u64; 18],
}
impl Entity {
    pub(crate) fn new(_: Nice) -> Entity {
        Entity { _x: [0; 18] }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityRef(NonNull<Entity>);
impl EntityRef {
    pub(crate) unsafe fn new(e: &Entity) -> EntityRef {
        EntityRef(NonNull::from(e))
    }
    pub(crate) fn as_ptr(self) -> NonNull<Entity> {
        self.0
    }
}
pub(crate) struct RunQueue {
    q: VecDeque<EntityRef>,
    cur: Option<EntityRef>,
}
unsafe impl Send for RunQueue {}
impl RunQueue {
    pub(crate) fn new(_: u32, _: Tunables) -> RunQueue {
        RunQueue { q: VecDeque::new(), cur: None }
    }
    pub(crate) fn enqueue(&mut self, e: EntityRef, _: Enqueue, _: u64) -> bool {
        self.q.push_back(e);
        false
    }
    pub(crate) fn pick_next(&mut self, _: u64) -> Option<EntityRef> {
        self.cur = self.q.pop_front();
        self.cur
    }
    pub(crate) fn put_prev(&mut self, why: Leaving, _: u64) {
        let c = self.cur.take();
        if why == Leaving::Preempted {
            self.q.extend(c);
        }
    }
    pub(crate) fn yield_current(&mut self, now: u64) -> Option<EntityRef> {
        self.put_prev(Leaving::Preempted, now);
        self.pick_next(now)
    }
    pub(crate) fn nr_queued(&self) -> u32 {
        self.q.len() as u32
    }
    pub(crate) fn slice_end(&self) -> u64 {
        u64::MAX
    }
    pub(crate) fn steal(&mut self, mut ok: impl FnMut(EntityRef) -> bool, _: u64) -> Option<EntityRef> {
        let i = self.q.iter().rposition(|e| ok(*e))?;
        self.q.remove(i)
    }
}
