//! Memory of parked tasks.

use crate::measure::{Clocks, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long tasks get between saying that they are about to wait and waiting.
const SETTLE: Duration = Duration::from_millis(300);

/// Who waits now and who has been let go, counted by the tasks themselves.
#[derive(Default)]
pub struct Parked {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Parked {
    /// None yet.
    pub const fn new() -> Self {
        Self { begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Said by a task that is about to wait.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Said by a task that has been let go.
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Measures `tasks` tasks that `spawn` has begun, from a plain thread; `release` then lets all go. Operations are the tasks,
    /// times those from the first spawn to the last end.
    pub fn measure(
        &self,
        tasks: usize,
        spawn: impl FnOnce() -> Result<(), String>,
        release: impl FnOnce(),
    ) -> Result<Outcome, String> {
        let clocks = Clocks::start();
        let before = Memory::now();
        spawn()?;
        wait_for(&self.begun, tasks as u64);
        std::thread::sleep(SETTLE);
        if self.ended.load(Ordering::Relaxed) != 0 {
            return Err("wrong answer: tasks went on that nobody had let go".into());
        }
        let parked = Memory::now();
        release();
        wait_for(&self.ended, tasks as u64);
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / tasks as f64;
        Ok(clocks
            .outcome(tasks as u64)
            .with("resident_bytes", each(before.resident, parked.resident))
            .with("page_table_bytes", each(before.page_tables, parked.page_tables)))
    }
}

fn wait_for(count: &AtomicU64, enough: u64) {
    // Whoever starts the program ends it if this never comes.
    while count.load(Ordering::Relaxed) < enough {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that this process has resident, and bytes of page tables that it takes.
struct Memory {
    resident: u64,
    page_tables: u64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
        };
        Self { resident: bytes("VmRSS:"), page_tables: bytes("VmPTE:") }
    }
}
