//! The deadlines of the tasks that wait on a cpu: a red-black tree by time, under a lock of its own.
//!
//! A task waits for one deadline at most, so the node is part of the task. It is linked by the task before it parks, and taken out
//! by whoever comes first: the cpu when the time has come, or the task when something else woke it. Both hold the lock.
//!
//! A task whose node is linked is alive: it takes the node out before it goes on. So the cpu may wake it under the lock.

use crate::atomic::UnsafeCell;
use crate::task::task::TaskStruct;
use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};
use std::ptr::NonNull;

/// A task's node. The fields other than the link are constant while it is linked.
pub(crate) struct Timer {
    link: RBTreeLink,
    place: UnsafeCell<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Nanoseconds of CLOCK_MONOTONIC.
    deadline: u64,
    task: Option<NonNull<TaskStruct>>,
}

intrusive_adapter!(pub(crate) ByLink = UnsafeRef<Timer>: Timer { link => RBTreeLink });

impl<'a> KeyAdapter<'a> for ByLink {
    /// Equal deadlines in any order, but always the same.
    type Key = (u64, usize);

    fn get_key(&self, timer: &'a Timer) -> (u64, usize) {
        (timer.deadline(), &raw const *timer as usize)
    }
}

impl Timer {
    pub(crate) fn new() -> Timer {
        Timer { link: RBTreeLink::new(), place: UnsafeCell::new(Place { deadline: 0, task: None }) }
    }

    fn deadline(&self) -> u64 {
        // SAFETY: constant while linked, and only then looked at.
        self.place.with(|place| unsafe { (*place).deadline })
    }
}

/// The nodes of one cpu.
pub(crate) struct Timers {
    tree: RBTree<ByLink>,
}

// SAFETY: the nodes are touched under this structure's lock only.
unsafe impl Send for Timers {}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { tree: RBTree::new(ByLink::new()) }
    }

    /// The earliest deadline; `u64::MAX` if there is none.
    pub(crate) fn next(&self) -> u64 {
        self.tree.front().get().map_or(u64::MAX, Timer::deadline)
    }

    /// Links the node of the task that runs here.
    ///
    /// # Safety
    /// The node is not linked, and the task takes it out before it goes on after its park.
    pub(crate) unsafe fn insert(&mut self, task: &TaskStruct, deadline: u64) {
        debug_assert!(!task.timer.link.is_linked());
        // SAFETY: not linked, so the task's own.
        task.timer.place.with_mut(|place| unsafe { *place = Place { deadline, task: Some(NonNull::from(task)) } });
        // SAFETY: stays where it is while it is linked, by this function's contract.
        self.tree.insert(unsafe { UnsafeRef::from_raw(&raw const task.timer) });
    }

    /// Takes a node of this tree out, if it is still there.
    ///
    /// # Safety
    /// If it is linked, then into this tree.
    pub(crate) unsafe fn remove(&mut self, timer: &Timer) {
        if timer.link.is_linked() {
            // SAFETY: linked into this tree.
            unsafe { self.tree.cursor_mut_from_ptr(timer) }.remove();
        }
    }

    /// Takes out one node whose time has come, and calls `wake` with its task.
    pub(crate) fn fire_one(&mut self, now: u64, wake: impl FnOnce(&TaskStruct)) -> bool {
        let mut front = self.tree.front_mut();
        match front.get() {
            Some(timer) if timer.deadline() <= now => {
                // SAFETY: constant while linked.
                let task = timer.place.with(|place| unsafe { (*place).task });
                front.remove();
                if let Some(task) = task {
                    // SAFETY: alive: it has yet to take this lock to find its node gone.
                    wake(unsafe { task.as_ref() });
                }
                true
            }
            _ => false,
        }
    }
}
