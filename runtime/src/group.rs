//! Groups of tasks: a weight and a quota together, whatever their number.

use crate::runtime::{Runtime, Shared};
use crate::sched::policy::PolicyRef;
use crate::sched::{self, Bandwidth, Shares};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Tasks that share CPU time as one: against other groups and tasks by weight, and if wanted no more than a quota in each period. Tasks are put
/// in by [`Builder::group`](crate::Builder::group). Groups nest. Clones are the same group; it goes with the last of them and of its tasks.
///
/// # Examples
/// ```
/// use fairground_runtime::sched::{Bandwidth, Shares};
/// use fairground_runtime::{Builder, Group, Runtime};
/// use std::time::Duration;
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let tenants = Group::new(&runtime, "tenants", Shares::default());
/// let small = tenants.child("small", Shares::new(100)?);
/// let large = tenants.child("large", Shares::new(300)?);
/// small.set_bandwidth(Some(Bandwidth::new(Duration::from_millis(5), Duration::from_millis(20))?));
/// let task = Builder::new().group(&large).spawn_on(&runtime, || 1)?;
/// assert_eq!(task.join()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<sched::group::Group>,
    name: Arc<str>,
    /// Whose cpus its parts belong to.
    shared: Weak<Shared>,
    cpus: u32,
    policy: PolicyRef,
}

impl Group {
    /// A group beside the tasks that are in none.
    pub fn new(runtime: &Runtime, name: &str, shares: Shares) -> Group {
        let cpus = runtime.shared().cpus.len() as u32;
        let policy = runtime.shared().policy.clone();
        let inner = sched::group::Group::new(None, shares, None, cpus, &policy);
        runtime.shared().groups.add(&inner);
        Group { inner, name: name.into(), shared: Arc::downgrade(runtime.shared()), cpus, policy }
    }

    /// A group within this one: it shares with this one's tasks and other groups.
    #[must_use]
    pub fn child(&self, name: &str, shares: Shares) -> Group {
        let inner = sched::group::Group::new(Some(Arc::clone(&self.inner)), shares, None, self.cpus, &self.policy);
        if let Some(shared) = self.shared.upgrade() {
            shared.groups.add(&inner);
        }
        Group {
            inner,
            name: name.into(),
            shared: Weak::clone(&self.shared),
            cpus: self.cpus,
            policy: self.policy.clone(),
        }
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes the weight. Cpus see it when they next switch.
    pub fn set_shares(&self, shares: Shares) {
        self.inner.set_shares(shares);
    }

    /// Changes how long its tasks may run in each period, over all cpus; `None`: as long as they get.
    pub fn set_bandwidth(&self, bandwidth: Option<Bandwidth>) {
        self.inner.set_bandwidth(bandwidth);
    }

    pub(crate) fn is_of(&self, shared: &Shared) -> bool {
        std::ptr::eq(self.shared.as_ptr(), shared)
    }
}

/// The groups of a runtime. It keeps them, so that the scheduler, which lets go of a task's group at the task's end, is never the last to do so: it gives
/// nothing back to the program's allocator.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    groups: Vec<Arc<sched::group::Group>>,
    /// When those that nobody else has are let go next.
    prune_at: usize,
}

impl Groups {
    fn add(&self, group: &Arc<sched::group::Group>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.groups.push(Arc::clone(group));
        if kept.groups.len() > kept.prune_at {
            kept.groups.retain(|group| Arc::strong_count(group) > 1);
            kept.prune_at = (2 * kept.groups.len()).max(16);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}
