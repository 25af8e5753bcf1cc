//! The rows on may. It has no bounded channel, and a task cannot be kept on a worker: whoever wakes it takes it.

use fairground_runtimes::measure::{Clocks, Outcome, repeated};
use fairground_runtimes::memory::Parked;
use fairground_runtimes::mpsc::{Received, SENDERS, message};
use fairground_runtimes::{End, Options, Row, check, echo, hog, skynet};
use may::coroutine::{self, JoinHandle, yield_now};
use may::net::{TcpListener, TcpStream};
use may::sync::Semphore;
use may::sync::mpsc::channel;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    fairground_runtimes::run(|options| {
        may::config().set_workers(options.workers);
        row(options)
    })
}

fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: no task here keeps something thread-local over a suspension, or needs more stack than may gives it.
    unsafe { coroutine::spawn(body) }
}

fn join<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.join().map_err(|_| "a task panicked".into())
}

fn row(options: &Options) -> Result<End, String> {
    let (tasks, seconds, slice) = (options.tasks as u64, options.seconds, options.slice_ms);
    match options.row {
        Row::Yield => repeated_in_a_task(seconds, move |n| yields(tasks, n)),
        Row::Spawn => repeated_in_a_task(seconds, spawn_and_join),
        Row::Skynet => join(spawn(|| {
            let clocks = Clocks::start();
            skynet::check(node(0, skynet::LEAVES)?)?;
            Ok::<Outcome, String>(clocks.outcome(skynet::TASKS))
        }))?
        .map(End::from),
        Row::PingPong => repeated_in_a_task(seconds, ping_pong),
        Row::PingPongAcross => Ok(End::Unsupported("a woken task goes to the waker's worker")),
        Row::Mpsc => repeated_in_a_task(seconds, many_to_one),
        Row::Parked => parked(options),
        Row::Echo => serve(options).map_err(|e| e.to_string()),
        Row::Hog => join(spawn(move || hogs(seconds, slice)))?,
    }
}

fn repeated_in_a_task(
    seconds: f64,
    row: impl Fn(u64) -> Result<u64, String> + Send + Copy + 'static,
) -> Result<End, String> {
    Ok(repeated(seconds, |n| join(spawn(move || row(n)))?)?.into())
}

fn yields(tasks: u64, n: u64) -> Result<u64, String> {
    let begun = Arc::new(AtomicU64::new(0));
    let tasks_of = |_| {
        let begun = Arc::clone(&begun);
        spawn(move || {
            begun.fetch_add(1, Ordering::Relaxed);
            let mut done = 0;
            for _ in 0..n / tasks {
                yield_now();
                done += 1;
            }
            check("the number of tasks that ran in between", begun.load(Ordering::Relaxed), tasks)?;
            Ok::<u64, String>(done)
        })
    };
    let handles: Vec<_> = (0..tasks).map(tasks_of).collect();
    let mut done = 0;
    for handle in handles {
        done += join(handle)??;
    }
    check("the number of yields", done, n / tasks * tasks)?;
    Ok(done)
}

fn spawn_and_join(n: u64) -> Result<u64, String> {
    let batches = n.div_ceil(1000);
    let mut tasks = Vec::with_capacity(1000);
    for _ in 0..batches {
        tasks.extend((0..1000_u64).map(|index| spawn(move || index)));
        let mut sum = 0;
        for task in tasks.drain(..) {
            sum += join(task)?;
        }
        check("the sum of a batch", sum, 999 * 500)?;
    }
    Ok(batches * 1000)
}

fn node(first: u64, leaves: u64) -> Result<u64, String> {
    if leaves == 1 {
        return Ok(first);
    }
    let below = leaves / skynet::CHILDREN;
    let children: [_; skynet::CHILDREN as usize] =
        std::array::from_fn(|child| spawn(move || node(first + child as u64 * below, below)));
    children.into_iter().map(|child| join(child)?).sum()
}

fn ping_pong(n: u64) -> Result<u64, String> {
    let (ping, to_answer) = channel::<u64>();
    let (pong, answers) = channel::<u64>();
    let answering =
        spawn(move || to_answer.iter().try_for_each(|number| pong.send(number + 1).map_err(|e| e.to_string())));
    let asking = spawn(move || {
        for number in 0..n {
            ping.send(number).map_err(|e| e.to_string())?;
            check("the answer", answers.recv().map_err(|e| e.to_string())?, number + 1)?;
        }
        Ok::<(), String>(())
    });
    join(asking)??;
    join(answering)??;
    Ok(n)
}

fn many_to_one(n: u64) -> Result<u64, String> {
    let (sender, receiver) = channel::<u64>();
    for number in 0..SENDERS {
        let sender = sender.clone();
        spawn(move || (0..n / SENDERS).all(|index| sender.send(message(number, index)).is_ok()));
    }
    drop(sender);
    join(spawn(move || {
        let mut received = Received::default();
        receiver.iter().try_for_each(|message| received.take(message))?;
        received.all(n / SENDERS)
    }))?
}

fn parked(options: &Options) -> Result<End, String> {
    static PARKED: Parked = Parked::new();
    let gate = Arc::new(Semphore::new(0));
    let tasks = options.tasks;
    let begin = || {
        let gate = Arc::clone(&gate);
        join(spawn(move || {
            for _ in 0..tasks {
                let gate = Arc::clone(&gate);
                spawn(move || {
                    PARKED.begin();
                    gate.wait();
                    PARKED.end();
                });
            }
        }))
    };
    let release = || (0..tasks).for_each(|_| gate.post());
    Ok(PARKED.measure(tasks, begin, release)?.into())
}

fn serve(options: &Options) -> std::io::Result<End> {
    let listener = TcpListener::bind(echo::ADDRESS)?;
    echo::end_after_load(options, listener.local_addr()?);
    join(spawn(move || {
        loop {
            let (stream, _) = listener.accept()?;
            spawn(move || answer(stream));
        }
    }))
    .map_err(std::io::Error::other)?
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; echo::BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn hogs(seconds: f64, slice: Option<u64>) -> Result<End, String> {
    let clocks = Clocks::start();
    let sleeper = spawn(move || {
        let mut ticks = hog::Ticks::new(seconds);
        loop {
            coroutine::sleep(ticks.until_next());
            if !ticks.woke() {
                return ticks;
            }
        }
    });
    // It has begun to sleep when the hogs come.
    coroutine::sleep(Duration::from_millis(5));
    let hogs: Vec<_> = (0..hog::HOGS)
        .map(|_| {
            let hog = hog::Hog::new(seconds, slice);
            spawn(move || {
                while hog.compute() {
                    yield_now();
                }
            })
        })
        .collect();
    hogs.into_iter().try_for_each(join)?;
    Ok(join(sleeper)?.outcome(&clocks).into())
}
