//! Which tasks ran on a cpu of late: how many different ones one that waited let go ahead.

use std::collections::VecDeque;

/// Enough for the longest waits under fair policies; with a longer one fewer are counted than there were.
const KEPT: usize = 512;

/// See the module's text.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(u64, usize)>);

impl Recent {
    /// It runs from now on.
    pub(super) fn runs(&mut self, now: u64, task: usize) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, task));
    }

    /// How many different tasks ran since then, the one that ran already at that time included.
    pub(super) fn different_since(&self, then: u64) -> usize {
        let first = self.0.partition_point(|(at, _)| *at <= then).saturating_sub(1);
        let mut tasks: Vec<_> = self.0.iter().skip(first).map(|(_, task)| *task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_counts_once() {
        let mut recent = Recent::default();
        for (now, task) in [(0, 7), (10, 8), (20, 9), (30, 8), (40, 9)] {
            recent.runs(now, task);
        }
        assert_eq!([0, 5, 10, 25, 40, 99].map(|then| recent.different_since(then)), [3, 3, 2, 2, 1, 1]);
    }
}
