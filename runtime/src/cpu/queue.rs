//! A cpu's run queue with the tasks in it: what is behind the queue's lock.
//!
//! Beside the scheduler's queue stands a list of the tasks in it that other cpus may take, the one that waits longest first: an idle cpu
//! finds one at once, and sleeps while a busy cpu has only tasks that must stay there.

use crate::atomic::Ordering;
use crate::kthread::Kthread;
use crate::kthread::hand_over::Spares;
use crate::runtime::Shared;
use crate::sched::{Class, Enqueue, EntityRef, Leaving, RunQueue};
use crate::task::task::TaskStruct;
use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};

intrusive_adapter!(pub(crate) ByMovable = UnsafeRef<TaskStruct>: TaskStruct { movable => LinkedListLink });

/// See the module's text.
pub(crate) struct Queue {
    rq: RunQueue,
    movable: LinkedList<ByMovable>,
    nr_movable: u32,
    /// Tasks that were picked when there was no kernel thread for them: in no class, until the scheduler itself picks again.
    aside: LinkedList<ByMovable>,
    aside_is_empty: bool,
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
        Queue {
            rq,
            movable: LinkedList::new(ByMovable::new()),
            nr_movable: 0,
            aside: LinkedList::new(ByMovable::new()),
            aside_is_empty: true,
        }
    }

    /// True if the running task should give way.
    ///
    /// # Safety
    /// The task is READY or NEW, on no queue, and the caller's to queue. It lives until a cpu has seen its end.
    #[inline]
    pub(crate) unsafe fn enqueue(&mut self, shared: &Shared, task: &TaskStruct, why: Enqueue, now: u64) -> bool {
        self.came(shared, task);
        // SAFETY: by this function's contract.
        self.rq.enqueue(unsafe { EntityRef::new(&task.entity) }, why, now)
    }

    #[inline]
    pub(crate) fn pick_next(&mut self, now: u64) -> Option<EntityRef> {
        if !self.aside_is_empty {
            self.bring_back(now);
        }
        let next = self.rq.pick_next(now);
        self.went(next);
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
        if !self.aside_is_empty {
            self.bring_back(now);
        }
        self.came(shared, task);
        let next = self.rq.yield_current(now);
        self.went(next);
        next
    }

    /// The running task stays on its kernel thread: it is queued, bound to that. What runs next, and on which thread: the one it is bound to, which may be the
    /// running task's own, else a spare. `(None, None)`: nothing can run. `(None, Some)`: there is nothing to run.
    pub(crate) fn preempt<'a>(
        &mut self,
        shared: &Shared,
        spares: &Spares,
        task: &TaskStruct,
        now: u64,
    ) -> (Option<EntityRef>, Option<&'a Kthread>) {
        self.came(shared, task);
        self.rq.put_prev(Leaving::Preempted, now);
        self.pick_beside(spares, now)
    }

    /// What runs next if the present kernel thread stays with its task.
    pub(crate) fn pick_beside<'a>(&mut self, spares: &Spares, now: u64) -> (Option<EntityRef>, Option<&'a Kthread>) {
        loop {
            let next = self.rq.pick_next(now);
            self.went(next);
            let Some(entity) = next else { return (None, spares.pop(self)) };
            // SAFETY: picked, so alive.
            let task: &TaskStruct = unsafe { task_of(entity) };
            // SAFETY: records live as long as the runtime.
            let bound = unsafe { task.bound.load(Ordering::Acquire).as_ref() };
            if let Some(thread) = bound.or_else(|| spares.pop(self)) {
                return (next, Some(thread));
            }
            self.rq.put_prev(Leaving::Blocked, now);
            // SAFETY: stays where it is while it is here.
            self.aside.push_back(unsafe { UnsafeRef::from_raw(&raw const *task) });
            self.aside_is_empty = false;
        }
    }

    /// There is a spare thread: what was set aside waits again. True if something was.
    pub(crate) fn has_thread(&mut self, now: u64) -> bool {
        let waits = !self.aside_is_empty;
        if waits {
            self.bring_back(now);
        }
        waits
    }

    #[cold]
    fn bring_back(&mut self, now: u64) {
        while let Some(task) = self.aside.pop_front() {
            // SAFETY: alive, READY, and on no queue.
            self.rq.enqueue(unsafe { EntityRef::new(&task.entity) }, Enqueue::Wakeup, now);
        }
        self.aside_is_empty = true;
    }

    /// For another cpu: the task that may go there and has waited longest, if its weight is right. It is on no queue then, and the caller's.
    pub(crate) fn steal(&mut self, right: impl FnOnce(u64) -> bool, now: u64) -> Option<&'static TaskStruct> {
        let task = self.movable.front().get().map(|task| &raw const *task)?;
        // SAFETY: what is queued is alive, by `enqueue`'s contract, until a cpu has seen its end.
        let task = unsafe { &*task };
        // SAFETY: as above.
        let entity = unsafe { EntityRef::new(&task.entity) };
        if !right(entity.load()) {
            return None;
        }
        self.went(Some(entity));
        self.rq.dequeue(entity, now);
        Some(task)
    }

    #[inline]
    fn came(&mut self, shared: &Shared, task: &TaskStruct) {
        if shared.may_move(task) {
            // SAFETY: stays where it is while it is queued.
            self.movable.push_back(unsafe { UnsafeRef::from_raw(&raw const *task) });
            self.nr_movable += 1;
        }
    }

    #[inline]
    fn went(&mut self, entity: Option<EntityRef>) {
        let Some(entity) = entity else { return };
        // SAFETY: it was queued until now.
        let task: &TaskStruct = unsafe { task_of(entity) };
        if task.movable.is_linked() {
            // SAFETY: linked, and only ever into the list of the queue it is on.
            unsafe { self.movable.cursor_mut_from_ptr(task) }.remove();
            self.nr_movable -= 1;
        }
    }

    /// When the running task's slice is over, by the scheduler's clock.
    pub(crate) fn slice_end(&self) -> u64 {
        self.rq.slice_end()
    }

    /// When the running task's groups have used up their quotas.
    #[inline]
    pub(crate) fn quota_end(&self) -> u64 {
        self.rq.quota_end()
    }

    /// What the running task ran is counted up to now.
    pub(crate) fn update(&mut self, now: u64) {
        self.rq.update_curr(now);
    }

    /// No slice is shorter, in nanoseconds.
    #[inline]
    pub(crate) fn shortest_slice(&self) -> u64 {
        self.rq.tunables().min_granularity
    }

    /// Tasks that wait.
    pub(crate) fn nr_queued(&self) -> u32 {
        self.rq.nr_queued()
    }

    /// Those among them that may move: none if all that wait are of groups whose quota is used up: those need not move, for no cpu would run them.
    pub(crate) fn nr_movable(&self) -> u32 {
        self.nr_movable.min(self.nr_queued())
    }

    pub(crate) fn load(&self) -> u64 {
        self.rq.load()
    }

    /// True if the running task's time is over.
    pub(crate) fn tick(&mut self, now: u64) -> bool {
        self.rq.tick(now)
    }

    /// When groups whose quota is used up may run again, by the scheduler's clock; `u64::MAX`: there is none.
    pub(crate) fn next_refill(&self) -> u64 {
        self.rq.next_refill().unwrap_or(u64::MAX)
    }

    /// Lets groups run again that have a quota again. True if the running task should give way.
    pub(crate) fn unthrottle(&mut self, now: u64) -> bool {
        self.rq.unthrottle(now)
    }

    /// Changes how a task is scheduled, queued or not. True if the running task should give way.
    ///
    /// # Safety
    /// The task was on this queue last, or is.
    pub(crate) unsafe fn set_class(&mut self, task: &TaskStruct, class: Class, now: u64) -> bool {
        // SAFETY: by this function's contract.
        self.rq.set_class(unsafe { EntityRef::new(&task.entity) }, class, now)
    }
}
