//! Groups: tasks that have a weight and, if wanted, a quota together, whatever their number. The kernel's `task_group`.
//!
//! A group is on each cpu an entity in its parent's queue there, with a fair queue of its own below. When the entity runs, it is
//! the group's queue that says which task. Groups nest.
//!
//! # Weight
//!
//! The group's weight is split over the cpus by where its load is: on a cpu with half of its load, its entity weighs half
//! (`calc_group_shares`). So it gets its part of the machine, and not that part once a cpu. Loads change elsewhere, too; a cpu
//! looks at the sum whenever it switches to or from the group.
//!
//! # Quota
//!
//! In each period the group may run for its quota, all cpus together. Cpus take slices of it from the group's pool; one that
//! gets nothing *throttles* the group: takes its entity from the queue until a later period. What a cpu overran it pays from its
//! next slice. The pool is one number: `claimed`, the moment up to which the quota is given away, where the quota of a period
//! spreads evenly over it. To claim is to move it on, at most to the period's end; what a period left is lost, since claims
//! begin at the period's start at the earliest.
//!
//! # Who may touch what
//!
//! | part | who |
//! |---|---|
//! | [`GroupCpu`] | the holder of that cpu's run queue lock |
//! | [`Pool`] | anybody: atomics, each for itself. Nothing is published by them, so they are relaxed; moving `claimed` is one compare-and-swap, so no quota is given away twice |
//! | the tree of groups | constant; a group is alive while a task or a group in it is |

use super::entity::{Entity, EntityRef};
use super::fair::FairQueue;
use super::policy::PolicyRef;
use super::weight::Weight;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// How long a group may run in each period, over all cpus.
///
/// ```
/// use fairground_runtime::sched::Bandwidth;
/// use std::time::Duration;
/// let half_a_core = Bandwidth::new(Duration::from_millis(10), Duration::from_millis(20))?;
/// assert_eq!(half_a_core.quota(), Duration::from_millis(10));
/// # Ok::<(), fairground_runtime::sched::GroupError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    quota: u64,
    period: u64,
}

impl Bandwidth {
    /// Shorter periods would be of the length of single slices.
    const MIN_PERIOD: u64 = 1_000_000;
    /// The kernel's limit; a group that used its quota at once waits for almost as long.
    const MAX_PERIOD: u64 = 1_000_000_000;
    /// A tenth of a slice: below, a group would mostly overrun and wait.
    const MIN_QUOTA: u64 = 100_000;
    /// More than any machine gives in a period.
    const MAX_QUOTA: u64 = 1 << 43;

    /// `quota` in each `period`; more than the period allows more than one core.
    ///
    /// # Errors
    /// The period is not within 1 ms to 1 s, or the quota not within 100 us to 8,796 s.
    pub const fn new(quota: Duration, period: Duration) -> Result<Bandwidth, GroupError> {
        if period.as_nanos() < Bandwidth::MIN_PERIOD as u128 || period.as_nanos() > Bandwidth::MAX_PERIOD as u128 {
            return Err(GroupError::Period(period));
        }
        if quota.as_nanos() < Bandwidth::MIN_QUOTA as u128 || quota.as_nanos() > Bandwidth::MAX_QUOTA as u128 {
            return Err(GroupError::Quota(quota));
        }
        Ok(Bandwidth { quota: quota.as_nanos() as u64, period: period.as_nanos() as u64 })
    }

    /// The running time in each period.
    pub const fn quota(self) -> Duration {
        Duration::from_nanos(self.quota)
    }

    /// How often the quota is renewed.
    pub const fn period(self) -> Duration {
        Duration::from_nanos(self.period)
    }
}

/// A group's weight against its siblings, tasks (1024 at nice 0) and groups: 2 to 262,144.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shares(u32);

impl Shares {
    /// The kernel's MIN_SHARES.
    pub const MIN: Shares = Shares(2);
    /// The kernel's MAX_SHARES.
    pub const MAX: Shares = Shares(262_144);

