//! A soak: tasks that spawn, yield, lock, send, sleep, panic and are cancelled, at random, for as long as `FAIRGROUND_SOAK_SECONDS` says (5
//! unless told). Every task's end is accounted for, every message sent is received or dropped with its channel, every value on a stack is dropped.

use fairground_runtime::sync::{Condvar, Mutex, Semaphore};
use fairground_runtime::{Builder, JoinHandle, Runtime, channel, spawn, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Xorshift: the same seed makes the same choices, though not the same order of events.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    dropped: AtomicU64,
    returned: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// On every task's stack: counts that it was dropped.
struct OnStack(Arc<Counts>);

impl OnStack {
    fn new(counts: &Arc<Counts>) -> OnStack {
        counts.begun.fetch_add(1, Ordering::Relaxed);
        OnStack(Arc::clone(counts))
    }
}

impl Drop for OnStack {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Shared {
    counts: Arc<Counts>,
    number: Mutex<u64>,
    changed: Condvar,
    permits: Semaphore,
    sender: channel::Sender<u64>,
    receiver: channel::Receiver<u64>,
}

const PLANNED: &str = "planned";

fn body(shared: &Arc<Shared>, seed: u64, depth: u32) -> u64 {
    let mut random = Random(seed | 1);
    let on_stack = OnStack::new(&shared.counts);
    let mut children = Vec::new();
    for _ in 0..random.next(12) {
        match random.next(10) {
            0 | 1 => yield_now(),
            2 => {
                let mut number = shared.number.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *number += 1;
                if random.next(4) == 0 {
                    yield_now();
                }
                shared.changed.notify_one();
            }
            3 => {
                let number = shared.number.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let _ = shared.changed.wait_timeout(number, Duration::from_micros(random.next(300)));
            }
            4 => {
                let _permit = shared.permits.acquire();
                yield_now();
            }
            5 | 6 => {
                let sent = shared.sender.try_send(1).is_ok();
                shared.counts.sent.fetch_add(sent.into(), Ordering::Relaxed);
            }
            7 => {
                let received = shared.receiver.recv_timeout(Duration::from_micros(random.next(200))).is_ok();
                shared.counts.received.fetch_add(received.into(), Ordering::Relaxed);
            }
            8 if depth < 3 => {
                let (theirs, seed) = (Arc::clone(shared), random.next(u64::MAX));
                children.push(spawn(move || body(&theirs, seed, depth + 1)));
            }
            _ if random.next(20) == 0 => std::panic::panic_any(PLANNED),
            _ => (),
        }
        if random.next(8) == 0
            && let Some(child) = children.get(random.next(children.len().max(1) as u64) as usize)
        {
            child.cancel();
        }
    }
    for child in children {
        if random.next(4) != 0 {
            end(&shared.counts, child);
        }
    }
    drop(on_stack);
    1
}

fn end(counts: &Counts, task: JoinHandle<u64>) {
    match task.join() {
        Ok(one) => counts.returned.fetch_add(one, Ordering::Relaxed),
        Err(error) if error.is_cancelled() => counts.cancelled.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            let payload = error.into_panic().expect("it is a panic");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&PLANNED), "another panic than the planned ones");
            counts.panicked.fetch_add(1, Ordering::Relaxed)
        }
    };
}

fn soak(runtime: Runtime, seconds: u64, seed: u64) {
    let counts = Arc::new(Counts::default());
    let (sender, receiver) = channel::bounded(64);
    let shared = Arc::new(Shared {
        counts: Arc::clone(&counts),
        number: Mutex::new(0),
        changed: Condvar::new(),
        permits: Semaphore::new(3),
        sender,
        receiver,
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed);
    let mut rounds = 0;
    while Instant::now() < until {
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let (theirs, seed) = (Arc::clone(&shared), random.next(u64::MAX));
                Builder::new()
                    .name(format!("soak-{n}"))
                    .spawn_on(&runtime, move || body(&theirs, seed, 0))
                    .expect("memory")
            })
            .collect();
        for (n, task) in tasks.iter().enumerate() {
            if random.next(10) == 0 {
                task.cancel();
            }
            if n % 50 == 0 {
                task.task().stop();
                std::thread::yield_now();
                task.task().resume();
            }
        }
        tasks.into_iter().for_each(|task| end(&counts, task));
        // Those that nobody joined.
        while runtime.live_tasks() != 0 {
            std::thread::yield_now();
        }
        let (begun, dropped) = (counts.begun.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
        assert_eq!(begun, dropped, "values on stacks that were not dropped");
        rounds += 1;
    }
    drop(runtime);
    while shared.receiver.try_recv().is_ok() {
        counts.received.fetch_add(1, Ordering::Relaxed);
    }
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(of(&counts.sent), of(&counts.received), "messages that were lost or doubled");
    assert_eq!(Arc::strong_count(&shared), 1, "a task that ended kept what it had");
    println!(
        "seed {seed}: {rounds} rounds, {} tasks began; of those joined {} returned, {} panicked, {} were cancelled; {} messages",
        of(&counts.begun),
        of(&counts.returned),
        of(&counts.panicked),
        of(&counts.cancelled),
        of(&counts.sent)
    );
    assert!(of(&counts.panicked) > 0 && of(&counts.cancelled) > 0 && of(&counts.returned) > 0);
}

fn seconds() -> u64 {
    std::env::var("FAIRGROUND_SOAK_SECONDS").map_or(5, |text| text.parse().expect("a number of seconds"))
}

/// Planned panics say nothing.
fn quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&PLANNED) {
            before(info);
        }
    }));
}

#[test]
fn nothing_is_lost_where_tasks_stay_on_their_cpu() {
    quiet();
    soak(Runtime::builder().workers(3).pin(false).build().expect("a runtime"), seconds(), 1);
}

#[test]
fn nothing_is_lost_where_tasks_migrate() {
    quiet();
    // SAFETY: the tasks keep nothing of their kernel thread over a suspension point.
    let builder = unsafe { Runtime::builder().migrating() };
    soak(builder.workers(3).pin(false).build().expect("a runtime"), seconds(), 2);
}
