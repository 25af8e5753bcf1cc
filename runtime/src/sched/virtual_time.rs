//! A machine in virtual time: run queues, tasks with a script, and a clock that jumps from event to event. For tests.
//!
//! A task's script says, each time it is given a cpu, how long it runs and what it does then. A cpu runs until that, or until its
//! slice is over, or until the queue says that the running task should give way.

use super::policy::PolicyRef;
use super::*;
use std::cell::RefCell;

pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1_000_000_000;

/// What a task does after it ran.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Yield,
    Sleep(u64),
    End,
}

pub(super) type Script = Box<dyn FnMut(u64) -> (u64, Then)>;

/// Runs for `ns`, yields, and so on.
pub(super) fn yielding_every(ns: u64) -> Script {
    Box::new(move |_| (ns, Then::Yield))
}

/// Never gives way by itself.
pub(super) fn hog() -> Script {
    yielding_every(u64::MAX / 4)
}

struct Task {
    entity: Box<Entity>,
    cpu: usize,
    script: RefCell<Script>,
    /// What is left of the present step.
    step: Option<(u64, Then)>,
    wakes: Option<u64>,
}

struct Cpu {
    rq: RunQueue,
    running: Option<usize>,
    /// When it was given the cpu, or charged.
    since: u64,
    give_way: bool,
    idle: u64,
}

/// See the module's text.
pub(super) struct Machine {
    cpus: Vec<Cpu>,
    tasks: Vec<Task>,
    pub(super) now: u64,
}

impl Machine {
    pub(super) fn new(cpus: usize) -> Machine {
        let cpu = |cpu: usize| Cpu {
            rq: RunQueue::new(cpu as u32, Tunables::default(), PolicyRef::default()),
            running: None,
            since: 0,
            give_way: false,
            idle: 0,
        };
        Machine { cpus: (0..cpus).map(cpu).collect(), tasks: Vec::new(), now: 0 }
    }

    pub(super) fn spawn(&mut self, cpu: usize, params: impl Into<Params>, script: Script) -> usize {
        let entity = Box::new(Entity::new(params));
        self.tasks.push(Task { entity, cpu, script: RefCell::new(script), step: None, wakes: None });
        let task = self.tasks.len() - 1;
        self.enqueue(task, Enqueue::New);
        task
    }

    fn entity(&self, task: usize) -> EntityRef {
        // SAFETY: boxed, alive as long as the machine, whose queues do not touch entities when they are dropped.
        unsafe { EntityRef::new(&self.tasks[task].entity) }
    }

    fn task_of(&self, entity: EntityRef) -> usize {
        self.tasks.iter().position(|task| std::ptr::eq(&*task.entity, entity.as_ptr().as_ptr())).expect("a task's")
    }

    fn enqueue(&mut self, task: usize, why: Enqueue) {
        let entity = self.entity(task);
        let cpu = &mut self.cpus[self.tasks[task].cpu];
        cpu.give_way |= cpu.rq.enqueue(entity, why, self.now);
    }

    /// Nanoseconds the task ran.
    pub(super) fn ran(&self, task: usize) -> u64 {
        self.tasks[task].entity.sum_exec_runtime()
    }

    pub(super) fn ran_together(&self, tasks: &[usize]) -> u64 {
        tasks.iter().map(|task| self.ran(*task)).sum()
    }

    /// Nanoseconds the cpu had nothing to run.
    pub(super) fn idle(&self, cpu: usize) -> u64 {
        self.cpus[cpu].idle
    }

    pub(super) fn rq(&mut self, cpu: usize) -> &mut RunQueue {
        &mut self.cpus[cpu].rq
    }

    /// Changes a task; `how` says whether the running one should give way.
    pub(super) fn change(&mut self, task: usize, how: impl FnOnce(&mut RunQueue, EntityRef, u64) -> bool) {
        let entity = self.entity(task);
        let cpu = &mut self.cpus[self.tasks[task].cpu];
        cpu.give_way |= how(&mut cpu.rq, entity, self.now);
    }

