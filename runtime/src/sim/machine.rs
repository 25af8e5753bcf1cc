//! The machine in virtual time: a clock that jumps from event to event, and cpus with the runtime's run queues.
//!
//! # What happens at a moment
//!
//! All events of the moment, in the order in which they were planned: cpus *arrive* (what ran is charged; a burst or a slice may be
//! over), tasks come and wake up. Then all cpus that were touched *settle*: who must give way does, the next is picked, cpus without
//! work pull some; and each plans its next event, which replaces the one it had planned.
//!
//! # Beside the runtime
//!
//! `RunQueue`, groups and the decisions of `balance` are the runtime's own. What `cpu/` does around them is repeated here in short,
//! and ideal: to switch and to preempt costs nothing and is done at once; a cpu without work sees at once what waits elsewhere (the
//! runtime's sleep, and are woken within 50 us); and what is taken is what would run last (the runtime takes what waited longest).

use super::lanes::Doing;
use super::recent::Recent;
use super::tally::Tally;
use super::task::{Next, SimTask, State};
use super::workload::TaskSpec;
use crate::sched::balance::{self, CpuLoad, Pull};
use crate::sched::{Enqueue, Entity, EntityRef, Leaving, RunQueue};
use crate::topology::Near;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Nanoseconds between looks at the weights of other cpus, as in `cpu/idle.rs`.
const BALANCE_NS: u64 = 4_000_000;

pub(super) struct Cpu {
    pub(super) rq: RunQueue,
    running: Option<usize>,
    /// Who ran before: to go on with it is no switch.
    last: Option<usize>,
    give_way: bool,
    /// 1024: full speed.
    capacity: u64,
    /// Waiting tasks that have not run yet.
    unstarted: u32,
    balance_at: u64,
    recent: Recent,
    /// Number of the event that is planned; others are out of date.
    planned: u64,
    touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Cpu(usize),
    Start(usize),
    Wake(usize),
    Sample,
}

