//! A task that wants to run each millisecond, beside four on the same core that compute and never give way: without preemption, and with it.
//!
//! ```sh
//! cargo run --release --example hogs -- 2
//! ```
//!
//! Look at how late the ticks are: without preemption the first one comes when the hogs are done. Then at the hogs: they get equal shares all the same.

use fairground_runtime::time::sleep_until;
use fairground_runtime::{Builder, Runtime, RuntimeBuilder};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(1);

/// Computes without a call of the runtime.
fn compute(end: Instant) {
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// How late each tick of that time was.
fn tick(time: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let mut due = begun + PERIOD;
    let mut late = Vec::new();
    while due < begun + time {
        sleep_until(due);
        // A late task has missed all ticks up to now.
        while due <= Instant::now() {
            late.push(due.elapsed());
            due += PERIOD;
        }
    }
    late.sort_unstable();
    late
}

fn run(what: &str, builder: RuntimeBuilder, time: Duration) -> Result<(), Box<dyn Error>> {
    let runtime = builder.workers(1).stall_warning(None).build()?;
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let ticker = runtime.spawn(move || {
        begins.store(true, Ordering::Relaxed);
        tick(time)
    });
    // It sleeps when the hogs come.
    while !begun.load(Ordering::Relaxed) {
        std::thread::sleep(PERIOD);
    }
    let end = Instant::now() + time;
    let hogs: Vec<_> = (0..4)
        .map(|n| Builder::new().name(format!("hog-{n}")).spawn_on(&runtime, move || compute(end)))
        .collect::<Result<_, _>>()?;
    std::thread::sleep(time * 9 / 10);
    let shares: Vec<String> =
        hogs.iter().map(|hog| format!("{:.0} ms", hog.task().run_time().as_secs_f64() * 1e3)).collect();
    let late = ticker.join()?;
    for hog in hogs {
        hog.join()?;
    }
    let of = |part: f64| late.get((late.len() as f64 * part) as usize).map_or(0.0, |late| late.as_secs_f64() * 1e3);
    println!("{what:<20} late by {:9.3} ms in the median, {:9.3} ms at most 1 time in 100", of(0.5), of(0.99));
    println!("{:<20} the hogs ran {}", "", shares.join(", "));
    Ok(())
}

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse::<f64>());
    let time = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let Some(time) = time.filter(|time| (0.1..=60.0).contains(&time.as_secs_f64())) else {
        eprintln!("usage: hogs [SECONDS], 0.1 to 60");
        return ExitCode::FAILURE;
    };
    println!("a tick each millisecond, and four tasks on the same core that compute for {time:?}");
    let both = run("without preemption", Runtime::builder(), time)
        // SAFETY: these tasks keep nothing that belongs to their kernel thread over a suspension point.
        .and_then(|()| run("with preemption", unsafe { Runtime::builder().migrating() }, time));
    match both {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hogs: {error}");
            ExitCode::FAILURE
        }
    }
}
