//! The weighted average of the vruntimes in a tree: the moment of a queue whose policy is not CFS.
//!
//! vruntimes are far larger than their distances, so what is summed is their distance from a *zero* near them, as in the kernel. When
//! the average has gone far from it, the zero follows.

use crate::sched::entity::EntityRef;
use crate::sched::timeline::VRuntime;

/// See the module's text.
pub(in crate::sched) struct Average {
    zero: VRuntime,
    sum: i128,
    load: u64,
}

/// Some minutes of nice 0: sums of a million entities of the greatest weight fit by far.
const FAR: i64 = 1 << 38;

impl Average {
    pub(in crate::sched) const fn new() -> Average {
        Average { zero: VRuntime::START, sum: 0, load: 0 }
    }

    fn part(&self, entity: EntityRef) -> (i128, u64) {
        let weight = entity.weight.get().raw();
        (i128::from(entity.vruntime.get().since(self.zero)) * i128::from(weight), weight)
    }

    /// One comes into the tree.
    pub(in crate::sched) fn add(&mut self, entity: EntityRef) {
        let (part, weight) = self.part(entity);
        (self.sum, self.load) = (self.sum + part, self.load + weight);
    }

    /// One leaves it, with the weight and vruntime it came with.
    pub(in crate::sched) fn remove(&mut self, entity: EntityRef) {
        let (part, weight) = self.part(entity);
        (self.sum, self.load) = (self.sum - part, self.load - weight);
    }

    /// The average of those in the tree and the running one, rounded down: so who is past it is past the true one, too. None of
    /// nobody.
    pub(in crate::sched) fn with(&mut self, curr: Option<EntityRef>) -> Option<VRuntime> {
        let (part, weight) = curr.map_or((0, 0), |curr| self.part(curr));
        let (sum, load) = (self.sum + part, self.load + weight);
        if load == 0 {
            return None;
        }
        // Nearly always it fits, and that division is many times quicker.
        let average = match i64::try_from(sum) {
            Ok(sum) => sum.div_euclid(load as i64),
            Err(_) => sum.div_euclid(i128::from(load)) as i64,
        };
        let moment = self.zero.offset(average);
        if average.abs() > FAR {
            self.sum -= i128::from(average) * i128::from(self.load);
            self.zero = moment;
        }
        Some(moment)
    }
}