/// See the module's text.
pub(super) struct Machine<'a> {
    pub(super) now: u64,
    cpus: Vec<Cpu>,
    pub(super) tasks: Vec<SimTask>,
    /// By task; they stay where they are, for queues link them.
    entities: Box<[Entity]>,
    specs: &'a [TaskSpec],
    near: Near,
    loads: Vec<CpuLoad>,
    /// Cpus with nothing at all.
    free: BTreeSet<usize>,
    /// Tasks that wait and may move, on all cpus.
    movable: u32,
    touched: Vec<usize>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// How many were planned; so events of one moment keep their order.
    plans: u64,
    /// Started tasks may move.
    migrating: bool,
    pub(super) tally: Tally,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        queues: Vec<(RunQueue, u64)>,
        near: Near,
        specs: &'a [TaskSpec],
        tasks: Vec<SimTask>,
        entities: Box<[Entity]>,
        migrating: bool,
        tally: Tally,
    ) -> Machine<'a> {
        let n = queues.len();
        // By turns, so that not all look at the same moment.
        let cpu = |(index, (rq, capacity)): (usize, (RunQueue, u64))| Cpu {
            rq,
            running: None,
            last: None,
            give_way: false,
            capacity,
            unstarted: 0,
            balance_at: BALANCE_NS * (index as u64 + 1) / n as u64,
            recent: Recent::default(),
            planned: 0,
            touched: false,
        };
        Machine {
            now: 0,
            cpus: queues.into_iter().enumerate().map(cpu).collect(),
            tasks,
            entities,
            specs,
            near,
            loads: vec![CpuLoad { load: 0, nr_queued: 0, movable: 0, idle: true }; n],
            free: (0..n).collect(),
            movable: 0,
            touched: Vec::new(),
            events: BinaryHeap::new(),
            plans: 0,
            migrating,
            tally,
        }
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.plans += 1;
        self.events.push(Reverse((at, self.plans, event)));
    }

    /// A task will come then.
    pub(super) fn plan_start(&mut self, at: u64, task: usize) {
        self.plan(at, Event::Start(task));
    }

    /// Goes on until then, and calls `progress` now and then with the time reached.
    pub(super) fn run_until(&mut self, end: u64, sample: u64, mut progress: impl FnMut(u64)) {
        self.plan(sample.min(end), Event::Sample);
        while let Some(Reverse((at, ..))) = self.events.peek().copied()
            && at <= end
        {
            self.tally.passes(at - self.now);
            self.now = at;
            while let Some(Reverse((_, number, event))) = self.events.peek().copied().filter(|event| event.0.0 == at) {
                self.events.pop();
                match event {
                    Event::Cpu(cpu) if self.cpus[cpu].planned == number => self.arrive(cpu),
                    Event::Cpu(_) => (),
                    Event::Start(task) => self.start(task),
                    Event::Wake(task) => self.wake(task),
                    Event::Sample => {
                        self.tally.sample(self.now, &mut self.tasks, &self.entities, self.specs);
                        progress(self.now);
                        if at < end {
                            self.plan(at.saturating_add(sample).min(end), Event::Sample);
                        }
                    }
                }
            }
            self.settle();
        }
    }

    fn entity(&self, task: usize) -> EntityRef {
        // SAFETY: boxed, so it stays; alive as long as the machine, whose queues do not touch entities when they are dropped; used
        // by one thread; and queues of one machine have different numbers.
        unsafe { EntityRef::new(&self.entities[task]) }
    }

    fn task_of(&self, entity: EntityRef) -> usize {
        (entity.as_ptr().addr().get() - self.entities.as_ptr().addr()) / size_of::<Entity>()
    }

    fn touch(&mut self, cpu: usize) {
        if !std::mem::replace(&mut self.cpus[cpu].touched, true) {
            self.touched.push(cpu);
        }
    }

    /// Brings the snapshot of a cpu up to date.
    fn note(&mut self, cpu: usize) {
        let part = &self.cpus[cpu];
        let queued = part.rq.nr_queued();
        let movable = if self.migrating { queued } else { part.unstarted.min(queued) };
        let load = CpuLoad { load: part.rq.load(), nr_queued: queued, movable, idle: part.running.is_none() };
        let before = std::mem::replace(&mut self.loads[cpu], load);
        self.movable = self.movable - before.movable + movable;
        self.tally.changed(before, load);
        if load.idle && queued == 0 {
            self.free.insert(cpu);
        } else if before.idle && before.nr_queued == 0 {
            self.free.remove(&cpu);
        }
    }

    fn start(&mut self, task: usize) {
        let home = self.tasks[task].cpu;
        // As `rouse_an_idle_cpu`: the next that has nothing, counted from home.
        let cpu = self.free.range(home..).next().or_else(|| self.free.first()).copied().unwrap_or(home);
        self.tasks[task].cpu = cpu;
        let this = &mut self.tasks[task];
        this.begin(&self.specs[this.kind], self.now);
        self.enqueue(task, Enqueue::New);
    }

    fn wake(&mut self, task: usize) {
        let home = self.tasks[task].cpu;
        if self.migrating && !self.free.is_empty() {
            let cpu = balance::select_cpu(&self.loads, &self.near, home, Some(home), |_| true);
            if cpu != home {
                self.tally.migrated(self.tasks[task].kind);
                self.tasks[task].cpu = cpu;
            }
        }
        let this = &mut self.tasks[task];
        this.begin(&self.specs[this.kind], self.now);
        self.enqueue(task, Enqueue::Wakeup);
    }

    /// Its cpu was chosen.
    fn enqueue(&mut self, task: usize, why: Enqueue) {
        let (entity, index) = (self.entity(task), self.tasks[task].cpu);
        let cpu = &mut self.cpus[index];
        if why != Enqueue::Migrated {
            let this = &mut self.tasks[task];
            (this.state, this.since) = (State::Waiting, self.now);
        }
        cpu.unstarted += u32::from(!self.tasks[task].started);
        cpu.give_way |= cpu.rq.enqueue(entity, why, self.now);
        self.touch(index);
        self.note(index);
        self.turns(task);
    }

    /// For the pictures: it does something else from now on.
    fn turns(&mut self, task: usize) {
        let this = &self.tasks[task];
        let doing = match this.state {
            State::Running => Doing::Running(this.cpu),
            State::Waiting => Doing::Waiting,
            _ => Doing::Nothing,
        };
        self.tally.lanes.turns(task, doing, self.now, &self.entities[task]);
    }

    /// Charges what runs.
    fn charge(&mut self, index: usize) {
        let (now, cpu) = (self.now, &self.cpus[index]);
        if let Some(task) = cpu.running {
            let this = &mut self.tasks[task];
            let ran = now - this.since;
            (this.ran, this.since) = (this.ran + ran, now);
            this.left = this.left.saturating_sub(ran * cpu.capacity / 1024);
        }
    }

    /// What was planned for this cpu has come.
    fn arrive(&mut self, index: usize) {
        self.charge(index);
        self.touch(index);
        let (now, cpu) = (self.now, &mut self.cpus[index]);
        if cpu.rq.next_refill().is_some() {
            cpu.give_way |= cpu.rq.unthrottle(now);
        }
        if let Some(task) = cpu.running {
            if self.tasks[task].left == 0 {
                self.burst_over(index, task);
            } else {
                cpu.give_way |= cpu.rq.tick(now);
            }
        }
        self.note(index);
        if self.cpus.len() > 1 && self.cpus[index].balance_at <= now {
            self.cpus[index].balance_at = now + BALANCE_NS;
            if let Some(pull) = balance::balance(&self.loads, &self.near, index) {
                self.take(index, pull);
            }
        }
    }

    fn burst_over(&mut self, index: usize, task: usize) {
        let (now, cpu, this) = (self.now, &mut self.cpus[index], &mut self.tasks[task]);
        let spec = &self.specs[this.kind];
        self.tally.burst(this.kind, now - this.came);
        let next = this.next(spec);
        if let Next::Yield = next {
            this.begin(spec, now);
            this.fresh = false;
            this.state = State::Waiting;
            let picked = cpu.rq.yield_current(now);
            self.turns(task);
            self.picked(index, picked);
            return;
        }
        cpu.running = None;
        let why = if let Next::Sleep(_) = next { Leaving::Blocked } else { Leaving::Dead };
        cpu.rq.put_prev(why, now);
        (this.state, this.satisfied) = (State::Dead, true);
        if let Next::Sleep(ns) = next {
            this.state = State::Sleeping;
            self.plan(now.saturating_add(ns), Event::Wake(task));
        }
        self.turns(task);
    }

    /// All cpus that were touched.
    fn settle(&mut self) {
        let mut at = 0;
        while let Some(cpu) = self.touched.get(at).copied() {
            self.schedule(cpu);
            at += 1;
        }
        if self.movable > 0 && !self.free.is_empty() {
            self.pull();
        }
        for cpu in std::mem::take(&mut self.touched) {
            self.cpus[cpu].touched = false;
            self.plan_next(cpu);
        }
    }

    fn schedule(&mut self, index: usize) {
        let (now, cpu) = (self.now, &mut self.cpus[index]);
        if std::mem::take(&mut cpu.give_way)
            && let Some(task) = cpu.running
        {
            self.charge(index);
            let cpu = &mut self.cpus[index];
            cpu.running = None;
            cpu.rq.put_prev(Leaving::Preempted, now);
            let this = &mut self.tasks[task];
            (this.state, this.since) = (State::Waiting, now);
            self.tally.preempted(this.kind);
            self.turns(task);
        }
        if self.cpus[index].running.is_none() {
            let picked = self.cpus[index].rq.pick_next(now);
            self.picked(index, picked);
        }
        self.note(index);
    }

    fn picked(&mut self, index: usize, picked: Option<EntityRef>) {
        let task = picked.map(|entity| self.task_of(entity));
        let (now, cpu) = (self.now, &mut self.cpus[index]);
        cpu.running = task;
        let Some(task) = task else { return };
        let this = &mut self.tasks[task];
        cpu.unstarted -= u32::from(!this.started);
        this.started = true;
        let waited = now - this.since;
        this.waited += waited;
        (this.state, this.since) = (State::Running, now);
        if std::mem::take(&mut this.fresh) {
            self.tally.latency(this.kind, now - this.came);
        }
        let ahead = std::mem::take(&mut this.ahead);
        self.tally.waited(waited, || ahead + cpu.recent.different_since(now - waited.min(now - this.here)));
        cpu.recent.runs(now, task);
        self.tally.switched(this.kind, cpu.last.replace(task) != Some(task));
        self.turns(task);
    }

    /// Cpus without work take some.
    fn pull(&mut self) {
        for to in self.free.clone() {
            if self.movable == 0 {
                return;
            }
            if let Some(pull) = balance::idle_pull(&self.loads, &self.near, to)
                && self.take(to, pull)
            {
                self.schedule(to);
            }
        }
    }

    /// Moves tasks, as `move_tasks` of `cpu/balance.rs`. True if some came.
    fn take(&mut self, to: usize, pull: Pull) -> bool {
        let (from, now) = (pull.from, self.now);
        let mut moved = 0;
        let mut came = false;
        self.charge(from);
        for _ in 0..pull.tasks.min(self.loads[from].movable) {
            let (base, size) = (self.entities.as_ptr().addr(), size_of::<Entity>());
            let (tasks, migrating) = (&self.tasks, self.migrating);
            let right = |entity: EntityRef| {
                let task = (entity.as_ptr().addr().get() - base) / size;
                (migrating || !tasks[task].started) && pull.takes(moved, entity.load())
            };
            let Some(entity) = self.cpus[from].rq.steal(right, now) else { break };
            moved += entity.load();
            let task = self.task_of(entity);
            self.cpus[from].unstarted -= u32::from(!self.tasks[task].started);
            let this = &mut self.tasks[task];
            this.ahead += self.cpus[from].recent.different_since(this.since.max(this.here));
            (this.cpu, this.here) = (to, now);
            self.tally.migrated(this.kind);
            self.enqueue(task, Enqueue::Migrated);
            came = true;
        }
        self.touch(from);
        self.note(from);
        came
    }

    /// When this cpu must look again.
    fn plan_next(&mut self, index: usize) {
        let cpu = &self.cpus[index];
        let refill = cpu.rq.next_refill().unwrap_or(u64::MAX);
        let mut next = refill;
        if let Some(task) = cpu.running {
            let this = &self.tasks[task];
            let ran = u64::try_from(u128::from(this.left) * 1024 / u128::from(cpu.capacity)).unwrap_or(u64::MAX);
            let burst = this.since.saturating_add(ran.max(1));
            let balance = if self.cpus.len() > 1 { cpu.balance_at } else { u64::MAX };
            next = next.min(burst).min(cpu.rq.slice_end()).min(balance);
        }
        if next != u64::MAX {
            self.plan(next.max(self.now + 1), Event::Cpu(index));
            self.cpus[index].planned = self.plans;
        } else {
            self.cpus[index].planned = 0;
        }
    }
}
