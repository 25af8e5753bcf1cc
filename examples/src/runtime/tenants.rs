//! Three tenants on one machine: groups with weights 100 and 300, and one that may use a tenth of a core, however many tasks each brings.
//!
//! ```sh
//! cargo run --release --example tenants -- 2
//! ```
//!
//! Look at the shares: *small* brings ten tasks and *large* two, and still they get 1 : 3; *limited* gets its tenth and no more.

use fairground_runtime::sched::{Bandwidth, Shares};
use fairground_runtime::{Builder, Group, JoinHandle, Runtime, yield_now};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Works until it is told to stop, and lets others run every tenth of a millisecond.
fn work(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        yield_now();
    }
}

fn run(seconds: f64) -> Result<(), Box<dyn Error>> {
    let time = Duration::try_from_secs_f64(seconds)?;
    // One core, so that who shares with whom is plain to see.
    let runtime = Runtime::builder().workers(1).build()?;
    let small = Group::new(&runtime, "small", Shares::new(100)?);
    let large = Group::new(&runtime, "large", Shares::new(300)?);
    let limited = Group::new(&runtime, "limited", Shares::new(300)?);
    limited.set_bandwidth(Some(Bandwidth::new(Duration::from_millis(2), Duration::from_millis(20))?));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks: Vec<(&Group, JoinHandle<()>)> = Vec::new();
    for (group, number) in [(&small, 10), (&large, 2), (&limited, 1)] {
        for n in 0..number {
            let over = Arc::clone(&over);
            let name = format!("{}-{n}", group.name());
            tasks.push((group, Builder::new().name(name).group(group).spawn_on(&runtime, move || work(&over))?));
        }
    }
    println!("three tenants on one core, for {seconds} s");
    std::thread::sleep(time);
    let times: Vec<_> = tasks.iter().map(|(group, task)| (group.name(), task.task().run_time())).collect();
    let all: Duration = times.iter().map(|(_, time)| *time).sum();
    over.store(true, Ordering::Relaxed);
    for group in [&small, &large, &limited] {
        let own: Duration = times.iter().filter(|(name, _)| *name == group.name()).map(|(_, time)| *time).sum();
        let share = own.as_secs_f64() / all.as_secs_f64() * 100.0;
        println!("{:<8} {share:5.1} %  {}", group.name(), "#".repeat(share as usize / 2));
    }
    for (_, task) in tasks {
        task.join()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse::<f64>());
    let result = seconds.map_err(|error| format!("usage: tenants [SECONDS]: {error}").into()).and_then(run);
    if let Err(error) = result {
        eprintln!("tenants: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
