//! The simulator: the runtime's own scheduler code in virtual time, on machines that are not there.
//!
//! A run queue is arithmetic: time, number of cpus and topology come in as arguments. So the very code that runs on real cores also
//! runs here, where a clock jumps from event to event: [`Simulation`] runs a [`Workload`] on a machine of 1 to 1,024 cores, and
//! [`Report`] says how fair that was, how long tasks waited, what moved and what stood idle. The same seed gives the same figures.
//!
//! | file | what it is |
//! |---|---|
//! | `machine` | the clock, the events, the cpus; what differs from the runtime |
//! | `task` | what a task does |
//! | `workload`, `parse`, `named` | what is simulated; from text; by name |
//! | `tally`, `recent`, `ideal`, `report` | what is counted; what each should have got; the figures |
//! | `lanes` | what some tasks did when, for pictures |
//!
//! # Workloads
//!
//! A workload is a text. `#` begins a comment; each line is one of
//!
//! ```text
//! duration TIME                                             how long to simulate; 1s without it
//! group NAME [in GROUP] [weight N] [quota TIME/TIME]        weight 2 to 262144 (1024); quota 5ms/20ms: 5 ms in each 20 ms
//! task NAME run SPAN (sleep SPAN | yield | end) [more]      runs for a burst, then sleeps, yields or ends; and so on
//! task NAME run forever [more]
//! ```
//!
//! where *more* is, in any order,
//!
//! | words | meaning |
//! |---|---|
//! | `count N`, `per-cpu N` | so many of them (1), or so many for each cpu |
//! | `nice N` | -20 to 19 (0) |
//! | `class fifo:P`, `class rr:P`, `class idle` | real-time of priority 1 to 99, or idle |
//! | `in GROUP` | a group of a line above |
//! | `times N` | so many bursts, then it ends |
//! | `start SPAN`, `every SPAN` | when each comes (0); how much later than the one before it (of the same cpu, with `per-cpu`) |
//! | `on CPU` | spawned there; else on all cpus by turns |
//!
//! A TIME is `5ms`, `1.5s`, `200us` or `10ns`. A SPAN is a TIME, or random: `1ms..5ms` is as likely anywhere in between, `~5ms` is
//! exponential of this mean (cut at ten times the mean). All tasks draw from numbers of their own, so that under
//! every policy they want the same.
//!
//! # Examples
//! ```
//! use fairground_runtime::sim::{Simulation, Workload};
//! use fairground_runtime::topology::Shape;
//!
//! let workload: Workload = "
//!     task hog    run forever            nice 5
//!     task light  run ~100us  sleep ~2ms  count 3
//! ".parse()?;
//! let machine = "1".parse::<Shape>()?.topology();
//! let report = Simulation::new(&workload, &machine).seed(7).run()?;
//! println!("fairness {:.3}, the longest wait after waking up {:?}", report.fairness, report.latency.max);
//! assert!(report.idle < 1e-6 && report.kinds[1].tasks == 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ideal;
mod lanes;
mod machine;
mod named;
mod parse;
mod recent;
mod report;
mod tally;
mod task;
#[cfg(test)]
mod tests;
mod workload;

pub use lanes::{Doing, LANES_MOST, Lane};
pub use parse::{TimeError, WorkloadError, parse_time};
pub use report::{Kind, Percentiles, Report};
pub use workload::Workload;

use crate::sched::group::Group;
use crate::sched::policy::PolicyRef;
use crate::sched::{Class, Entity, Params, RunQueue, Tunables};
use crate::topology::Topology;
use lanes::Lanes;
use machine::Machine;
use oorandom::Rand64;
use report::jain;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tally::{Tally, percentiles};
use task::{SimTask, State};
use workload::TaskSpec;

/// Between looks at what each should have got: half a slice.
const SAMPLE_NS: u64 = 500_000;

/// What to simulate: made, told more if needed, and [`run`](Simulation::run). See the [module](self).
#[derive(Clone, Debug)]
pub struct Simulation<'a> {
    workload: &'a Workload,
    topology: &'a Topology,
    policy: PolicyRef,
    tunables: Tunables,
    seed: u64,
    duration: Duration,
    migrating: bool,
    window: Range<Duration>,
}

