//! Tasks: what a program sees of their lives.

use fairground_runtime::task::{Task, TaskState};
use fairground_runtime::{Builder, Runtime, SpawnError, scope, spawn, yield_now};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).pin(false).build().expect("a runtime")
}

#[test]
fn results_come_back_from_many_tasks_on_one_and_on_several_cpus() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let sum: u64 = runtime.run(|| {
            let tasks: Vec<_> = (0..10_000).map(|n| spawn(move || n)).collect();
            tasks.into_iter().map(|task| task.join().expect("no panic")).sum()
        });
        assert_eq!(sum, 9_999 * 10_000 / 2);
        assert_eq!(runtime.live_tasks(), 0);
    }
}

#[test]
fn a_panic_ends_its_task_alone_and_reaches_join() {
    runtime(2).run(|| {
        let bad = spawn(|| panic!("as planned"));
        let good = spawn(|| 7);
        let error = bad.join().map(|(): ()| ()).expect_err("it panicked");
        assert!(error.is_panic() && error.to_string().contains("as planned"), "{error}");
        assert_eq!(good.join().expect("no panic"), 7);
    });
}

#[test]
fn run_lends_what_is_around_it_and_hands_panics_on() {
    let runtime = runtime(2);
    let words = ["a".to_owned(), "b".to_owned()];
    assert_eq!(runtime.run(|| words.concat()), "ab");
    let caught = std::panic::catch_unwind(|| runtime.run(|| panic!("through run")));
    assert_eq!(caught.expect_err("a panic").downcast_ref::<&str>(), Some(&"through run"));
}

#[test]
fn tasks_that_yield_take_turns() {
    let runtime = runtime(1);
    let turns = Mutex::new(Vec::new());
    runtime.run(|| {
        scope(|scope| {
            for name in ["a", "b"] {
                let turns = &turns;
                scope.spawn(move || {
                    for _ in 0..50 {
                        turns.lock().expect("not poisoned").push(name);
                        yield_now();
                    }
                });
            }
        });
    });
    let turns = turns.into_inner().expect("not poisoned");
    assert_eq!(turns.len(), 100);
    let changes = turns.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 10, "they ran one after the other: {changes} changes in {turns:?}");
}

