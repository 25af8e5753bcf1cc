//! Who should run where: decisions on snapshots of the cpus, without touching a queue.
//!
//! * **Wake-up placement** (`select_cpu`): the cpu a task ran on before, if it is idle, since its cache may still know the task; else
//!   the waker's, if that is idle; else an idle one that shares a cache with either; else any idle one of the same node; else where it
//!   was. (The kernel's `select_idle_sibling`.)
//! * **Idle pull** (`idle_pull`): a cpu without work takes half of what waits at the one with most, near ones first.
//! * **Periodic balancing** (`balance`): by weight and not by number, and only beyond an imbalance of a quarter: to move a task costs
//!   its caches, and two odd tasks would change places for ever.
//!
//! Snapshots are read without locks, so they are hints: who moves tasks looks again under the locks.

/// What a cpu has, as it was a moment ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuLoad {
    /// As `RunQueue::load`, the running one included.
    pub(crate) load: u64,
    /// Without the running one.
    pub(crate) nr_queued: u32,
    /// Those of them that may leave the cpu.
    pub(crate) movable: u32,
    /// Nothing runs.
    pub(crate) idle: bool,
}

/// What two cpus share, from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distance {
    /// It is the same cpu.
    Same,
    /// Threads of one core.
    Sibling,
    /// The last cache.
    Cache,
    /// The memory.
    Node,
    /// Nothing.
    Far,
}

/// The part of the topology that the decisions need.
pub(crate) trait Distances {
    /// How far two cpus are apart, by their indices.
    fn distance(&self, a: usize, b: usize) -> Distance;
}

impl<F: Fn(usize, usize) -> Distance> Distances for F {
    fn distance(&self, a: usize, b: usize) -> Distance {
        self(a, b)
    }
}

/// So many tasks to take from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) from: usize,
    pub(crate) tasks: u32,
    /// No more weight than this; u64::MAX for an idle cpu, which takes the first whatever it weighs.
    pub(crate) load: u64,
}

/// The kernel's `imbalance_pct`: the busier cpu must have so many percent of the other's load.
const IMBALANCE_PERCENT: u64 = 125;
/// Both locks are held while tasks move: the kernel's `sched_nr_migrate`.
const MOST: u32 = 32;

/// Where a woken task goes. `allowed` says on which cpus it may run; `previous` is always allowed.
pub(crate) fn select_cpu(
    cpus: &[CpuLoad],
    near: &impl Distances,
    previous: usize,
    waker: Option<usize>,
    allowed: impl Fn(usize) -> bool,
) -> usize {
    let idle = |cpu: usize| cpus[cpu].idle && cpus[cpu].nr_queued == 0 && allowed(cpu);
    if idle(previous) {
        return previous;
    }
    if let Some(waker) = waker
        && idle(waker)
    {
        return waker;
    }
    let apart = |cpu| near.distance(previous, cpu).min(waker.map_or(Distance::Far, |waker| near.distance(waker, cpu)));
    let nearest = (0..cpus.len()).filter(|cpu| idle(*cpu)).map(|cpu| (apart(cpu), cpu)).min();
    match nearest {
        Some((distance, cpu)) if distance < Distance::Far => cpu,
        _ => previous,
    }
}

/// What a cpu that has nothing to run takes.
pub(crate) fn idle_pull(cpus: &[CpuLoad], near: &impl Distances, to: usize) -> Option<Pull> {
    let busy = (0..cpus.len()).filter(|cpu| *cpu != to && cpus[*cpu].movable != 0);
    // Within one distance from where most waits: an emptied queue would be looked for in vain by the next idle cpu.
    let from = busy.min_by_key(|cpu| (near.distance(to, *cpu), u32::MAX - cpus[*cpu].movable))?;
    Some(Pull { from, tasks: cpus[from].movable.div_ceil(2).min(MOST), load: u64::MAX })
}

/// What a busy cpu takes from the busiest one, now and then.
pub(crate) fn balance(cpus: &[CpuLoad], near: &impl Distances, to: usize) -> Option<Pull> {
    let others = (0..cpus.len()).filter(|cpu| *cpu != to && cpus[*cpu].movable != 0);
    let from = others.max_by_key(|cpu| (cpus[*cpu].load, std::cmp::Reverse(near.distance(to, *cpu))))?;
    let (theirs, ours) = (cpus[from].load, cpus[to].load);
    if u128::from(theirs) * 100 <= u128::from(ours) * u128::from(IMBALANCE_PERCENT) {
        return None;
    }
    // To move half of the difference makes them equal. One that weighs up to the whole difference may move: it lessens it.
    let load = (theirs - ours) / 2;
    Some(Pull { from, tasks: cpus[from].movable.min(MOST), load })
}

