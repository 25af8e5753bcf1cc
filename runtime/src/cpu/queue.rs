//! A cpu's run queue with the tasks in it: what is behind the queue's lock.
//!
//! Beside the scheduler's queue stands the number of tasks in it that other cpus may take, so that an idle cpu knows whether looking
//! is of use: it sleeps while a busy cpu has only tasks that must stay there.

use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef, Leaving, RunQueue};
use crate::task::task::TaskStruct;

/// See the module's text.
pub(crate) struct Queue {
    rq: RunQueue,
    movable: u32,
}

/// The task an entity is part of.
///
/// # Safety
/// The entity is a task's, and the task is alive.
pub(crate) unsafe fn task_of<'a>(entity: EntityRef) -> &'a TaskStruct {
    // SAFETY: the entity is a task's first field.
    unsafe { entity.as_ptr().cast::<TaskStruct>().as_ref() }
}

impl Queue {
    pub(crate) fn new(rq: RunQueue) -> Queue {
        Queue { rq, movable: 0 }
    }

    /// True if the running task should give way.
    ///
    /// # Safety
    /// The task is READY or NEW, on no queue, and the caller's to queue. It lives until a cpu has seen its end.
    #[inline]
    pub(crate) unsafe fn enqueue(&mut self, shared: &Shared, task: &TaskStruct, why: Enqueue, now: u64) -> bool {
        self.movable += u32::from(shared.may_move(task));
        // SAFETY: by this function's contract.
        self.rq.enqueue(unsafe { EntityRef::new(&task.entity) }, why, now)
    }

    #[inline]
    pub(crate) fn pick_next(&mut self, shared: &Shared, now: u64) -> Option<EntityRef> {
        let next = self.rq.pick_next(now);
        self.left(shared, next);
        next
    }

    /// The running task leaves the cpu.
    pub(crate) fn put_prev(&mut self, why: Leaving, now: u64) {
        debug_assert!(why != Leaving::Preempted, "that one stays in the queue");
        self.rq.put_prev(why, now);
    }

    /// The running task lets others run, if it is their turn.
    #[inline]
    pub(crate) fn yield_current(&mut self, shared: &Shared, task: &TaskStruct, now: u64) -> Option<EntityRef> {
        self.movable += u32::from(shared.may_move(task));
        let next = self.rq.yield_current(now);
        self.left(shared, next);
        next
    }

    /// For a cpu without work: a task that may go there. It is on no queue then, and the caller's.
    pub(crate) fn steal(&mut self, shared: &Shared, now: u64) -> Option<EntityRef> {
        // SAFETY: what is queued is a live task's.
        let stolen = self.rq.steal(|entity| shared.may_move(unsafe { task_of(entity) }), now);
        self.left(shared, stolen);
        stolen
    }

    #[inline]
    fn left(&mut self, shared: &Shared, entity: Option<EntityRef>) {
        // SAFETY: it was queued until now.
        if entity.is_some_and(|entity| shared.may_move(unsafe { task_of(entity) })) {
            self.movable -= 1;
        }
    }

    /// Tasks that wait.
    pub(crate) fn nr_queued(&self) -> u32 {
        self.rq.nr_queued()
    }

    /// Those among them that may move.
    pub(crate) fn movable(&self) -> u32 {
        self.movable
    }

    pub(crate) fn slice_end(&self) -> u64 {
        self.rq.slice_end()
    }
}
