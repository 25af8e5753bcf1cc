//! What is scheduled: a task, or a group on one cpu. The kernel's `sched_entity`.
//!
//! An entity is part of something larger (a task, or a group's part of a cpu) and the queues link it in place, so that queueing
//! never allocates. All fields belong to whoever holds the lock of the run queue the entity is on or was on last.
//!
//! # The contract of an [`EntityRef`]
//!
//! Whoever makes one promises: the entity stays where it is, and lives, from the moment it is queued until it left the queue
//! (dequeued, stolen, or gone as Blocked or Dead); it is used only under the lock of its run queue; and the run queues that
//! entities of one group get to have different numbers. So every other function of this folder is safe.

use super::group::{Group, GroupCpu};
use super::rt::RtPriority;
use super::timeline::VRuntime;
use super::weight::{Nice, Rate, Weight};
use intrusive_collections::{LinkedListLink, RBTreeLink};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// How a task wants to be scheduled. The classes are asked in the order real-time, fair, idle: one of them runs only if nothing
/// waits in those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// Real-time, first in, first out: it runs until it waits, yields, or a higher priority comes.
    Fifo(RtPriority),
    /// Real-time, in turns with others of the same priority.
    RoundRobin(RtPriority),
    /// By weight: the default.
    Fair(Nice),
    /// Only if nothing else wants to run.
    Idle,
}

impl Default for Class {
    fn default() -> Class {
        Class::Fair(Nice::default())
    }
}

/// What an entity is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pub(crate) class: Class,
    /// Only fair tasks are scheduled in their groups.
    pub(crate) group: Option<Arc<Group>>,
}

impl From<Nice> for Params {
    fn from(nice: Nice) -> Params {
        Params { class: Class::Fair(nice), group: None }
    }
}

impl From<Class> for Params {
    fn from(class: Class) -> Params {
        Params { class, group: None }
    }
}

/// Where an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// On no queue.
    Nothing,
    /// Waiting in a queue.
    Queue,
    /// Running: of its queue, but not linked.
    Cpu,
    /// A group whose quota is used up: its tasks wait in its queue, itself in none.
    Throttled,
}

/// How an entity's vruntime is to be read when it comes to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// It was on no queue yet.
    None,
    /// As a moment of the queue it left, whose own moment then is `left_at`.
    Queue,
    /// As a distance to the queue's moment: it was taken from a queue to go to another.
    Relative,
}

/// See the module's text.
#[repr(C)]
pub(crate) struct Entity {
    pub(super) run_node: RBTreeLink,
    /// By which it waits: what its policy says.
    pub(super) key: Cell<VRuntime>,
    pub(super) vruntime: Cell<VRuntime>,
    pub(super) rate: Cell<Rate>,
    /// Until when its run time is charged.
    pub(super) exec_start: Cell<u64>,
    pub(super) sum_exec_runtime: Cell<u64>,
    /// `sum_exec_runtime` when its slice began.
    pub(super) prev_sum_exec_runtime: Cell<u64>,
    /// `sum_exec_runtime` when it came or woke up; under CFS not after yielding.
    pub(super) burst_start: Cell<u64>,
    /// The policy's own.
    pub(super) memory: Cell<u64>,
    /// See [`Base::Queue`].
    pub(super) left_at: Cell<VRuntime>,
    /// The part of its group on its cpu; none at the top.
    pub(super) parent: Cell<Option<NonNull<GroupCpu>>>,
    pub(super) weight: Cell<Weight>,
    pub(super) cpu: Cell<u32>,
    pub(super) class: Cell<Class>,
    pub(super) on: Cell<On>,
    pub(super) base: Cell<Base>,
    pub(super) is_group: bool,
    /// In a list of the real-time or idle class, or of throttled groups.
    pub(super) list_node: LinkedListLink,
    pub(super) group: RefCell<Option<Arc<Group>>>,
}

const _: () = assert!(size_of::<Entity>() <= 160, "a task's object is 512 bytes, and a small closure should fit");

impl Entity {
    /// An entity of a task that is on no queue.
    pub(crate) fn new(params: impl Into<Params>) -> Entity {
        let Params { class, group } = params.into();
        Entity::with(class, class_weight(class), group, false)
    }

    pub(super) fn of_group(weight: Weight, parent: Option<Arc<Group>>) -> Entity {
        Entity::with(Class::default(), weight, parent, true)
    }

    fn with(class: Class, weight: Weight, group: Option<Arc<Group>>, is_group: bool) -> Entity {
        Entity {
            run_node: RBTreeLink::new(),
            key: Cell::default(),
            vruntime: Cell::default(),
            rate: Cell::new(weight.rate()),
            exec_start: Cell::new(0),
            sum_exec_runtime: Cell::new(0),
            prev_sum_exec_runtime: Cell::new(0),
            burst_start: Cell::new(0),
            memory: Cell::new(0),
            left_at: Cell::default(),
            parent: Cell::new(None),
            weight: Cell::new(weight),
            cpu: Cell::new(0),
            class: Cell::new(class),
            on: Cell::new(On::Nothing),
            base: Cell::new(Base::None),
            is_group,
            list_node: LinkedListLink::new(),
            group: RefCell::new(group),
        }
    }

    pub(super) fn set_weight(&self, weight: Weight) {
        self.weight.set(weight);
        self.rate.set(weight.rate());
    }

    /// What it is scheduled by.
    pub(crate) fn class(&self) -> Class {
        self.class.get()
    }

    /// What it adds to its run queue's load.
    pub(crate) fn load(&self) -> u64 {
        self.weight.get().raw() >> Weight::SHIFT
    }

    /// Its virtual run time in nanoseconds, counted from where queues begin.
    pub(crate) fn vruntime_ns(&self) -> i64 {
        self.vruntime.get().since(VRuntime::START)
    }

    /// Nanoseconds it ran, up to the last look of its run queue.
    pub(crate) fn sum_exec_runtime(&self) -> u64 {
        self.sum_exec_runtime.get()
    }
}

pub(super) fn class_weight(class: Class) -> Weight {
    match class {
        Class::Fair(nice) => nice.weight(),
        _ => Weight::NICE_0,
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entity")
            .field("class", &self.class.get())
            .field("on", &self.on.get())
            .field("vruntime", &self.vruntime.get())
            .field("sum_exec_runtime", &self.sum_exec_runtime.get())
            .finish_non_exhaustive()
    }
}

/// An entity that keeps the contract in the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityRef(NonNull<Entity>);

impl EntityRef {
    /// # Safety
    /// The contract in the module's text.
    #[inline]
    pub(crate) unsafe fn new(entity: &Entity) -> EntityRef {
        EntityRef(NonNull::from(entity))
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> NonNull<Entity> {
        self.0
    }
}

impl Deref for EntityRef {
    type Target = Entity;

    #[inline]
    fn deref(&self) -> &Entity {
        // SAFETY: the contract in the module's text.
        unsafe { self.0.as_ref() }
    }
}
