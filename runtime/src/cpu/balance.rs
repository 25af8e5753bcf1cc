//! Taking tasks from other cpus, and where woken ones go: what `sched::balance` decides on snapshots, done under the locks.

use super::{Cpu, count};
use crate::atomic::Ordering;
use crate::clock::sched_clock;
use crate::runtime::Shared;
use crate::sched::Enqueue;
use crate::sched::balance::{self, CpuLoad, Pull};

/// Most tasks that move at once: `sched::balance` asks for no more.
const PULL: usize = 32;

impl Cpu {
    /// The cpu that a woken task should go to; none if it should stay.
    pub(super) fn place<'a>(&self, shared: &'a Shared, previous: &Cpu) -> Option<&'a Cpu> {
        if shared.sleepers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut loads = self.own.loads.borrow_mut();
        shared.loads(&mut loads);
        let (previous, waker) = (previous.index as usize, self.index as usize);
        let cpu = balance::select_cpu(&loads, &shared.near, previous, Some(waker), |_| true);
        (cpu != previous).then(|| &shared.cpus[cpu])
    }
}

impl Shared {
    fn loads(&self, into: &mut Vec<CpuLoad>) {
        into.clear();
        into.extend(self.cpus.iter().map(|cpu| CpuLoad {
            load: cpu.load.load(Ordering::Relaxed),
            nr_queued: cpu.queued.load(Ordering::Relaxed),
            movable: cpu.movable.load(Ordering::Relaxed),
            idle: cpu.sleep.is_asleep(),
        }));
    }

    /// Something waits on another cpu that this one may take.
    pub(super) fn something_to_pull(&self, to: &Cpu) -> bool {
        self.cpus.iter().any(|cpu| cpu.index != to.index && cpu.movable.load(Ordering::Relaxed) != 0)
    }

    /// Moves work to a cpu that has none. True if something came, or may come at once.
    pub(super) fn pull(&self, to: &Cpu) -> bool {
        self.something_to_pull(to) && {
            let mut loads = to.own.loads.borrow_mut();
            self.loads(&mut loads);
            balance::idle_pull(&loads, &self.near, to.index as usize).is_some_and(|pull| self.move_tasks(to, pull))
        }
    }

    /// Moves work to a cpu that has less than another.
    pub(super) fn balance(&self, to: &Cpu) {
        if self.something_to_pull(to) {
            let mut loads = to.own.loads.borrow_mut();
            self.loads(&mut loads);
            if let Some(pull) = balance::balance(&loads, &self.near, to.index as usize) {
                self.move_tasks(to, pull);
            }
        }
    }

    fn move_tasks(&self, to: &Cpu, pull: Pull) -> bool {
        let from = &self.cpus[pull.from];
        let mut stolen = [None; PULL];
        let now = sched_clock();
        {
            let Some(mut queue) = from.queue.try_lock() else { return true };
            let most = pull.tasks.min(queue.nr_movable()) as usize;
            let mut moved = 0;
            for place in stolen.iter_mut().take(most) {
                *place = queue.steal(
                    |load| {
                        let takes = pull.takes(moved, load);
                        moved += load;
                        takes
                    },
                    now,
                );
                let Some(task) = place else { break };
                // Under this lock: who has it finds the tasks of this cpu only.
                task.cpu.store(to.index, Ordering::Relaxed);
            }
            from.note(&queue);
        }
        let mut queue = to.queue.lock();
        let mut came = 0;
        for task in stolen.into_iter().flatten() {
            count(&task.stats.migrations, 1);
            // SAFETY: stolen, so this cpu's to queue.
            unsafe { queue.enqueue(self, task, Enqueue::Migrated, now) };
            came += 1;
        }
        to.note(&queue);
        count(&to.stats.steals, u64::from(came > 0));
        count(&to.stats.migrations, came);
        came > 0
    }
}
