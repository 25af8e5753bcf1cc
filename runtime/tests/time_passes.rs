//! Sleeping, timeouts, intervals, and calls on helper threads.

use fairground_runtime::time::{Duration, Instant, MissedTicks, interval, interval_at, sleep, sleep_until, timeout};
use fairground_runtime::{Runtime, channel, scope, spawn, unblock, yield_now};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const MS: Duration = Duration::from_millis(1);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).pin(false).build().expect("a runtime")
}

#[test]
fn nobody_sleeps_shorter_than_asked_and_who_is_due_later_sleeps_on() {
    runtime(1).run(|| {
        let start = Instant::now();
        let late = spawn(|| sleep(3_600_000 * MS));
        let tasks = [30_u32, 10, 50, 20, 40].map(|ms| {
            spawn(move || {
                sleep_until(start + MS * ms);
                assert!(start.elapsed() >= MS * ms);
            })
        });
        tasks.into_iter().for_each(|task| task.join().expect("no panic"));
        assert!(!late.is_finished());
        late.cancel();
        assert!(late.join().expect_err("cancelled").is_cancelled());
    });
}

#[test]
fn sleeping_in_a_plain_thread_takes_no_wake_up_away() {
    std::thread::current().unpark();
    let before = Instant::now();
    sleep(5 * MS);
    sleep_until(before + 10 * MS);
    assert!(before.elapsed() >= 10 * MS);
    // It is kept: this returns at once, and would not without it.
    std::thread::park();
    sleep_until(before);
}

#[test]
fn a_task_that_is_unparked_sleeps_on() {
    runtime(1).run(|| {
        let sleeper = spawn(|| {
            let before = Instant::now();
            sleep(20 * MS);
            before.elapsed()
        });
        while !sleeper.is_finished() {
            sleeper.task().unpark();
            yield_now();
        }
        assert!(sleeper.join().expect("no panic") >= 20 * MS);
    });
}

#[test]
fn ten_thousand_sleep_at_once() {
    let runtime = runtime(2);
    let awake = AtomicU32::new(0);
    runtime.run(|| {
        scope(|scope| {
            for n in 0..10_000_u32 {
                let awake = &awake;
                scope.spawn(move || {
                    sleep(Duration::from_micros(u64::from(n * 7919 % 20_000)));
                    awake.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    });
    assert_eq!(awake.into_inner(), 10_000);
}

#[test]
fn what_ends_in_time_has_a_result_and_what_does_not_is_unwound() {
    struct Noted<'a>(&'a AtomicBool);
    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let both = || {
        let mut lent = 1;
        assert_eq!(timeout(Duration::MAX, || lent += 1), Ok(()));
        assert_eq!(lent, 2);
        let (started, unwound) = (AtomicBool::new(false), AtomicBool::new(false));
        let before = Instant::now();
        let result = timeout(10 * MS, || {
            let _noted = Noted(&unwound);
            started.store(true, Ordering::Relaxed);
            let (_keep, receiver) = channel::unbounded::<()>();
            receiver.recv()
        });
        let elapsed = result.expect_err("nothing is sent");
        assert!(before.elapsed() >= 10 * MS);
        // On a busy machine it may not have come to start.
        assert_eq!(started.into_inner(), unwound.into_inner());
        assert_eq!(std::io::Error::from(elapsed).kind(), std::io::ErrorKind::TimedOut);
    };
    runtime(1).run(both);
    both();
}

#[test]
fn a_panic_goes_through_a_timeout() {
    let runtime = runtime(1);
    let caught = std::panic::catch_unwind(|| runtime.run(|| timeout(60_000 * MS, || panic!("within"))));
    assert_eq!(caught.expect_err("a panic").downcast_ref::<&str>(), Some(&"within"));
}

#[test]
fn cancelling_who_waits_with_a_timeout_ends_both() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    struct Noted;
    impl Drop for Noted {
        fn drop(&mut self) {
            ENDED.store(true, Ordering::Relaxed);
        }
    }
    runtime(1).run(|| {
        let waiting = spawn(|| {
            timeout(Duration::MAX, || {
                let _noted = Noted;
                sleep(Duration::MAX);
            })
        });
        sleep(5 * MS);
        waiting.cancel();
        assert!(waiting.join().expect_err("cancelled").is_cancelled());
        assert!(ENDED.load(Ordering::Relaxed));
    });
}

#[test]
fn ticks_are_no_earlier_than_due_and_a_late_one_is_made_up_for() {
    runtime(1).run(|| {
        let start = Instant::now();
        let mut ticks = interval_at(start + 5 * MS, 5 * MS).expect("a period");
        for n in 1..=4_u32 {
            assert_eq!(ticks.tick(), start + 5 * MS * n);
            assert!(start.elapsed() >= 5 * MS * n);
        }
        sleep_until(start + 52 * MS);
        // Those of 25 to 50 have passed, and come at once.
        for n in 5..=10_u32 {
            assert_eq!(ticks.tick(), start + 5 * MS * n);
        }
        let mut ticks = interval(5 * MS).expect("a period").missed_ticks(MissedTicks::Skip);
        let first = ticks.tick();
        sleep(12 * MS);
        ticks.tick();
        let next = ticks.tick();
        assert!(next >= first + 15 * MS && (next - first).as_nanos().is_multiple_of((5 * MS).as_nanos()));
        assert!(interval(Duration::ZERO).is_err());
    });
}

#[test]
fn a_call_that_blocks_does_so_elsewhere() {
    let runtime = runtime(1);
    runtime.run(|| {
        // Blocks for ever on this cpu's only thread, unless it is done elsewhere.
        let (sender, receiver) = std::sync::mpsc::channel();
        let blocked = spawn(move || unblock(move || receiver.recv().expect("sent")));
        yield_now();
        sender.send(7).expect("it listens");
        assert_eq!(blocked.join().expect("no panic"), 7);
        let panicked = spawn(|| unblock(|| panic!("elsewhere")));
        let error = panicked.join().map(|(): ()| ()).expect_err("a panic");
        assert!(error.to_string().contains("elsewhere"), "{error}");
    });
    assert_eq!(unblock(|| 8), 8);
}

#[test]
fn more_calls_than_helpers_are_all_done() {
    runtime(2).run(|| {
        let calls: Vec<_> = (0..2000_u32)
            .map(|n| {
                spawn(move || {
                    unblock(move || {
                        std::thread::sleep(Duration::from_micros(200));
                        n
                    })
                })
            })
            .collect();
        let sum: u32 = calls.into_iter().map(|call| call.join().expect("no panic")).sum();
        assert_eq!(sum, 1999 * 2000 / 2);
    });
}

#[test]
fn who_is_cancelled_leaves_its_call_behind() {
    runtime(1).run(|| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let calling = spawn(move || unblock(move || receiver.recv().is_err()));
        sleep(5 * MS);
        calling.cancel();
        assert!(calling.join().expect_err("cancelled").is_cancelled());
        drop(sender);
    });
}
