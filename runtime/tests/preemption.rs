//! Tasks that never give way, and tasks that block in the kernel, delay nobody; and the code that is interrupted does not notice.

use fairground_runtime::sched::{Bandwidth, Class, Nice, RtPriority, Shares, Tunables};
use fairground_runtime::task::TaskState;
use fairground_runtime::{BuildError, Builder, Group, Runtime, RuntimeBuilder, time, yield_now};
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Write, pipe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn builder(workers: usize) -> RuntimeBuilder {
    // SAFETY: nothing in these tests keeps anything of its kernel thread over a suspension point.
    unsafe { Runtime::builder().migrating() }.workers(workers)
}

fn runtime(workers: usize) -> Runtime {
    builder(workers).build().expect("a runtime")
}

/// Slices of 100 us: many preemptions in little time.
fn restless(workers: usize) -> Runtime {
    let mut tunables = Tunables::default();
    tunables.latency = 200_000;
    tunables.min_granularity = 100_000;
    tunables.wakeup_granularity = 50_000;
    builder(workers).tunables(tunables).build().expect("a runtime")
}

/// Computes until the flag is set, without a call of the runtime.
fn spin_until(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn hogs(runtime: &Runtime, n: usize, over: &Arc<AtomicBool>) -> Vec<fairground_runtime::JoinHandle<()>> {
    (0..n)
        .map(|_| {
            let over = Arc::clone(over);
            runtime.spawn(move || spin_until(&over))
        })
        .collect()
}

#[test]
fn who_never_gives_way_is_preempted() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let over = Arc::new(AtomicBool::new(false));
        let hogs = hogs(&runtime, 5, &over);
        let last = runtime.spawn(move || {
            for _ in 0..20 {
                time::sleep(Duration::from_millis(1));
                yield_now();
            }
            over.store(true, Ordering::Relaxed);
        });
        last.join().expect("no panic");
        hogs.into_iter().for_each(|hog| hog.join().expect("no panic"));
        let preempted: u64 = runtime.ps().cpus.iter().map(|cpu| cpu.preemptions).sum();
        assert!(preempted > 0);
    }
}

#[test]
fn without_preemption_there_is_none() {
    let runtime = builder(1).preempt(false).build().expect("a runtime");
    assert!(!runtime.is_preemptive());
    let other = Arc::new(AtomicBool::new(false));
    let ran = Arc::clone(&other);
    runtime.run(|| {
        runtime.spawn(move || other.store(true, Ordering::Relaxed));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(!ran.load(Ordering::Relaxed), "nobody runs before this gives way");
    });
}

#[test]
fn a_task_blocked_in_a_read_lets_others_run() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        // Each reads what the task after it writes: all of them but one must be in the kernel before anything goes on.
        let n = 6;
        let tasks: Vec<_> = (0..n)
            .map(|_| pipe().expect("a pipe"))
            .map(|(mut reader, mut writer)| {
                let reads = runtime.spawn(move || {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).expect("open");
                    byte[0]
                });
                (reads, move || writer.write_all(b"x").expect("open"))
            })
            .collect();
        let (reads, writes): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let last = runtime.spawn(move || writes.into_iter().rev().for_each(|mut write| write()));
        assert!(reads.into_iter().all(|task| task.join().expect("no panic") == b'x'));
        last.join().expect("no panic");
    }
}

#[test]
fn a_blocked_task_is_listed_as_such_and_its_cpu_goes_on() {
    let runtime = runtime(1);
    let (mut reader, mut writer) = pipe().expect("a pipe");
    let blocked = Builder::new()
        .name("reads")
        .spawn_on(&runtime, move || {
            let mut byte = [0];
            reader.read_exact(&mut byte).expect("open");
        })
        .expect("memory");
    let over = Arc::new(AtomicBool::new(false));
    let hogs = hogs(&runtime, 2, &over);
    while blocked.task().state() != TaskState::Blocked {
        std::thread::yield_now();
    }
    assert!(runtime.ps().to_string().contains(" D TS "), "{}", runtime.ps());
    writer.write_all(b"x").expect("open");
    blocked.join().expect("no panic");
    over.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().expect("no panic"));
    assert!(runtime.ps().cpus[0].blocked > 0);
}

