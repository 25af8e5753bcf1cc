//! Stands for a program that lives through high and low water: a server after its rush hour, a compiler daemon between two
//! builds. It grows to about 200 MiB of mixed sizes, frees nine of ten blocks so that the living lie scattered, is all but
//! idle for a second, frees the rest, is idle again, and grows once more. What is asked: how far down resident memory
//! goes in each trough, how soon, and whether the second growth pays for that. Our own; the picture is that of the papers on
//! fragmentation (M. Johnstone and P. Wilson, 'The Memory Fragmentation Problem: Solved?', ISMM 1998).
//!
//! **What it prints** besides the words that every workload prints, in a line of its own:
//!
//! ```text
//! rss=0:2100,3:2100,23:40312,... phases=3:grow,220:thin,310:idle,...
//! ```
//!
//! `rss` is resident memory over time, `MS:KIB` at each start of a phase and about every 20 ms; `phases` says when each phase
//! began, `MS:NAME`. Milliseconds count from the start of the workload. The last phase, `end`, has no duration.
//!
//! The idle phases are no part of the time that is compared. The threads live through all phases, as a server's do: a thread
//! that ends gives its caches back, which would hide them. Unlike elsewhere the scale multiplies what is alive.

use super::block::Block;
use super::random::Random;
use super::{Load, was_idle};
use std::io::Read;
use std::sync::Barrier;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What is alive after growing, all threads together.
const ALIVE: usize = 200 << 20;
/// One block in so many survives the thinning.
const SURVIVOR: usize = 10;
/// Between two samples, and between two activities of an idle thread.
const TICK: Duration = Duration::from_millis(20);
/// Ticks of an idle phase at scale 1: one second.
const IDLE_TICKS: usize = 50;
/// Small blocks that an idle thread allocates and frees at each tick.
const ACTIVITY: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Grow,
    Thin,
    Idle,
    Free,
}

const PHASES: [(Phase, &str); 7] = [
    (Phase::Grow, "grow"),
    (Phase::Thin, "thin"),
    (Phase::Idle, "idle"),
    (Phase::Free, "free"),
    (Phase::Idle, "idle"),
    (Phase::Grow, "grow"),
    (Phase::Free, "free"),
];

pub(super) fn run(load: &Load) -> u64 {
    let mut curve = Curve::new();
    let bytes = load.scaled(ALIVE / load.threads);
    let ticks = load.scaled(IDLE_TICKS);
    let start = Barrier::new(load.threads + 1);
    let (finished, results) = channel();
    let sum = std::thread::scope(|scope| {
        for thread in 0..load.threads {
            let mut worker = Worker { random: load.random(thread), held: Vec::new(), bytes, ticks };
            let (start, finished) = (&start, finished.clone());
            scope.spawn(move || {
                for (phase, _) in PHASES {
                    start.wait();
                    // The main thread receives as many as were sent before it goes on.
                    let _ = finished.send(worker.live_through(phase));
                }
            });
        }
        PHASES.iter().fold(0_u64, |sum, &(phase, name)| {
            curve.begin(name);
            start.wait();
            let begin = Instant::now();
            let part = curve.follow(&results, load.threads);
            if phase == Phase::Idle {
                was_idle(begin);
            }
            sum.wrapping_add(part)
        })
    });
    curve.begin("end");
    println!("{}", curve.text());
    sum
}

struct Worker {
    random: Random,
    held: Vec<Block>,
    bytes: usize,
    ticks: usize,
}

impl Worker {
    fn live_through(&mut self, phase: Phase) -> u64 {
        match phase {
            Phase::Grow => {
                let mut left = self.bytes;
                while left > 0 {
                    let size = size(&mut self.random);
                    self.held.push(Block::allocate(size, self.random.next()));
                    left = left.saturating_sub(size);
                }
                0
            }
            Phase::Thin => {
                let blocks = std::mem::take(&mut self.held).into_iter().enumerate();
                blocks.fold(0, |sum, (index, block)| {
                    if index % SURVIVOR == 0 {
                        self.held.push(block);
                        return sum;
                    }
                    sum.wrapping_add(block.release())
                })
            }
            Phase::Idle => (0..self.ticks).fold(0, |sum, _| {
                std::thread::sleep(TICK);
                let blocks: [Block; ACTIVITY] =
                    std::array::from_fn(|_| Block::allocate(self.random.between(16, 256), self.random.next()));
                blocks.into_iter().fold(sum, |sum, block| sum.wrapping_add(block.release()))
            }),
            Phase::Free => {
                std::mem::take(&mut self.held).into_iter().fold(0, |sum, block| sum.wrapping_add(block.release()))
            }
        }
    }
}

/// Nearly all blocks are small; small, medium and large ones have about a third of the bytes each.
fn size(random: &mut Random) -> usize {
    match random.below(1000) {
        0 => random.log_uniform(15, 19),
        1..30 => random.log_uniform(10, 15),
        _ => random.log_uniform(4, 10),
    }
}

/// Resident memory over time. Its vectors have room from the start, and the text is made at the end: watching should not
/// add to what is watched.
struct Curve {
    begin: Instant,
    samples: Vec<(u128, u64)>,
    phases: Vec<(u128, &'static str)>,
    page_kib: u64,
}

impl Curve {
    fn new() -> Self {
        // SAFETY: sysconf may be asked for anything.
        let page_kib = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64 / 1024;
        let (samples, phases) = (Vec::with_capacity(4096), Vec::with_capacity(PHASES.len() + 1));
        Self { begin: Instant::now(), samples, phases, page_kib }
    }

    fn begin(&mut self, phase: &'static str) {
        self.sample();
        let (now, _) = self.samples[self.samples.len() - 1];
        self.phases.push((now, phase));
    }

    fn sample(&mut self) {
        self.samples.push((self.begin.elapsed().as_millis(), resident_pages() * self.page_kib));
    }

    /// Samples until `threads` results have come; returns their sum.
    fn follow(&mut self, results: &Receiver<u64>, threads: usize) -> u64 {
        let mut sum = 0_u64;
        let mut finished = 0;
        let mut next = Instant::now() + TICK;
        while finished < threads {
            match results.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(part) => {
                    sum = sum.wrapping_add(part);
                    finished += 1;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.sample();
                    next += TICK;
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the threads ended before their last phase"),
            }
        }
        sum
    }

    fn text(&self) -> String {
        let samples: Vec<String> = self.samples.iter().map(|(ms, kib)| format!("{ms}:{kib}")).collect();
        let phases: Vec<String> = self.phases.iter().map(|(ms, name)| format!("{ms}:{name}")).collect();
        format!("rss={} phases={}", samples.join(","), phases.join(","))
    }
}

/// The second number of `/proc/self/statm`, read without allocating; 0 where there is no such file.
fn resident_pages() -> u64 {
    let mut text = [0_u8; 128];
    let read = std::fs::File::open("/proc/self/statm").and_then(|mut file| file.read(&mut text)).unwrap_or(0);
    let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Curve, resident_pages};

    #[test]
    fn curve_is_written_as_documented() {
        let mut curve = Curve::new();
        curve.samples.extend([(0, 2100), (20, 3000)]);
        curve.phases.extend([(3, "grow"), (25, "end")]);
        assert_eq!(curve.text(), "rss=0:2100,20:3000 phases=3:grow,25:end");
    }

    #[test]
    fn resident_memory_is_read() {
        assert!(resident_pages() > 0);
    }
}
