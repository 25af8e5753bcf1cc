//! The two clocks, and how much work makes a measurement.

use serde_json::{Map, Value};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// What a measured stretch of work took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What wall and CPU time are divided by.
    pub operations: u64,
    /// Wall time.
    pub wall: Duration,
    /// CPU time of the process, all threads and the kernel on its behalf.
    pub cpu: Duration,
    /// What else was measured, by name.
    pub further: Map<String, Value>,
}

impl Outcome {
    /// With a further figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.further.insert(name.into(), value.into());
        self
    }

    pub(crate) fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("operations".into(), self.operations.into());
        object.insert("wall_ns".into(), nanoseconds(self.wall).into());
        object.insert("cpu_ns".into(), nanoseconds(self.cpu).into());
        object.extend(self.further.clone());
        Value::from(object).to_string()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Both clocks, running.
#[derive(Clone, Copy)]
pub struct Clocks {
    wall: Instant,
    cpu: Duration,
}

impl Clocks {
    /// Starts them.
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    /// What has gone by, for that many operations.
    pub fn outcome(&self, operations: u64) -> Outcome {
        let cpu = cpu_time() - self.cpu;
        Outcome { operations, wall: self.wall.elapsed(), cpu, further: Map::new() }
    }
}

/// CPU time of this process so far.
pub fn cpu_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the structure is writable, and this clock exists on every Linux.
    let time = unsafe {
        assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()), 0);
        time.assume_init()
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The least operations that are tried: so few that a runtime of which each takes 100 us is done in 0.1 s.
const LEAST: u64 = 1000;
/// By how much the next try is larger at most: times of short tries say little.
const GROWTH: f64 = 8.0;

/// Measures `work` with as many operations as take about `seconds`. `work` is told how many to do and says how many it did
/// (whole batches, say). It is run with ever more of them, which warms everything up, and the first run that takes at
/// least half the time counts.
pub fn repeated(seconds: f64, mut work: impl FnMut(u64) -> Result<u64, String>) -> Result<Outcome, String> {
    let mut operations = LEAST;
    loop {
        let clocks = Clocks::start();
        let done = work(operations)?;
        let outcome = clocks.outcome(done);
        let part = outcome.wall.as_secs_f64() / seconds;
        if part >= 0.5 {
            return Ok(outcome);
        }
        operations = (operations as f64 * (1.0 / part).min(GROWTH)) as u64;
    }
}