#[test]
fn std_locks_and_sleeps_block_only_their_task() {
    let runtime = restless(1);
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let shared = Arc::clone(&shared);
            runtime.spawn(move || {
                for _ in 0..5 {
                    let mut sum = shared.0.lock().expect("no panic");
                    let before = *sum;
                    // Held while it is preempted, and while it sleeps in the kernel.
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_micros(300) {
                        std::hint::spin_loop();
                    }
                    std::thread::sleep(Duration::from_micros(100 * n));
                    assert_eq!(*sum, before, "the lock keeps others out");
                    *sum += 1;
                    drop(sum);
                    shared.1.notify_all();
                }
            })
        })
        .collect();
    let waits = Arc::clone(&shared);
    let last = runtime.spawn(move || {
        let sum = waits.0.lock().expect("no panic");
        drop(waits.1.wait_while(sum, |sum| *sum < 40).expect("no panic"));
    });
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
    last.join().expect("no panic");
}

#[test]
fn more_blocked_tasks_than_kernel_threads_wait_for_their_turn() {
    let n = 1_000;
    let runtime = builder(2).kernel_threads(16).build().expect("a runtime");
    let (reader, mut writer) = pipe().expect("a pipe");
    let reader = Arc::new(reader);
    let tasks: Vec<_> = (0..n)
        .map(|_| {
            let reader = Arc::clone(&reader);
            runtime.spawn(move || {
                let mut byte = [0];
                (&*reader).read_exact(&mut byte).expect("open");
            })
        })
        .collect();
    for _ in 0..n {
        writer.write_all(b"x").expect("open");
    }
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
}

#[test]
fn the_holder_of_a_lock_gets_a_cpu_at_the_limit_of_threads() {
    let runtime = builder(1).kernel_threads(4).build().expect("a runtime");
    let lock = Arc::new(Mutex::new(0));
    let held = Arc::new(AtomicBool::new(false));
    let holder = {
        let (lock, held) = (Arc::clone(&lock), Arc::clone(&held));
        runtime.spawn(move || {
            let mut sum = lock.lock().expect("no panic");
            held.store(true, Ordering::Relaxed);
            // Long enough for all others to be blocked.
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            *sum += 1;
        })
    };
    // A task that has not started could not at the limit, and nobody may spin for it.
    spin_until(&held);
    let others: Vec<_> = (0..20)
        .map(|_| {
            let lock = Arc::clone(&lock);
            runtime.spawn(move || *lock.lock().expect("no panic") += 1)
        })
        .collect();
    holder.join().expect("no panic");
    others.into_iter().for_each(|task| task.join().expect("no panic"));
    assert_eq!(*lock.lock().expect("no panic"), 21);
}

thread_local! {
    static LOCAL: Cell<u64> = const { Cell::new(0) };
}

