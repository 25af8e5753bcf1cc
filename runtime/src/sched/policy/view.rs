//! What a policy sees of a queue and of those in it.

use crate::sched::Tunables;
use crate::sched::entity::EntityRef;
use crate::sched::fair::FairQueue;
use crate::sched::timeline::VRuntime;
use crate::sched::weight::Weight;

/// A task, or a group of tasks, in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender<'a> {
    pub(in crate::sched) entity: EntityRef,
    queue: std::marker::PhantomData<&'a FairQueue>,
}

impl<'a> Contender<'a> {
    #[inline]
    pub(in crate::sched) fn new(entity: EntityRef) -> Contender<'a> {
        Contender { entity, queue: std::marker::PhantomData }
    }

    /// Its claim: 1024 at nice 0, a quarter more for each step down. A group's is its part for this cpu.
    pub fn weight(self) -> u32 {
        (self.entity.weight.get().raw() >> Weight::SHIFT) as u32
    }

    /// It is a group.
    pub fn is_group(self) -> bool {
        self.entity.is_group
    }

    /// Where it stands.
    #[inline]
    pub fn key(self) -> u64 {
        self.entity.key.get().since(VRuntime::default()) as u64
    }

    /// Puts it somewhere else. Keys of one queue are compared by how far they are apart: less than 2^63.
    #[inline]
    pub fn set_key(self, key: u64) {
        self.entity.key.set(VRuntime::default().plus(key));
    }

    /// A number that the policy may keep with it; 0 at first. It stays the same wherever it goes.
    pub fn memory(self) -> u64 {
        self.entity.memory.get()
    }

    /// Keeps a number.
    pub fn set_memory(self, memory: u64) {
        self.entity.memory.set(memory);
    }

    /// Nanoseconds it ran in all.
    pub fn ran(self) -> u64 {
        self.entity.sum_exec_runtime.get()
    }

    /// Nanoseconds it ran since it was picked.
    #[inline]
    pub fn ran_at_once(self) -> u64 {
        self.entity.sum_exec_runtime.get().wrapping_sub(self.entity.prev_sum_exec_runtime.get())
    }

    /// Nanoseconds it ran since it came new, woke up or yielded.
    pub fn burst(self) -> u64 {
        self.entity.sum_exec_runtime.get().wrapping_sub(self.entity.burst_start.get())
    }

    /// A time of a core in its own virtual time: less for one that weighs more.
    #[inline]
    pub fn virtual_ns(self, ns: u64) -> u64 {
        self.entity.rate.get().virtual_ns(ns)
    }
}

/// The queue of a cpu, or of a group on it.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub(in crate::sched) fair: &'a FairQueue,
    pub(in crate::sched) tunables: &'a Tunables,
    pub(in crate::sched) now: u64,
}

impl Queue<'_> {
    /// The scheduler's clock, in nanoseconds. Those of different cpus may differ a little.
    pub fn now(self) -> u64 {
        self.now
    }

    /// The runtime's times.
    pub fn tunables(&self) -> &Tunables {
        self.tunables
    }

    /// How many are in it, the running one included.
    pub fn number(self) -> u32 {
        self.fair.nr_running
    }

    /// What they weigh together.
    pub fn weight(self) -> u64 {
        self.fair.load >> Weight::SHIFT
    }

    /// Nanoseconds of the core, at nice 0, that it owes to `who`; negative if that one had more than its share. Not for CFS, which
    /// counts from who had least.
    pub fn lag(self, who: Contender<'_>) -> i64 {
        let behind = self.fair.moment().since(who.entity.vruntime.get());
        (i128::from(behind) * i128::from(who.entity.weight.get().raw()) / i128::from(Weight::NICE_0.raw())) as i64
    }
}
