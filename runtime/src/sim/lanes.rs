//! What some tasks did when, for pictures.

use crate::sched::Entity;
use std::ops::Range;
use std::time::Duration;

/// Most tasks that are followed: as many as fit under each other in a picture.
pub const LANES_MOST: usize = 24;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It runs on this cpu.
    Running(usize),
    /// It wants to run.
    Waiting,
    /// It sleeps, has not come, or has ended.
    Nothing,
}

/// One task over the time of the window.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lane {
    /// Its name in the workload and, if there are more of it, a number.
    pub task: String,
    /// What it did from when on; the first begins with the window, each ends where the next begins.
    pub turns: Vec<(Duration, Doing)>,
    /// Its virtual run time whenever it began or ceased to run or to wait: nanoseconds of a task of nice 0, since its queue began.
    pub vruntime: Vec<(Duration, i64)>,
}

/// See the module's text.
pub(super) struct Lanes {
    window: Range<u64>,
    lanes: Vec<Lane>,
    /// By task; `NONE` for those that are not followed.
    of: Box<[u8]>,
}

const NONE: u8 = u8::MAX;

impl Lanes {
    /// Follows these tasks of `tasks`, which have these names.
    pub(super) fn new(window: Range<u64>, tasks: usize, followed: Vec<(usize, String)>) -> Lanes {
        let mut of = vec![NONE; tasks].into_boxed_slice();
        let lanes = followed.into_iter().take(LANES_MOST).enumerate().map(|(lane, (index, task))| {
            of[index] = lane as u8;
            let turns = vec![(Duration::from_nanos(window.start), Doing::Nothing)];
            Lane { task, turns, vruntime: Vec::new() }
        });
        Lanes { lanes: lanes.collect(), window, of }
    }

    #[inline]
    pub(super) fn turns(&mut self, task: usize, doing: Doing, now: u64, entity: &Entity) {
        if now >= self.window.end || self.of[task] == NONE {
            return;
        }
        let lane = &mut self.lanes[usize::from(self.of[task])];
        let at = Duration::from_nanos(now.max(self.window.start));
        // What lasted for no time is not seen.
        lane.turns.retain(|turn| turn.0 != at);
        if lane.turns.last().is_none_or(|last| last.1 != doing) {
            lane.turns.push((at, doing));
        }
        if now >= self.window.start {
            lane.vruntime.push((at, entity.vruntime_ns()));
        }
    }

    pub(super) fn end(self) -> Vec<Lane> {
        self.lanes
    }
}
