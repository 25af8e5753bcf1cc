//! Shares of CPU time on a real core, by weight, by group and by quota. The tasks run for 100 us and yield; what they got is the run time that
//! their cpu charged them. What the machine takes from a cpu is charged to whoever runs there then, so a measurement that was disturbed is taken
//! again: a wrong scheduler fails each time.

use fairground_runtime::sched::{Bandwidth, Class, Nice, RtPriority, Shares};
use fairground_runtime::{Builder, Group, JoinHandle, Runtime, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tasks that take turns of 100 us, each on cpu 0.
struct Turns {
    runtime: Runtime,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Turns {
    fn new() -> Turns {
        let runtime = Runtime::builder().workers(1).build().expect("a runtime");
        Turns { runtime, over: Arc::default(), tasks: Vec::new() }
    }

    fn add(&mut self, builder: Builder) -> usize {
        let over = Arc::clone(&self.over);
        let task = builder.spawn_on(&self.runtime, move || {
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(100) {
                    std::hint::spin_loop();
                }
                yield_now();
            }
        });
        self.tasks.push(task.expect("memory"));
        self.tasks.len() - 1
    }

    /// What each of them ran, in a second and a half or so.
    fn run(self) -> Vec<f64> {
        std::thread::sleep(Duration::from_millis(1500));
        // All at one moment: those that stop later would get the rest.
        let times = self.tasks.iter().map(|task| task.task().run_time().as_secs_f64()).collect();
        self.over.store(true, Ordering::Relaxed);
        self.tasks.into_iter().for_each(|task| task.join().expect("no panic"));
        times
    }
}

fn share_is(got: f64, of: f64, expected: f64) -> Result<(), String> {
    let share = got / of;
    let right = (share - expected).abs() <= 0.02 * expected.max(0.25);
    if right { Ok(()) } else { Err(format!("a share of {share:.4}, {expected:.4} expected")) }
}

/// One of several measurements is right.
fn measured(measure: impl Fn() -> Result<(), String>) {
    let mut wrong = Vec::new();
    for _ in 0..6 {
        match measure() {
            Ok(()) => return,
            Err(result) => wrong.push(result),
        }
    }
    panic!("{wrong:?}");
}

#[test]
fn nice_0_and_nice_5_share_by_their_weights() {
    measured(|| {
        let mut turns = Turns::new();
        turns.add(Builder::new());
        turns.add(Builder::new().nice(Nice::new(5).expect("allowed")));
        let times = turns.run();
        share_is(times[0], times.iter().sum(), 1024.0 / (1024.0 + 335.0))
    });
}

#[test]
fn groups_share_by_weight_whatever_the_number_of_their_tasks() {
    measured(|| {
        let mut turns = Turns::new();
        let small = Group::new(&turns.runtime, "small", Shares::new(100).expect("allowed"));
        let large = Group::new(&turns.runtime, "large", Shares::new(300).expect("allowed"));
        for _ in 0..5 {
            turns.add(Builder::new().group(&small));
        }
        turns.add(Builder::new().group(&large));
        let times = turns.run();
        share_is(times[5], times.iter().sum(), 0.75)
    });
}

#[test]
fn a_quota_is_kept_and_the_rest_is_the_others() {
    measured(|| {
        let mut turns = Turns::new();
        let limited = Group::new(&turns.runtime, "limited", Shares::default());
        let (quota, period) = (Duration::from_millis(5), Duration::from_millis(20));
        limited.set_bandwidth(Some(Bandwidth::new(quota, period).expect("allowed")));
        turns.add(Builder::new().group(&limited));
        turns.add(Builder::new().group(&limited));
        turns.add(Builder::new());
        let times = turns.run();
        share_is(times[0] + times[1], times.iter().sum(), 0.25)
    });
}

#[test]
fn a_quota_is_kept_where_nobody_else_wants_the_core() {
    let mut turns = Turns::new();
    let limited = Group::new(&turns.runtime, "limited", Shares::default());
    let (quota, period) = (Duration::from_millis(5), Duration::from_millis(20));
    limited.set_bandwidth(Some(Bandwidth::new(quota, period).expect("allowed")));
    turns.add(Builder::new().group(&limited));
    let begun = Instant::now();
    let times = turns.run();
    // Of the time until all had ended, which is more than they were measured for. The machine may give less.
    assert!(times[0] <= 0.27 * begun.elapsed().as_secs_f64(), "{times:?}");
    assert!(times[0] > 0.02, "it was woken each period: {times:?}");
}

#[test]
fn real_time_tasks_go_first_and_idle_ones_last() {
    let mut turns = Turns::new();
    turns.add(Builder::new().class(Class::Idle));
    turns.add(Builder::new());
    turns.add(Builder::new().class(Class::RoundRobin(RtPriority::new(10).expect("allowed"))));
    let times = turns.run();
    assert!(times[2] > 5.0 * times[1] && times[2] > 5.0 * times[0], "{times:?}");
}

#[test]
fn a_share_can_be_changed_while_the_task_runs() {
    measured(|| {
        let mut turns = Turns::new();
        let one = turns.add(Builder::new().nice(Nice::new(19).expect("allowed")));
        turns.add(Builder::new());
        turns.tasks[one].task().set_nice(Nice::default());
        let times = turns.run();
        share_is(times[one], times.iter().sum(), 0.5)
    });
}