#[test]
fn thread_locals_and_errno_stay_over_a_preemption() {
    let runtime = restless(2);
    let preemptions = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (1..=8)
        .map(|own: u64| {
            let preemptions = Arc::clone(&preemptions);
            runtime.spawn(move || {
                let thread = std::thread::current().id();
                LOCAL.set(own);
                // SAFETY: the thread's own.
                unsafe { *libc::__errno_location() = own as i32 };
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(30) {
                    assert_eq!(LOCAL.get(), own);
                    // SAFETY: as above.
                    assert_eq!(unsafe { *libc::__errno_location() }, own as i32);
                    assert_eq!(std::thread::current().id(), thread);
                }
                let task = fairground_runtime::task::Task::current().expect("a task");
                preemptions.fetch_add(task.preemptions(), Ordering::Relaxed);
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
    assert!(preemptions.load(Ordering::Relaxed) > 8, "{preemptions:?}");
}

#[test]
fn code_that_knows_nothing_of_tasks_is_right_when_preempted_anywhere() {
    let runtime = restless(2);
    let rounds = if std::env::var_os("FAIRGROUND_PREEMPTION_ROUNDS").is_some() { 2_000 } else { 60 };
    let sum = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let sum = Arc::clone(&sum);
            runtime.spawn(move || {
                for round in 0..rounds {
                    match (n + round) % 6 {
                        0 => {
                            // The allocator, and what allocates.
                            let mut map = HashMap::new();
                            (0..200).for_each(|i| drop(map.insert(format!("{i}"), vec![i; i % 50])));
                            assert!((0..200).all(|i| map[&i.to_string()].len() == i % 50));
                        }
                        1 => {
                            *sum.lock().expect("no panic").entry(format!("{}", round % 7)).or_default() += 1;
                        }
                        2 => {
                            // A panic, unwinding through frames with destructors; caught within.
                            let caught = std::panic::catch_unwind(|| {
                                let _held = vec![String::from("dropped"); 20];
                                std::panic::resume_unwind(Box::new(7));
                            });
                            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7));
                        }
                        3 => print!(""),
                        4 if round % 20 == 4 => {
                            let output = std::process::Command::new("true").status().expect("started");
                            assert!(output.success());
                        }
                        4 => {
                            let mut numbers: Vec<u32> =
                                (0..3_000).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
                            numbers.sort_unstable();
                            assert!(numbers.is_sorted());
                        }
                        _ => {
                            let text = std::fs::read_to_string("Cargo.toml").expect("this package's");
                            assert!(text.contains("fairground-runtime"));
                        }
                    }
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
    assert_eq!(sum.lock().expect("no panic").values().sum::<usize>(), 12 * rounds / 6);
}

#[test]
fn a_task_that_waits_while_it_unwinds_is_preempted_too() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            time::sleep(Duration::from_millis(2));
            yield_now();
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(3) {
                std::hint::spin_loop();
            }
            assert!(std::thread::panicking(), "it is still this task's kernel thread");
        }
    }
    let runtime = restless(1);
    let ended = Arc::new(AtomicUsize::new(0));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let ended = Arc::clone(&ended);
            runtime.spawn(move || {
                for _ in 0..200 {
                    assert!(!std::thread::panicking());
                    yield_now();
                }
                ended.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            runtime.spawn(|| {
                let _waits = Waits;
                std::panic::resume_unwind(Box::new("on its way"));
            })
        })
        .collect();
    assert!(tasks.into_iter().all(|task| task.join().is_err()));
    others.into_iter().for_each(|task| task.join().expect("no panic"));
    assert_eq!(ended.load(Ordering::Relaxed), 4);
}

#[test]
fn a_task_with_a_thread_of_its_own_stays_there_and_others_run() {
    let runtime = restless(2);
    let over = Arc::new(AtomicBool::new(false));
    let hogs = hogs(&runtime, 3, &over);
    let (to, from) = fairground_runtime::channel::bounded(0);
    let tasks: Vec<_> = (0..3)
        .map(|own: u64| {
            let from = from.clone();
            let stays = move || {
                let thread = std::thread::current().id();
                LOCAL.set(own);
                while from.recv().is_ok() {
                    yield_now();
                    time::sleep(Duration::from_micros(100));
                    assert_eq!((LOCAL.get(), std::thread::current().id()), (own, thread));
                }
            };
            Builder::new().own_thread().spawn_on(&runtime, stays).expect("memory")
        })
        .collect();
    drop(from);
    runtime.run(move || (0..100).for_each(|_| to.send(()).expect("somebody receives")));
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
    over.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().expect("no panic"));
    let without = builder(1).preempt(false).build().expect("a runtime");
    let refused = Builder::new().own_thread().spawn_on(&without, || ()).err();
    assert_eq!(refused, Some(fairground_runtime::SpawnError::NoOwnThread));
}

#[test]
fn hogs_share_by_weight() {
    let runtime = runtime(1);
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = [0, 0, 5]
        .map(|nice| {
            let over = Arc::clone(&over);
            let builder = Builder::new().nice(Nice::new(nice).expect("in range"));
            builder.spawn_on(&runtime, move || spin_until(&over)).expect("memory")
        })
        .into();
    std::thread::sleep(Duration::from_millis(1500));
    let times: Vec<f64> = tasks.iter().map(|task| task.task().run_time().as_secs_f64()).collect();
    over.store(true, Ordering::Relaxed);
    let share = times[0] / times[2];
    // 1024 to 335. Whatever else runs on this core takes its time from all of them.
    assert!((2.6..3.6).contains(&share), "{times:?}: {share}");
    assert!((0.85..1.15).contains(&(times[0] / times[1])), "{times:?}");
}

#[test]
fn a_quota_holds_for_who_never_gives_way() {
    let runtime = runtime(1);
    let group = Group::new(&runtime, "a quarter", Shares::default());
    let quota = Bandwidth::new(Duration::from_millis(5), Duration::from_millis(20)).expect("in range");
    group.set_bandwidth(Some(quota));
    let over = Arc::new(AtomicBool::new(false));
    let spins = Arc::clone(&over);
    let hog = Builder::new().group(&group).spawn_on(&runtime, move || spin_until(&spins)).expect("memory");
    std::thread::sleep(Duration::from_millis(100));
    let (before, began) = (hog.task().run_time(), Instant::now());
    std::thread::sleep(Duration::from_millis(1000));
    let share = (hog.task().run_time() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    hog.join().expect("no panic");
    // Less if others use the core, never more.
    assert!(share < 0.27, "{share}");
    assert!(share > 0.05, "{share}");
}

#[test]
fn real_time_tasks_come_before_hogs() {
    let runtime = runtime(1);
    let over = Arc::new(AtomicBool::new(false));
    let hogs = hogs(&runtime, 3, &over);
    let order = Arc::new(Mutex::new(Vec::new()));
    let fifo = |priority, name: &'static str| {
        let order = Arc::clone(&order);
        let class = Class::Fifo(RtPriority::new(priority).expect("in range"));
        let body = move || {
            for _ in 0..3 {
                order.lock().expect("no panic").push(name);
                time::sleep(Duration::from_millis(2));
            }
        };
        Builder::new().class(class).spawn_on(&runtime, body).expect("memory")
    };
    let (low, high) = (fifo(10, "low"), fifo(20, "high"));
    low.join().expect("no panic");
    high.join().expect("no panic");
    // Hogs never end before this: had they been asked first, nothing would have come so far.
    over.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().expect("no panic"));
    assert_eq!(order.lock().expect("no panic").len(), 6);
}

#[test]
fn what_cannot_be_is_said() {
    let error = |builder: RuntimeBuilder| builder.build().expect_err("refused").to_string();
    let signal = libc::SIGKILL;
    assert!(error(builder(1).preempt_signal(signal)).starts_with("signal 9 cannot preempt tasks"));
    assert_eq!(error(builder(2).kernel_threads(3)), "3 kernel threads: 4 to 16384 are allowed for so many workers");
    extern "C" fn handler(_: libc::c_int) {}
    // SAFETY: a handler that does nothing, for a signal that nobody sends.
    unsafe { libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t) };
    let refused = builder(1).preempt_signal(libc::SIGUSR2).build();
    assert!(matches!(refused, Err(BuildError::SignalInUse { .. })), "{refused:?}");
    let runtime = builder(1).preempt_signal(libc::SIGRTMIN() + 3).build().expect("nobody uses that one");
    let over = Arc::new(AtomicBool::new(false));
    let hog = hogs(&runtime, 1, &over);
    runtime.spawn(move || over.store(true, Ordering::Relaxed)).join().expect("no panic");
    hog.into_iter().for_each(|hog| hog.join().expect("no panic"));
}
