//! A thread that is asleep in a system call is not signalled: its cpu is taken without its knowledge.

use fairground_runtime::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
#[ignore = "counts interruptions, so nothing else may run beside it: make test-runtime runs it"]
fn sleeping_calls_are_not_interrupted() {
    // SAFETY: nothing here keeps anything of its kernel thread over a suspension point.
    let runtime = unsafe { Runtime::builder().migrating() }.workers(2).build().expect("a runtime");
    let over = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            runtime.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let interrupted: usize = {
        let sleepers: Vec<_> = (0..4)
            .map(|_| {
                runtime.spawn(|| {
                    (0..250)
                        .filter(|_| {
                            let time = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                            // SAFETY: a time that is read.
                            unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) != 0 }
                        })
                        .count()
                })
            })
            .collect();
        sleepers.into_iter().map(|task| task.join().expect("no panic")).sum()
    };
    over.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|hog| hog.join().expect("no panic"));
    println!("{interrupted} of 1,000 sleeps were interrupted");
    // With a tick for each, all would be.
    assert!(interrupted <= 50, "{interrupted} of 1,000 sleeps were interrupted");
}