impl<'a> Simulation<'a> {
    /// Of a workload on a machine.
    pub fn new(workload: &'a Workload, topology: &'a Topology) -> Simulation<'a> {
        Simulation {
            workload,
            topology,
            policy: PolicyRef::default(),
            tunables: Tunables::default(),
            seed: 1,
            duration: workload.duration(),
            migrating: true,
            window: Duration::ZERO..Duration::ZERO,
        }
    }

    /// Who of the tasks with nice values runs next; without this, CFS.
    #[must_use]
    pub fn policy(mut self, policy: PolicyRef) -> Simulation<'a> {
        self.policy = policy;
        self
    }

    /// Of the random numbers; without this, 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Simulation<'a> {
        self.seed = seed;
        self
    }

    /// How long the simulated machine runs; without this, as long as the workload says.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Simulation<'a> {
        self.duration = duration;
        self
    }

    /// The scheduler's times.
    #[must_use]
    pub fn tunables(mut self, tunables: Tunables) -> Simulation<'a> {
        self.tunables = tunables;
        self
    }

    /// Whether tasks that have run may move to other cpus, as in the runtime's migrating mode; without this they may. In the
    /// runtime's default mode they may not.
    #[must_use]
    pub fn migrating(mut self, migrating: bool) -> Simulation<'a> {
        self.migrating = migrating;
        self
    }

    /// Follows up to [`LANES_MOST`] tasks, some of each kind, during this time: [`Report::lanes`].
    #[must_use]
    pub fn follow(mut self, window: Range<Duration>) -> Simulation<'a> {
        self.window = window;
        self
    }

    /// Simulates.
    ///
    /// # Errors
    /// The workload asks for a cpu that the machine does not have, or for more tasks than [`Workload::MOST_TASKS`].
    pub fn run(&self) -> Result<Report, SimulationError> {
        self.run_with(|_| ())
    }

    /// Simulates, and says now and then which time was reached.
    ///
    /// # Errors
    /// As [`run`](Simulation::run).
    pub fn run_with(&self, mut progress: impl FnMut(Duration)) -> Result<Report, SimulationError> {
        let (end, cpus) = (ns(self.duration), self.topology.cpus().len());
        let mut machine = self.machine(cpus)?;
        machine.run_until(end, SAMPLE_NS, |now| progress(Duration::from_nanos(now)));
        Ok(self.report(machine))
    }

    fn machine(&self, cpus: usize) -> Result<Machine<'a>, SimulationError> {
        let (specs, count) = (&self.workload.tasks, self.workload.tasks(cpus));
        if count > Workload::MOST_TASKS {
            return Err(SimulationError::TooManyTasks { tasks: count });
        }
        let mut groups = Vec::<Arc<Group>>::new();
        for spec in &self.workload.groups {
            let parent = spec.parent.map(|parent| Arc::clone(&groups[parent]));
            groups.push(Group::new(parent, spec.shares, spec.bandwidth, cpus as u32, &self.policy));
        }
        let mut tasks = Vec::with_capacity(count);
        let mut entities = Vec::with_capacity(count);
        let mut starts = Vec::with_capacity(count);
        for (kind, spec) in specs.iter().enumerate() {
            if let Some(on) = spec.on
                && on as usize >= cpus
            {
                return Err(SimulationError::NoSuchCpu { task: spec.name.clone(), cpu: on, cpus });
            }
            // One for each cpu, then the next one for each.
            let mut came = vec![0_u64; spec.streams(cpus)];
            for number in 0..spec.count {
                for (stream, came) in came.iter_mut().enumerate() {
                    let index = tasks.len();
                    let mut random = self.random(index);
                    if number > 0 {
                        *came = came.saturating_add(spec.every.map_or(0, |every| every.draw(&mut random)));
                    }
                    starts.push(came.saturating_add(spec.start.draw(&mut random)));
                    let place = if spec.per_cpu { stream } else { index };
                    tasks.push(SimTask::new(kind, spec, spec.on.map_or(place % cpus, |on| on as usize), random));
                    let group = spec.group.map(|group| Arc::clone(&groups[group]));
                    entities.push(Entity::new(Params { class: spec.class, group }));
                }
            }
        }
        let queue = |(index, cpu): (usize, &crate::topology::Cpu)| {
            (RunQueue::new(index as u32, self.tunables, self.policy.clone()), u64::from(cpu.capacity.get()))
        };
        let queues = self.topology.cpus().iter().enumerate().map(queue).collect();
        let places: Vec<_> = self.topology.cpus().iter().map(|cpu| cpu.id).collect();
        let lanes = self.lanes(&tasks);
        let tally = Tally::new(self.workload, cpus, count, lanes);
        let entities = entities.into_boxed_slice();
        let near = self.topology.near(&places);
        let mut machine = Machine::new(queues, near, specs, tasks, entities, self.migrating, tally);
        starts.into_iter().enumerate().for_each(|(task, start)| machine.plan_start(start, task));
        Ok(machine)
    }

    /// A task's own numbers.
    fn random(&self, task: usize) -> Rand64 {
        Rand64::new(u128::from(self.seed) << 64 | task as u128)
    }

    /// Some of each kind.
    fn lanes(&self, tasks: &[SimTask]) -> Lanes {
        let window = ns(self.window.start)..ns(self.window.end);
        let specs = &self.workload.tasks;
        let of = |kind: usize| tasks.iter().enumerate().filter(move |(_, task)| task.kind == kind);
        let each = (LANES_MOST / specs.len()).max(1);
        let name = |spec: &TaskSpec, number: usize, many: bool| {
            if many { format!("{} {}", spec.name, number + 1) } else { spec.name.clone() }
        };
        let followed = specs.iter().enumerate().flat_map(|(kind, spec)| {
            let many = of(kind).count() > 1;
            of(kind).take(each).enumerate().map(move |(number, (index, _))| (index, name(spec, number, many)))
        });
        let followed = if window.is_empty() { Vec::new() } else { followed.collect() };
        Lanes::new(window, tasks.len(), followed)
    }

    fn report(&self, machine: Machine) -> Report {
        let Machine { mut tally, tasks, now, .. } = machine;
        let cpus = self.topology.cpus().len();
        for task in tasks.iter().filter(|task| task.fresh && task.state == State::Waiting) {
            tally.latency(task.kind, now - task.came);
        }
        let time = |ns: f64| Duration::from_nanos(ns.max(0.0) as u64);
        let kinds: Vec<_> = self
            .workload
            .tasks
            .iter()
            .enumerate()
            .map(|(kind, spec)| {
                let mine = || {
                    tasks.iter().filter(move |task| {
                        task.kind == kind && task.came <= now && task.came + task.ran + task.waited > 0
                    })
                };
                let ran = |task: &SimTask| task.until(now).0;
                let got: u64 = mine().map(ran).sum();
                let ideal = match spec.class {
                    Class::Fair(_) => mine().map(|task| task.ideal).sum(),
                    _ => got as f64,
                };
                let books = &mut tally.kinds[kind];
                Kind {
                    name: spec.name.clone(),
                    tasks: mine().count(),
                    ran: Duration::from_nanos(got),
                    ideal: time(ideal),
                    ran_each: (
                        Duration::from_nanos(mine().map(ran).min().unwrap_or(0)),
                        Duration::from_nanos(mine().map(ran).max().unwrap_or(0)),
                    ),
                    lag: time(books.most_lag),
                    lead: time(books.most_lead),
                    latency: percentiles(&mut books.latencies),
                    response: percentiles(&mut books.responses),
                    preemptions: books.preemptions,
                    migrations: books.migrations,
                }
            })
            .collect();
        let fair = tasks.iter().filter(|task| task.ideal > 0.0).map(|task| task.until(now).0 as f64 / task.ideal);
        let all = |of: fn(&mut tally::OfKind) -> &mut Vec<u64>, tally: &mut Tally| {
            let mut times: Vec<u64> = tally.kinds.iter_mut().flat_map(|kind| std::mem::take(of(kind))).collect();
            percentiles(&mut times)
        };
        Report {
            policy: self.policy.name().into(),
            cpus,
            duration: Duration::from_nanos(now),
            seed: self.seed,
            tasks: kinds.iter().map(|kind| kind.tasks).sum(),
            fairness: jain(fair),
            lag: kinds.iter().map(|kind| kind.lag).max().unwrap_or_default(),
            lead: kinds.iter().map(|kind| kind.lead).max().unwrap_or_default(),
            latency: all(|kind| &mut kind.latencies, &mut tally),
            response: all(|kind| &mut kind.responses, &mut tally),
            wait_each: Duration::from_nanos(tally.wait_each),
            migrations: kinds.iter().map(|kind| kind.migrations).sum(),
            switches: tally.kinds.iter().map(|kind| kind.switches).sum(),
            preemptions: kinds.iter().map(|kind| kind.preemptions).sum(),
            idle: 1.0 - tally.ran as f64 / (now as f64 * cpus as f64).max(1.0),
            throughput: if tally.could_run == 0 { 1.0 } else { tally.ran as f64 / tally.could_run as f64 },
            bursts: kinds.iter().map(|kind| kind.response.count).sum(),
            kinds,
            lanes: tally.lanes.end(),
        }
    }
}

/// Of the machine's clock.
fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a machine cannot do for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimulationError {
    /// A task is to be spawned on a cpu that is not there.
    #[non_exhaustive]
    NoSuchCpu {
        /// The task's name.
        task: String,
        /// Where it is to be.
        cpu: u32,
        /// How many there are, counted from 0.
        cpus: usize,
    },
    /// More than [`Workload::MOST_TASKS`].
    #[non_exhaustive]
    TooManyTasks {
        /// How many.
        tasks: usize,
    },
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulationError::NoSuchCpu { task, cpu, cpus } => {
                write!(f, "task '{task}' is spawned on cpu {cpu}: the machine has cpus 0 to {}", cpus - 1)
            }
            SimulationError::TooManyTasks { tasks } => {
                write!(f, "{tasks} tasks on this machine: {} are the most", Workload::MOST_TASKS)
            }
        }
    }
}

impl std::error::Error for SimulationError {}
