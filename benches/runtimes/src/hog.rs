//! How late a task runs that wants to run every millisecond.

use crate::measure::{Clocks, Outcome};
use std::time::{Duration, Instant};

/// Tasks that compute.
pub const HOGS: usize = 8;
/// What the other task wants.
pub const PERIOD: Duration = Duration::from_millis(1);

/// The times at which a task is due. A task that is late has missed all times up to the present one, and each counts: one that
/// never runs until the hogs are done is late by half the test in the median.
pub struct Ticks {
    start: Instant,
    next: u32,
    count: u32,
    woken: u64,
    late: Vec<Duration>,
}

impl Ticks {
    /// From now on, for that many seconds.
    pub fn new(seconds: f64) -> Self {
        let count = (seconds / PERIOD.as_secs_f64()) as u32;
        Self { start: Instant::now(), next: 1, count, woken: 0, late: Vec::with_capacity(count as usize) }
    }

    /// How long the task is to sleep now.
    pub fn until_next(&self) -> Duration {
        (self.start + PERIOD * self.next).saturating_duration_since(Instant::now())
    }

    /// The task runs; whether it has to go on.
    pub fn woke(&mut self) -> bool {
        let now = self.start.elapsed();
        self.woken += 1;
        while self.next <= self.count && PERIOD * self.next <= now {
            self.late.push(now - PERIOD * self.next);
            self.next += 1;
        }
        self.next <= self.count
    }

    /// The figures; times are those of the whole row, operations the times the task ran.
    pub fn outcome(mut self, clocks: &Clocks) -> Outcome {
        self.late.sort_unstable();
        let us = |part: f64| {
            let index = (self.late.len() as f64 * part).ceil() as usize;
            self.late[index.clamp(1, self.late.len()) - 1].as_secs_f64() * 1e6
        };
        clocks
            .outcome(self.woken)
            .with("p50_us", us(0.5))
            .with("p99_us", us(0.99))
            .with("max_us", us(1.0))
            .with("woken", self.woken)
    }
}

/// One of the tasks that compute.
pub struct Hog {
    end: Instant,
    slice: Duration,
}

impl Hog {
    /// One that is to compute for that long from now on, whenever its task begins; without a slice it never stops in between.
    pub fn new(seconds: f64, slice_ms: Option<u64>) -> Self {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        Self { end, slice: slice_ms.map_or(Duration::MAX, Duration::from_millis) }
    }

    /// Computes for one slice; whether there is more to do.
    pub fn compute(&self) -> bool {
        let begin = Instant::now();
        let mut x = 1_u64;
        loop {
            for _ in 0..1000 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
            let now = Instant::now();
            if now >= self.end {
                return false;
            }
            if now - begin >= self.slice {
                return true;
            }
        }
    }
}
