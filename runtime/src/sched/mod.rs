//! Who runs next: the arithmetic, without clocks, threads or system calls, and without a byte allocated while tasks are queued
//! and picked.
//!
//! | file | what it is |
//! |---|---|
//! | `rq` | a cpu's run queue: asks the classes in their order |
//! | `rt`, `fair`, `idle` | the classes |
//! | `group` | tasks that share a weight and a quota |
//! | `entity` | what is queued; the contract of the pointers |
//! | `timeline` | the order of the fair class |
//! | `policy` | who of them is next: CFS and others |
//! | `weight` | nice values |
//! | `balance` | who should run where |
//!
//! Times are nanoseconds of the scheduler's clock and are handed in. A run queue and what is on it belong to the holder of the
//! run queue's lock, which is not here.

pub(crate) mod balance;
pub(crate) mod entity;
mod fair;
pub(crate) mod group;
mod idle;
#[cfg(all(test, not(loom)))]
mod model;
pub mod policy;
pub(crate) mod rq;
pub(crate) mod rt;
#[cfg(all(test, not(loom)))]
mod tests;
mod timeline;
#[cfg(all(test, not(loom)))]
mod virtual_time;
pub(crate) mod weight;

pub use entity::Class;
pub(crate) use entity::{Entity, EntityRef, Params};
pub use group::{Bandwidth, GroupError, Shares};
pub(crate) use rq::{Enqueue, Leaving, RunQueue};
pub use rt::{RtPriority, RtPriorityError};
pub use weight::{Nice, NiceError};

/// The scheduler's times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tunables {
    /// Each waiting fair task should run once in this time. Larger: fewer switches, longer waits. The kernel's is 6 ms and more;
    /// switching between green threads costs a hundredth of what it costs the kernel. It is also how far a task may lead that
    /// others let run by yielding.
    pub latency: u64,
    /// No slice is shorter, so with many tasks the latency grows. A task that does not give way by itself is preempted by a
    /// signal, which costs about 10 us: 1 % of this.
    pub min_granularity: u64,
    /// How far ahead of a woken task the running one must be to be preempted. Smaller: shorter wake-ups, more switches. Ten times
    /// the cost of a preemption.
    pub wakeup_granularity: u64,
    /// A turn of a round-robin task. The kernel's is 100 ms, in proportion to its latency.
    pub rr_slice: u64,
    /// How much of a group's quota a cpu takes at once. Larger: fewer visits to the group's pool, more of the quota lying unused
    /// on cpus. The kernel's is 5 ms of 100 ms.
    pub bandwidth_slice: u64,
}

impl Tunables {
    /// For tasks that are preempted: slices of 3 ms, so that those who compute lose less than a hundredth to it. Who wakes up does not wait for the end of a slice.
    pub fn preemptive() -> Tunables {
        Tunables { latency: 6_000_000, min_granularity: 3_000_000, ..Tunables::default() }
    }
}

impl Default for Tunables {
    fn default() -> Tunables {
        Tunables {
            latency: 2_000_000,
            min_granularity: 1_000_000,
            wakeup_granularity: 100_000,
            rr_slice: 10_000_000,
            bandwidth_slice: 1_000_000,
        }
    }
}
