//! The books of a simulation: what is counted as it goes on.

use super::ideal::Ideal;
use super::lanes::Lanes;
use super::report::Percentiles;
use super::task::{SimTask, State};
use super::workload::{TaskSpec, Then, Workload};
use crate::sched::balance::CpuLoad;
use crate::sched::{Class, Entity};

/// Of the tasks of one line of the workload.
#[derive(Default)]
pub(super) struct OfKind {
    pub(super) latencies: Vec<u64>,
    pub(super) responses: Vec<u64>,
    pub(super) runs: u64,
    pub(super) switches: u64,
    pub(super) preemptions: u64,
    pub(super) migrations: u64,
    pub(super) most_lag: f64,
    pub(super) most_lead: f64,
}

/// See the module's text.
pub(super) struct Tally {
    pub(super) kinds: Vec<OfKind>,
    cpus: u64,
    busy: u64,
    runnable: u64,
    /// Nanoseconds of all cpus.
    pub(super) ran: u128,
    /// If no cpu had been idle while a task waited.
    pub(super) could_run: u128,
    /// Nanoseconds waited at once for each task ahead, at most.
    pub(super) wait_each: u64,
    ideal: Ideal,
    wants: Vec<f64>,
    sampled_at: u64,
    pub(super) lanes: Lanes,
}

impl Tally {
    pub(super) fn new(workload: &Workload, cpus: usize, tasks: usize, lanes: Lanes) -> Tally {
        Tally {
            kinds: workload.tasks.iter().map(|_| OfKind::default()).collect(),
            cpus: cpus as u64,
            busy: 0,
            runnable: 0,
            ran: 0,
            could_run: 0,
            wait_each: 0,
            ideal: Ideal::new(&workload.groups),
            wants: vec![0.0; tasks],
            sampled_at: 0,
            lanes,
        }
    }

    /// A cpu's snapshot changed.
    pub(super) fn changed(&mut self, before: CpuLoad, after: CpuLoad) {
        let count = |load: CpuLoad| (u64::from(!load.idle), u64::from(!load.idle) + u64::from(load.nr_queued));
        let ((busy_before, before), (busy, runnable)) = (count(before), count(after));
        self.busy = self.busy + busy - busy_before;
        self.runnable = self.runnable + runnable - before;
    }

    /// So much time passes with all as it is.
    pub(super) fn passes(&mut self, ns: u64) {
        self.ran += u128::from(self.busy * ns);
        self.could_run += u128::from(self.runnable.min(self.cpus) * ns);
    }

    /// It came or woke up so long ago, and runs.
    pub(super) fn latency(&mut self, kind: usize, ns: u64) {
        self.kinds[kind].latencies.push(ns);
    }

    /// A burst took so long, waiting included.
    pub(super) fn burst(&mut self, kind: usize, ns: u64) {
        self.kinds[kind].responses.push(ns);
    }

    pub(super) fn waited(&mut self, ns: u64, ahead: impl FnOnce() -> usize) {
        if ns > self.wait_each {
            self.wait_each = self.wait_each.max(ns / ahead().max(1) as u64);
        }
    }

    pub(super) fn switched(&mut self, kind: usize, to_another: bool) {
        self.kinds[kind].switches += u64::from(to_another);
        self.kinds[kind].runs += 1;
    }

    pub(super) fn preempted(&mut self, kind: usize) {
        self.kinds[kind].preemptions += 1;
    }

    pub(super) fn migrated(&mut self, kind: usize) {
        self.kinds[kind].migrations += 1;
    }

    /// Shares out what was got since the last sample, as `ideal` says.
    pub(super) fn sample(&mut self, now: u64, tasks: &mut [SimTask], entities: &[Entity], specs: &[TaskSpec]) {
        let mut got = 0.0;
        let mut took_part = Vec::new();
        for (index, task) in tasks.iter_mut().enumerate() {
            if !matches!(specs[task.kind].class, Class::Fair(_)) || task.state == State::Unborn {
                continue;
            }
            let (ran, waited) = task.until(now);
            let (more, wait) = ((ran - task.ran_before) as f64, (waited - task.waited_before) as f64);
            (task.ran_before, task.waited_before) = (ran, waited);
            if more + wait == 0.0 {
                continue;
            }
            got += more;
            // One that yields wants the next burst at once.
            let left =
                if matches!(specs[task.kind].then, Then::Yield) { f64::MAX } else { task.left as f64 - task.lag };
            self.wants[index] = if task.satisfied { more } else { more + wait.min(left.max(0.0)) };
            self.ideal.add(index as u32, specs[task.kind].group, entities[index].load() as f64);
            // Until its ideal is known.
            task.lag -= more;
            took_part.push(index);
        }
        self.ideal.share((now - self.sampled_at) as f64, &self.wants, got, |task, ns| {
            let task = &mut tasks[task as usize];
            task.ideal += ns;
            task.lag += ns;
        });
        for index in took_part {
            let task = &mut tasks[index];
            if std::mem::take(&mut task.satisfied) {
                task.ideal -= task.lag;
                task.lag = 0.0;
            }
            let books = &mut self.kinds[task.kind];
            (books.most_lag, books.most_lead) = (books.most_lag.max(task.lag), books.most_lead.max(-task.lag));
        }
        self.sampled_at = now;
    }
}

/// Sorts and looks up.
pub(super) fn percentiles(times: &mut [u64]) -> Percentiles {
    times.sort_unstable();
    Percentiles::of(times)
}
