//! What each task should have got: the machine shared out like water, by weight and at every moment.
//!
//! A sample of a run is some milliseconds long. In it, a task *wants* the time it ran and the time it waited for a core, and no more
//! than is left of its burst; a group wants what its tasks want, up to its quota. What fair tasks got together in the sample is given
//! out again: first between the groups and tasks at the top, by weight, nobody more than it wants; then within each group what it
//! got. (Real-time tasks come before all that, and those of the idle class after: they have no part in it.)
//!
//! What a task should have had less what it had is its *lag*. A task that stops to run has had all it wanted, if late: then its lag
//! is none, and what it should have had is what it had.

use super::workload::GroupSpec;

/// The groups, with the top as the last one.
pub(super) struct Ideal {
    nodes: Vec<Node>,
    /// What was handed down in this sample.
    given: Vec<f64>,
}

struct Node {
    weight: f64,
    /// Of a core; infinite without a quota.
    quota: f64,
    parent: usize,
    tasks: Vec<(f64, u32)>,
    wants: f64,
}

impl Ideal {
    pub(super) fn new(groups: &[GroupSpec]) -> Ideal {
        let top = groups.len();
        let node = |weight, quota, parent| Node { weight, quota, parent, tasks: Vec::new(), wants: 0.0 };
        let mut nodes: Vec<_> = groups
            .iter()
            .map(|group| {
                let quota = group.bandwidth.map_or(f64::INFINITY, |bandwidth| {
                    bandwidth.quota().as_secs_f64() / bandwidth.period().as_secs_f64()
                });
                node(f64::from(group.shares.get()), quota, group.parent.unwrap_or(top))
            })
            .collect();
        nodes.push(node(0.0, f64::INFINITY, top));
        Ideal { given: vec![0.0; nodes.len()], nodes }
    }

    /// A task that wants something takes part.
    pub(super) fn add(&mut self, task: u32, group: Option<usize>, weight: f64) {
        let top = self.nodes.len() - 1;
        self.nodes[group.unwrap_or(top)].tasks.push((weight, task));
    }

    /// Gives out what was got together in a sample of `ns`, and forgets the tasks. `wants` is by task.
    pub(super) fn share(&mut self, ns: f64, wants: &[f64], got: f64, mut give: impl FnMut(u32, f64)) {
        let top = self.nodes.len() - 1;
        for node in &mut self.nodes {
            node.wants = node.tasks.iter().map(|(_, task)| wants[*task as usize]).sum();
        }
        // A group comes after its parent, so from the end sums go up, and from the beginning shares go down.
        for at in (0..top).rev() {
            self.nodes[at].wants = self.nodes[at].wants.min(self.nodes[at].quota * ns);
            let (parent, wants) = (self.nodes[at].parent, self.nodes[at].wants);
            self.nodes[parent].wants += wants;
        }
        self.given[top] = got;
        for at in std::iter::once(top).chain(0..top) {
            let groups = (0..top).filter(|group| self.nodes[*group].parent == at);
            let groups = groups.map(|group| (self.nodes[group].weight, self.nodes[group].wants, Err(group)));
            let tasks = self.nodes[at].tasks.iter().map(|(weight, task)| (*weight, wants[*task as usize], Ok(*task)));
            let mut all: Vec<_> = groups.chain(tasks).filter(|(_, wants, _)| *wants > 0.0).collect();
            pour(self.given[at], &mut all, |to, amount| match to {
                Ok(task) => give(task, amount),
                Err(group) => self.given[group] = amount,
            });
            self.nodes[at].tasks.clear();
        }
    }
}

/// By weight, nobody more than it wants: those that want least for their weight are full first.
fn pour<T: Copy>(amount: f64, all: &mut [(f64, f64, T)], mut give: impl FnMut(T, f64)) {
    all.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let mut weights: f64 = all.iter().map(|(weight, ..)| weight).sum();
    let mut left = amount;
    for (weight, wants, to) in all {
        let got = wants.min(left * *weight / weights);
        give(*to, got);
        left -= got;
        weights -= *weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::{Bandwidth, Shares};
    use std::time::Duration;

    fn shared(groups: &[GroupSpec], tasks: &[(Option<usize>, f64, f64)], got: f64) -> Vec<f64> {
        let mut ideal = Ideal::new(groups);
        for (task, (group, weight, _)) in tasks.iter().enumerate() {
            ideal.add(task as u32, *group, *weight);
        }
        let wants: Vec<_> = tasks.iter().map(|task| task.2).collect();
        let mut given = vec![0.0; tasks.len()];
        ideal.share(100.0, &wants, got, |task, amount| given[task as usize] = amount);
        given
    }

    #[test]
    fn by_weight_and_no_more_than_wanted() {
        assert_eq!(shared(&[], &[(None, 1.0, 100.0), (None, 3.0, 100.0)], 100.0), [25.0, 75.0]);
        assert_eq!(shared(&[], &[(None, 1.0, 100.0), (None, 3.0, 10.0)], 100.0), [90.0, 10.0]);
        // Two cores: nobody can have more than one of them.
        assert_eq!(
            shared(&[], &[(None, 1.0, 100.0), (None, 1.0, 100.0), (None, 6.0, 100.0)], 200.0),
            [50.0, 50.0, 100.0]
        );
    }

    #[test]
    fn groups_nest_and_have_quotas() {
        let group = |parent, shares, quota| GroupSpec {
            name: String::new(),
            parent,
            shares: Shares::new(shares).unwrap(),
            bandwidth: quota,
        };
        let half = Bandwidth::new(Duration::from_millis(5), Duration::from_millis(10)).ok();
        let groups = [group(None, 100, None), group(Some(0), 200, None), group(None, 100, half)];
        let tasks = [(Some(1), 1.0, 100.0), (Some(0), 100.0, 100.0), (Some(2), 1.0, 100.0), (None, 200.0, 100.0)];
        let given = shared(&groups, &tasks, 100.0);
        let expected = [100.0 / 6.0, 100.0 / 12.0, 25.0, 50.0];
        assert!(given.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-9), "{given:?}");
        assert_eq!(shared(&groups, &[(Some(2), 1.0, 100.0), (None, 1.0, 20.0)], 70.0), [50.0, 20.0]);
    }
}
