//! A task that holds its cpu while others wait is named, with where it is. The test starts itself, to read what is said.

use fairground_runtime::{Builder, Runtime};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[inline(never)]
fn a_function_that_computes(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn stalls(how: &str) {
    let runtime =
        Runtime::builder().workers(1).stall_warning(Some(Duration::from_millis(50))).build().expect("a runtime");
    let over = Arc::new(AtomicBool::new(false));
    let (flag, begun) = (Arc::clone(&over), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&begun);
    let computes = how == "computes";
    let hog = Builder::new().name("hog").spawn_on(&runtime, move || {
        begins.store(true, Ordering::Relaxed);
        if computes {
            a_function_that_computes(&flag);
        } else {
            std::thread::sleep(Duration::from_millis(400));
        }
    });
    let hog = hog.expect("memory");
    while !begun.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    let waits = runtime.spawn(|| ());
    std::thread::sleep(Duration::from_millis(400));
    over.store(true, Ordering::Relaxed);
    hog.join().expect("no panic");
    waits.join().expect("no panic");
}

fn told(how: &str) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let name = "who_holds_a_cpu_is_named";
    let output = command.args([name, "--exact", "--nocapture"]).env("FAIRGROUND_STALL", how).output().expect("a child");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn who_holds_a_cpu_is_named() {
    if let Ok(how) = std::env::var("FAIRGROUND_STALL") {
        return stalls(&how);
    }
    let began = Instant::now();
    let text = told("computes");
    assert_eq!(text.matches("'hog' has held cpu 0 for 0.").count(), 1, "once: {text}");
    assert!(text.contains("and 1 wait for it"), "{text}");
    assert!(text.contains("a_function_that_computes"), "{text}");
    let text = told("sleeps");
    assert_eq!(text.matches("'hog' has held cpu 0 for 0.").count(), 1, "once: {text}");
    assert!(text.contains("it is blocked in the kernel, in system call"), "{text} {:?}", began.elapsed());
}