    /// A weight.
    ///
    /// # Errors
    /// It is not within 2 to 262,144.
    pub const fn new(shares: u32) -> Result<Shares, GroupError> {
        if shares < Shares::MIN.0 || shares > Shares::MAX.0 {
            return Err(GroupError::Shares(shares));
        }
        Ok(Shares(shares))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Shares {
    /// As much as one task of nice 0.
    fn default() -> Shares {
        Shares(1024)
    }
}

/// What a group cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupError {
    /// No such weight.
    Shares(u32),
    /// No such quota.
    Quota(Duration),
    /// No such period.
    Period(Duration),
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupError::Shares(shares) => write!(f, "weight {shares} of a group: 2 to 262144 are allowed"),
            GroupError::Quota(quota) => write!(f, "quota {quota:?} of a group: 100 us to 8796 s are allowed"),
            GroupError::Period(period) => write!(f, "period {period:?} of a group: 1 ms to 1 s are allowed"),
        }
    }
}

impl std::error::Error for GroupError {}

/// See the module's text.
pub(crate) struct Group {
    pool: Arc<Pool>,
    cpus: Box<[GroupCpu]>,
}

/// What all cpus share of a group.
#[derive(Debug)]
struct Pool {
    shares: AtomicU32,
    /// The sum of what the cpus' queues weigh.
    load: AtomicU64,
    /// Nanoseconds; 0: no limit.
    quota: AtomicU64,
    period: AtomicU64,
    claimed: AtomicU64,
}