#[test]
fn a_cancelled_task_unwinds_at_its_next_suspension_point() {
    struct Noted(Arc<AtomicU32>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    runtime(1).run(|| {
        let noted = Noted(Arc::clone(&dropped));
        let task = spawn(move || {
            let _noted = noted;
            loop {
                yield_now();
            }
        });
        yield_now();
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        task.cancel();
        assert!(task.join().map(|(): ()| ()).expect_err("cancelled").is_cancelled());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        // One that has not started does not start.
        let noted = Noted(Arc::clone(&dropped));
        let task = spawn(move || drop(noted));
        task.cancel();
        assert!(task.join().expect_err("cancelled").is_cancelled());
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_stopped_task_rests_until_it_is_resumed() {
    runtime(1).run(|| {
        let steps = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&steps);
        let handle = spawn(move || {
            for _ in 0..10 {
                theirs.fetch_add(1, Ordering::Relaxed);
                yield_now();
            }
        });
        let task = handle.task();
        yield_now();
        task.stop();
        (0..5).for_each(|_| yield_now());
        let seen = steps.load(Ordering::Relaxed);
        assert_eq!(task.state(), TaskState::Stopped);
        (0..5).for_each(|_| yield_now());
        assert_eq!(steps.load(Ordering::Relaxed), seen, "it went on while it was stopped");
        task.resume();
        handle.join().expect("no panic");
        assert_eq!(steps.load(Ordering::Relaxed), 10);
        assert_eq!(task.state(), TaskState::Dead);
    });
}

#[test]
fn names_ids_and_parents_are_known() {
    runtime(1).run(|| {
        let me = Task::current().expect("a task");
        let child = Builder::new().name("child").spawn(|| Task::current().expect("a task")).expect("spawned");
        let child = child.join().expect("no panic");
        assert_eq!(child.name(), Some("child"));
        assert_eq!(child.parent(), Some(me.id()));
        assert_ne!(child.id(), me.id());
        let [rests, ends] = [(); 2].map(|()| spawn(fairground_runtime::yield_now));
        let ids = |tasks: Vec<Task>| tasks.iter().map(Task::id).collect::<Vec<_>>();
        assert_eq!(ids(me.children()), [rests.task().id(), ends.task().id()]);
        ends.join().expect("no panic");
        rests.join().expect("no panic");
        assert_eq!(ids(me.children()), []);
    });
    assert!(Task::current().is_none());
}

#[test]
fn a_cpu_that_is_not_there_is_an_error_with_the_number() {
    let runtime = runtime(2);
    let error = Builder::new().cpu(2).spawn_on(&runtime, || ()).expect_err("there are two");
    assert!(matches!(error, SpawnError::NoSuchCpu { .. }) && error.to_string().contains("cpu 2"), "{error}");
    for workers in [0, 1025] {
        let error = Runtime::builder().workers(workers).build().expect_err("not allowed");
        assert!(error.to_string().contains(&format!("{workers} workers: 1 to 1024")), "{error}");
    }
}

#[test]
fn closures_and_results_of_any_size_and_alignment() {
    #[repr(align(128))]
    struct Aligned(u8);
    runtime(2).run(|| {
        let large = [7_u64; 1000];
        let task = spawn(move || large);
        assert_eq!(task.join().expect("no panic"), large);
        let aligned = Aligned(3);
        let task = spawn(move || {
            assert!((&raw const aligned).is_aligned());
            aligned
        });
        let aligned = task.join().expect("no panic");
        assert_eq!(aligned.0, 3);
        // A result that nobody takes is dropped.
        let shared = Arc::new(());
        let theirs = Arc::clone(&shared);
        let task = spawn(move || theirs);
        while !task.is_finished() {
            yield_now();
        }
        drop(task);
        while Arc::strong_count(&shared) != 1 {
            yield_now();
        }
    });
}

#[test]
fn a_scope_waits_for_its_tasks_and_lends_to_them() {
    runtime(2).run(|| {
        let mut numbers = [1, 2, 3];
        let total = AtomicUsize::new(0);
        scope(|scope| {
            for number in &mut numbers {
                let total = &total;
                scope.spawn(move || {
                    yield_now();
                    *number *= 2;
                    total.fetch_add(*number, Ordering::Relaxed);
                });
            }
        });
        assert_eq!((numbers, total.into_inner()), ([2, 4, 6], 12));
    });
    let outside = std::panic::catch_unwind(|| {
        scope(|scope| {
            scope.spawn(|| panic!("unseen"));
        });
    });
    assert!(outside.is_err(), "a panic that nobody joined is the scope's");
    let late = std::panic::catch_unwind(|| {
        scope(|scope| {
            let handle = scope.spawn(|| panic!("unseen"));
            while !handle.is_finished() {
                std::thread::yield_now();
            }
            drop(handle);
        });
    });
    assert!(late.is_err(), "also if the handle goes after the task");
    scope(|scope| assert!(scope.spawn(|| panic!("seen")).join().is_err()));
}

#[test]
fn dropping_a_runtime_ends_what_is_left() {
    let dropped = Arc::new(());
    let runtime = runtime(2);
    for _ in 0..100 {
        let theirs = Arc::clone(&dropped);
        runtime.spawn(move || {
            let _theirs = theirs;
            loop {
                yield_now();
            }
        });
    }
    drop(runtime);
    assert_eq!(Arc::strong_count(&dropped), 1);
}

/// While a task waits as it unwinds, its kernel thread counts as panicking; others were not unwound then, and slept on for ever.
#[test]
fn who_is_cancelled_ends_though_another_waits_for_it_as_it_is_cancelled_itself() {
    runtime(1).run(|| {
        let child = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&child);
        let owner = spawn(move || {
            scope(|scope| {
                let task = scope.spawn(|| fairground_runtime::time::sleep(std::time::Duration::MAX)).task();
                *theirs.lock().expect("not poisoned") = Some(task);
            });
        });
        let child = loop {
            yield_now();
            if let Some(child) = child.lock().expect("not poisoned").take() {
                break child;
            }
        };
        owner.cancel();
        (0..5).for_each(|_| yield_now());
        assert!(!owner.is_finished(), "it did not wait for what borrows from it");
        child.cancel();
        assert!(owner.join().expect_err("cancelled").is_cancelled());
        assert_eq!(child.state(), TaskState::Dead);
    });
}

#[test]
fn a_result_that_nobody_takes_is_dropped_by_the_task() {
    struct Asks(Arc<Mutex<Option<bool>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            *self.0.lock().expect("not poisoned") = Some(Task::current().is_some());
            yield_now();
        }
    }
    let in_a_task = Arc::new(Mutex::new(None));
    let theirs = Asks(Arc::clone(&in_a_task));
    let runtime = runtime(1);
    runtime.run(|| drop(spawn(move || theirs)));
    while runtime.live_tasks() != 0 {
        std::thread::yield_now();
    }
    assert_eq!(*in_a_task.lock().expect("not poisoned"), Some(true), "on the cpu's own stack nothing can wait");
}