impl Pull {
    /// May a task of this weight move, after `moved` did? The imbalance must become less by it.
    pub(crate) fn takes(&self, moved: u64, weight: u64) -> bool {
        self.load == u64::MAX || moved.saturating_add(weight / 2) < self.load
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two nodes of two caches of two cores of two threads.
    fn near(a: usize, b: usize) -> Distance {
        match a ^ b {
            0 => Distance::Same,
            1 => Distance::Sibling,
            2..4 => Distance::Cache,
            4..8 => Distance::Node,
            _ => Distance::Far,
        }
    }

    fn busy(load: u64, queued: u32) -> CpuLoad {
        CpuLoad { load, nr_queued: queued, movable: queued, idle: false }
    }

    const IDLE: CpuLoad = CpuLoad { load: 0, nr_queued: 0, movable: 0, idle: true };

    #[test]
    fn a_woken_task_goes_to_the_nearest_idle_cpu() {
        let mut cpus = [busy(1024, 0); 16];
        let select = |cpus: &[CpuLoad], waker| select_cpu(cpus, &near, 0, waker, |_| true);
        assert_eq!(select(&cpus, Some(5)), 0);
        cpus[9] = IDLE;
        assert_eq!(select(&cpus, Some(5)), 0, "not across nodes");
        assert_eq!(select(&cpus, Some(8)), 9, "but to the waker's");
        cpus[7] = IDLE;
        assert_eq!(select(&cpus, None), 7);
        cpus[3] = IDLE;
        assert_eq!(select(&cpus, None), 3);
        assert_eq!(select(&cpus, Some(7)), 7);
        cpus[0] = IDLE;
        assert_eq!(select(&cpus, Some(7)), 0);
        assert_eq!(select_cpu(&cpus, &near, 1, None, |cpu| cpu == 7 || cpu == 1), 7);
    }

    #[test]
    fn an_idle_cpu_takes_half_from_near_before_more_from_far() {
        let mut cpus = [IDLE; 16];
        assert_eq!(idle_pull(&cpus, &near, 0), None);
        cpus[12] = busy(9000, 9);
        assert_eq!(idle_pull(&cpus, &near, 0).map(|pull| (pull.from, pull.tasks)), Some((12, 5)));
        cpus[3] = busy(2048, 1);
        assert_eq!(idle_pull(&cpus, &near, 0).map(|pull| (pull.from, pull.tasks)), Some((3, 1)));
        cpus[2] = busy(2048, 2);
        assert_eq!(idle_pull(&cpus, &near, 0).map(|pull| (pull.from, pull.tasks)), Some((2, 1)));
        cpus[2].movable = 0;
        assert_eq!(idle_pull(&cpus, &near, 0).map(|pull| pull.from), Some(3));
    }

    #[test]
    fn a_quarter_more_is_balanced_already() {
        let pull = |theirs, ours| balance(&[busy(ours, 3), busy(theirs, 3)], &near, 0);
        assert_eq!(pull(1280, 1024), None);
        assert_eq!(pull(1024, 4096), None);
        let much = pull(4096, 1024).expect("four times as much");
        assert!(much.takes(0, 1024) && !much.takes(1024, 1024));
        assert!(!pull(2048, 1024).expect("twice as much").takes(0, 1024), "they would only change places");
    }

    proptest! {
        /// Balancing over and over comes to rest, and every move brings the two loads nearer.
        #[test]
        fn balancing_comes_to_rest(tasks in prop::collection::vec((0usize..4, 15u64..5000), 1..60)) {
            let mut tasks = tasks;
            let view = |tasks: &[(usize, u64)]| -> Vec<CpuLoad> {
                (0..4)
                    .map(|cpu| {
                        let here = tasks.iter().filter(|task| task.0 == cpu);
                        let queued = (here.clone().count() as u32).saturating_sub(1);
                        busy(here.map(|task| task.1).sum(), queued)
                    })
                    .collect()
            };
            let spread = |tasks: &[(usize, u64)]| -> u128 {
                view(tasks).iter().map(|cpu| u128::from(cpu.load).pow(2)).sum()
            };
            let mut moves = 0;
            for round in 0..1000 {
                let to = round % 4;
                let Some(pull) = balance(&view(&tasks), &near, to) else { continue };
                let (mut moved, mut left) = (0, pull.tasks);
                for i in 0..tasks.len() {
                    if left != 0 && tasks[i].0 == pull.from && pull.takes(moved, tasks[i].1) {
                        let before = spread(&tasks);
                        tasks[i].0 = to;
                        prop_assert!(spread(&tasks) < before);
                        moved += tasks[i].1;
                        left -= 1;
                        moves += 1;
                    }
                }
            }
            prop_assert!(moves <= 60 * 8);
        }
    }
}
