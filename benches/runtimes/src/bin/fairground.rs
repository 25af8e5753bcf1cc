//! The rows on Fairground.

use fairground_runtime::channel::{Receiver, Sender, bounded, unbounded};
use fairground_runtime::net::{TcpListener, TcpStream};
use fairground_runtime::time::sleep;
use fairground_runtime::{Builder, JoinHandle, Runtime, spawn, yield_now};
use fairground_runtimes::measure::{Clocks, Outcome, repeated};
use fairground_runtimes::memory::Parked;
use fairground_runtimes::mpsc::{CAPACITY, Received, SENDERS, message};
use fairground_runtimes::{End, Options, Row, check, cpus, echo, hog, skynet};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    fairground_runtimes::run(|options| {
        let builder = match options.row {
            // SAFETY: the tasks of this row keep nothing of their kernel threads.
            Row::Hog => unsafe { Runtime::builder().migrating() },
            _ => Runtime::builder(),
        };
        let runtime = builder.workers(options.workers).build().map_err(|e| e.to_string())?;
        row(options, &runtime)
    })
}

fn join<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.join().map_err(|_| "a task panicked".into())
}

fn row(options: &Options, runtime: &Runtime) -> Result<End, String> {
    let (tasks, seconds, slice) = (options.tasks as u64, options.seconds, options.slice_ms);
    match options.row {
        Row::Yield => repeated_in_a_task(runtime, seconds, move |n| yields(tasks, n)),
        Row::Spawn => repeated_in_a_task(runtime, seconds, spawn_and_join),
        Row::Skynet => runtime
            .run(|| {
                let clocks = Clocks::start();
                skynet::check(node(0, skynet::LEAVES)?)?;
                Ok::<Outcome, String>(clocks.outcome(skynet::TASKS))
            })
            .map(End::from),
        Row::PingPong => repeated_in_a_task(runtime, seconds, |n| ping_pong(n, None)),
        Row::PingPongAcross => {
            let both = cpus::two()?;
            repeated_in_a_task(runtime, seconds, move |n| ping_pong(n, Some(both)))
        }
        Row::Mpsc => repeated_in_a_task(runtime, seconds, many_to_one),
        Row::Parked => parked(options, runtime),
        Row::Echo => {
            let options = options.clone();
            runtime.run(move || serve(&options)).map_err(|e| e.to_string())
        }
        Row::Hog => runtime.run(move || hogs(seconds, slice)),
    }
}

fn repeated_in_a_task(
    runtime: &Runtime,
    seconds: f64,
    row: impl Fn(u64) -> Result<u64, String> + Send + Copy + 'static,
) -> Result<End, String> {
    Ok(repeated(seconds, |n| runtime.run(move || row(n)))?.into())
}

fn yields(tasks: u64, n: u64) -> Result<u64, String> {
    let begun = Arc::new(AtomicU64::new(0));
    let task = |_| {
        let begun = Arc::clone(&begun);
        spawn(move || {
            begun.fetch_add(1, Ordering::Relaxed);
            while begun.load(Ordering::Relaxed) < tasks {
                yield_now();
            }
            let mut done = 0;
            for _ in 0..n / tasks {
                yield_now();
                done += 1;
            }
            check("the number of tasks that ran in between", begun.load(Ordering::Relaxed), tasks)?;
            Ok::<u64, String>(done)
        })
    };
    let handles: Vec<_> = (0..tasks).map(task).collect();
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

fn ping_pong(n: u64, on: Option<[usize; 2]>) -> Result<u64, String> {
    let ((ping, to_answer), (pong, answers)) = (bounded::<u64>(1), bounded::<u64>(1));
    let answering = spawn_on(on.map(|cpus| cpus[1]), move || answer_numbers(&to_answer, &pong))?;
    let asking = spawn_on(on.map(|cpus| cpus[0]), move || ask_numbers(n, &ping, &answers))?;
    join(asking)??;
    join(answering)??;
    Ok(n)
}

fn spawn_on<T: Send + 'static>(
    cpu: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, String> {
    match cpu {
        Some(cpu) => Builder::new().cpu(cpu).spawn(body).map_err(|e| e.to_string()),
        None => Ok(spawn(body)),
    }
}

fn answer_numbers(to_answer: &Receiver<u64>, pong: &Sender<u64>) -> Result<(), String> {
    while let Ok(number) = to_answer.recv() {
        pong.send(number + 1).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn ask_numbers(n: u64, ping: &Sender<u64>, answers: &Receiver<u64>) -> Result<(), String> {
    for number in 0..n {
        ping.send(number).map_err(|e| e.to_string())?;
        check("the answer", answers.recv().map_err(|e| e.to_string())?, number + 1)?;
    }
    Ok(())
}

fn many_to_one(n: u64) -> Result<u64, String> {
    let (sender, receiver) = bounded::<u64>(CAPACITY);
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let sender = sender.clone();
            spawn(move || (0..n / SENDERS).all(|index| sender.send(message(number, index)).is_ok()))
        })
        .collect();
    drop(sender);
    let receiving = spawn(move || {
        let mut received = Received::default();
        while let Ok(message) = receiver.recv() {
            received.take(message)?;
        }
        received.all(n / SENDERS)
    });
    for sender in senders {
        check("whether all was sent", join(sender)?, true)?;
    }
    join(receiving)?
}

fn parked(options: &Options, runtime: &Runtime) -> Result<End, String> {
    static PARKED: Parked = Parked::new();
    let (gate, closed) = unbounded::<()>();
    let tasks = options.tasks;
    let begin = || {
        runtime.run(move || {
            for _ in 0..tasks {
                let closed = closed.clone();
                spawn(move || {
                    PARKED.begin();
                    // An error: closed is what the gate will be.
                    let _ = closed.recv();
                    PARKED.end();
                });
            }
        });
        Ok(())
    };
    Ok(PARKED.measure(tasks, begin, || drop(gate))?.into())
}

fn serve(options: &Options) -> std::io::Result<End> {
    let listener = TcpListener::bind(echo::ADDRESS)?;
    echo::end_after_load(options, listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        spawn(move || answer(stream));
    }
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
            sleep(ticks.until_next());
            if !ticks.woke() {
                return ticks;
            }
        }
    });
    // It has begun to sleep when the hogs come.
    sleep(Duration::from_millis(5));
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