// SAFETY: the parts of cpus are touched under the locks of their run queues only, by the contract of `EntityRef`; what they point
// to are entities under the same lock. All else is atomic or constant.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// A group within `parent`, or at the top, for run queues 0 to `cpus - 1`, which are all that its entities may get to, and
    /// which have this policy.
    pub(crate) fn new(
        parent: Option<Arc<Group>>,
        shares: Shares,
        bandwidth: Option<Bandwidth>,
        cpus: u32,
        policy: &PolicyRef,
    ) -> Arc<Group> {
        let pool = Arc::new(Pool {
            shares: AtomicU32::new(shares.0),
            load: AtomicU64::new(0),
            quota: AtomicU64::new(bandwidth.map_or(0, |bandwidth| bandwidth.quota)),
            period: AtomicU64::new(bandwidth.map_or(Bandwidth::MAX_PERIOD, |bandwidth| bandwidth.period)),
            claimed: AtomicU64::new(0),
        });
        let cpus = (0..cpus).map(|cpu| {
            let entity = Entity::of_group(Weight::from_shares(shares.0), parent.clone());
            entity.cpu.set(cpu);
            entity.parent.set(parent.as_ref().map(|parent| parent.cpu(cpu)));
            GroupCpu {
                entity,
                queue: UnsafeCell::new(FairQueue::new(policy.clone())),
                pool: pool.clone(),
                contributed: Cell::new(0),
                seen: Cell::new((0, 0, 0)),
                budget: Cell::new(0),
            }
        });
        Arc::new(Group { cpus: cpus.collect(), pool })
    }

    /// What waits and runs in it on all cpus, in the inner unit of weights.
    #[cfg(test)]
    pub(crate) fn load(&self) -> u64 {
        self.pool.load.load(Ordering::Relaxed)
    }

    /// Changes the weight. Cpus see it when they next switch.
    pub(crate) fn set_shares(&self, shares: Shares) {
        self.pool.shares.store(shares.0, Ordering::Relaxed);
    }

    /// Changes the quota. What was claimed stays claimed. A throttled cpu sees it at the end of the old period at the latest.
    pub(crate) fn set_bandwidth(&self, bandwidth: Option<Bandwidth>) {
        if let Some(bandwidth) = bandwidth {
            self.pool.period.store(bandwidth.period, Ordering::Relaxed);
        }
        self.pool.quota.store(bandwidth.map_or(0, |bandwidth| bandwidth.quota), Ordering::Relaxed);
    }

    pub(super) fn cpu(&self, cpu: u32) -> NonNull<GroupCpu> {
        NonNull::from(&self.cpus[cpu as usize])
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Pool {
    /// Takes up to `want` nanoseconds of this period's quota.
    fn claim(&self, now: u64, want: u64) -> u64 {
        let (quota, period) = (self.quota.load(Ordering::Relaxed), self.period.load(Ordering::Relaxed));
        if quota == 0 {
            return want;
        }
        let start = now / period * period;
        let end = start + period;
        let mut claimed = self.claimed.load(Ordering::Relaxed);
        loop {
            let from = claimed.max(start);
            let left = (u128::from(end.saturating_sub(from)) * u128::from(quota) / u128::from(period)) as u64;
            let take = left.min(want);
            if take == 0 {
                return 0;
            }
            let until = from + (u128::from(take) * u128::from(period)).div_ceil(u128::from(quota)) as u64;
            match self.claimed.compare_exchange_weak(claimed, until, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return take,
                Err(seen) => claimed = seen,
            }
        }
    }
}

/// A group's part of a cpu.
#[repr(C)]
pub(crate) struct GroupCpu {
    /// First, so that the entity's address is this one's.
    pub(super) entity: Entity,
    queue: UnsafeCell<FairQueue>,
    pool: Arc<Pool>,
    /// This cpu's part of the pool's load.
    contributed: Cell<u64>,
    /// What the entity's weight was computed from: own load, sum, shares.
    seen: Cell<(u64, u64, u32)>,
    /// Nanoseconds the group may still run here; negative if it overran.
    budget: Cell<i64>,
}

impl GroupCpu {
    /// The group's part that an entity is.
    pub(super) fn of(entity: EntityRef) -> NonNull<GroupCpu> {
        debug_assert!(entity.is_group);
        entity.as_ptr().cast()
    }

    /// # Safety
    /// Under the cpu's lock, and no other reference to the queue is in use.
    pub(super) unsafe fn queue<'a>(this: NonNull<GroupCpu>) -> &'a mut FairQueue {
        // SAFETY: by this function's contract; the group is alive while something is queued in it.
        unsafe { &mut *this.as_ref().queue.get() }
    }

    /// The queue's load is now this.
    pub(super) fn load_is(&self, load: u64) {
        let before = self.contributed.replace(load);
        if before != load {
            // Wraps in between when it falls, as two's complement does.
            self.pool.load.fetch_add(load.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// What the entity should weigh; `None` if nothing changed since the last call.
    pub(super) fn new_weight(&self) -> Option<Weight> {
        let (own, shares) = (self.contributed.get(), self.pool.shares.load(Ordering::Relaxed));
        // Another cpu's change may be under way; the sum is never less than this cpu's part of it for long.
        let seen = (own, self.pool.load.load(Ordering::Relaxed).max(own), shares);
        if own == 0 || self.seen.replace(seen) == seen {
            return None;
        }
        let whole = Weight::from_shares(shares).raw();
        let weight = Weight::from_raw((u128::from(whole) * u128::from(own) / u128::from(seen.1)) as u64);
        (weight != self.entity.weight.get()).then_some(weight)
    }

    /// The group ran here.
    #[inline]
    pub(super) fn charge(&self, ns: u64) {
        self.budget.set(self.budget.get().saturating_sub_unsigned(ns));
    }

    /// May the group run here now? Takes quota from the pool if it needs some.
    pub(super) fn has_budget(&self, now: u64, slice: u64) -> bool {
        if self.pool.quota.load(Ordering::Relaxed) == 0 {
            self.budget.set(0);
            return true;
        }
        let budget = self.budget.get();
        if budget > 0 {
            return true;
        }
        let want = slice.saturating_add(budget.unsigned_abs());
        self.budget.set(budget.saturating_add_unsigned(self.pool.claim(now, want)));
        self.budget.get() > 0
    }

    /// How long it may run on before it must ask again.
    pub(super) fn budget_left(&self) -> u64 {
        if self.pool.quota.load(Ordering::Relaxed) == 0 { u64::MAX } else { self.budget.get().max(0) as u64 }
    }

    /// When the next period begins.
    pub(super) fn next_refill(&self, now: u64) -> u64 {
        if self.pool.quota.load(Ordering::Relaxed) == 0 {
            return now;
        }
        let period = self.pool.period.load(Ordering::Relaxed);
        (now / period + 1) * period
    }
}
