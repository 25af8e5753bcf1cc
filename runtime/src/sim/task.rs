//! A simulated task: what it does, and what became of it.

use super::workload::{TaskSpec, Then};
use oorandom::Rand64;

/// What a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unborn,
    Waiting,
    Running,
    Sleeping,
    Dead,
}

/// See the module's text.
pub(super) struct SimTask {
    /// Index of its line in the workload.
    pub(super) kind: usize,
    pub(super) cpu: usize,
    pub(super) state: State,
    /// It ran once: in the runtime's default mode it stays where it is.
    pub(super) started: bool,
    /// Work of the burst that is left, in nanoseconds of a core of full capacity.
    pub(super) left: u64,
    /// Bursts until its end, the present one included.
    bursts: u64,
    random: Rand64,
    /// When its state began, or it was charged.
    pub(super) since: u64,
    /// When its burst began: it came or woke up.
    pub(super) came: u64,
    /// It has not run since.
    pub(super) fresh: bool,
    /// Tasks that it let go ahead on cpus where it waited before it moved, and when it moved.
    pub(super) ahead: usize,
    pub(super) here: u64,
    pub(super) ran: u64,
    pub(super) waited: u64,
    /// Of the last sample.
    pub(super) ran_before: u64,
    pub(super) waited_before: u64,
    /// It stopped to run since the last sample.
    pub(super) satisfied: bool,
    pub(super) ideal: f64,
    pub(super) lag: f64,
}

/// A burst that never ends; half of the numbers, so that sums do not wrap.
const FOREVER: u64 = u64::MAX / 4;

impl SimTask {
    pub(super) fn new(kind: usize, spec: &TaskSpec, cpu: usize, random: Rand64) -> SimTask {
        let bursts = match spec.then {
            Then::End => 1,
            _ => spec.times.unwrap_or(u64::MAX),
        };
        SimTask {
            kind,
            cpu,
            state: State::Unborn,
            started: false,
            left: 0,
            bursts,
            random,
            since: 0,
            came: 0,
            fresh: false,
            ahead: 0,
            here: 0,
            ran: 0,
            waited: 0,
            ran_before: 0,
            waited_before: 0,
            satisfied: false,
            ideal: 0.0,
            lag: 0.0,
        }
    }

    /// A burst begins.
    pub(super) fn begin(&mut self, spec: &TaskSpec, now: u64) {
        self.left = spec.run.map_or(FOREVER, |run| run.draw(&mut self.random).max(1));
        self.came = now;
        self.fresh = true;
    }

    /// What follows the burst, and for how long it sleeps.
    pub(super) fn next(&mut self, spec: &TaskSpec) -> Next {
        self.bursts -= 1;
        match spec.then {
            _ if self.bursts == 0 => Next::End,
            Then::End => Next::End,
            Then::Yield => Next::Yield,
            Then::Sleep(span) => Next::Sleep(span.draw(&mut self.random).max(1)),
        }
    }

    /// Nanoseconds it ran and waited up to now, so far as it was seen.
    pub(super) fn until(&self, now: u64) -> (u64, u64) {
        let more = now - self.since.min(now);
        match self.state {
            State::Running => (self.ran + more, self.waited),
            State::Waiting => (self.ran, self.waited + more),
            _ => (self.ran, self.waited),
        }
    }
}

/// See [`SimTask::next`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Sleep(u64),
    Yield,
    End,
}