    /// Goes on until then.
    pub(super) fn run_until(&mut self, end: u64) {
        while self.now < end {
            for cpu in 0..self.cpus.len() {
                self.schedule(cpu);
            }
            let next = (0..self.cpus.len()).map(|cpu| self.next_event(cpu)).min().unwrap_or(end);
            let wake = self.tasks.iter().filter_map(|task| task.wakes).min().unwrap_or(end);
            let next = next.min(wake).clamp(self.now + 1, end);
            for cpu in &mut self.cpus {
                if cpu.running.is_none() {
                    cpu.idle += next - self.now;
                }
            }
            self.now = next;
            for cpu in 0..self.cpus.len() {
                self.arrive(cpu);
            }
            for task in 0..self.tasks.len() {
                if self.tasks[task].wakes.is_some_and(|at| at <= self.now) {
                    self.tasks[task].wakes = None;
                    self.enqueue(task, Enqueue::Wakeup);
                }
            }
        }
        for cpu in &mut self.cpus {
            cpu.rq.tick(self.now);
        }
    }

    fn schedule(&mut self, cpu: usize) {
        let now = self.now;
        if std::mem::take(&mut self.cpus[cpu].give_way) && self.cpus[cpu].running.take().is_some() {
            self.cpus[cpu].rq.put_prev(Leaving::Preempted, now);
        }
        if self.cpus[cpu].running.is_none() {
            let picked = self.cpus[cpu].rq.pick_next(now);
            self.picked(cpu, picked);
        }
    }

    fn picked(&mut self, cpu: usize, picked: Option<EntityRef>) {
        let task = picked.map(|entity| self.task_of(entity));
        self.cpus[cpu].running = task;
        self.cpus[cpu].since = self.now;
        let Some(task) = task else { return };
        if self.tasks[task].step.is_none() {
            let step = (self.tasks[task].script.borrow_mut())(self.now);
            self.tasks[task].step = Some((step.0.max(1), step.1));
        }
    }

    fn next_event(&self, cpu: usize) -> u64 {
        let cpu = &self.cpus[cpu];
        let refill = cpu.rq.next_refill().unwrap_or(u64::MAX);
        let Some(step) = cpu.running.and_then(|task| self.tasks[task].step) else { return refill };
        let slice_end = cpu.rq.slice_end();
        (self.now + step.0).min(slice_end).min(refill)
    }

    fn arrive(&mut self, cpu: usize) {
        let now = self.now;
        let part = &mut self.cpus[cpu];
        if part.rq.next_refill().is_some() {
            part.give_way |= part.rq.unthrottle(now);
        }
        let Some(task) = part.running else { return };
        let ran = now - part.since;
        part.since = now;
        let Some((left, then)) = self.tasks[task].step else { return };
        if left > ran {
            self.tasks[task].step = Some((left - ran, then));
            part.give_way |= part.rq.tick(now);
            return;
        }
        self.tasks[task].step = None;
        match then {
            Then::Yield => {
                part.give_way = false;
                let picked = part.rq.yield_current(now);
                self.picked(cpu, picked);
            }
            Then::Sleep(ns) => {
                part.rq.put_prev(Leaving::Blocked, now);
                part.running = None;
                self.tasks[task].wakes = Some(now + ns);
            }
            Then::End => {
                part.rq.put_prev(Leaving::Dead, now);
                part.running = None;
            }
        }
    }

    /// Takes a waiting task from one cpu to another, as balancing does.
    pub(super) fn pull(&mut self, from: usize, to: usize) -> Option<usize> {
        let entity = self.cpus[from].rq.steal(|_| true, self.now)?;
        let task = self.task_of(entity);
        self.tasks[task].cpu = to;
        self.enqueue(task, Enqueue::Migrated);
        Some(task)
    }
}
