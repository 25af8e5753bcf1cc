//! The rows on smol: an `async-executor` with a thread for each worker, as smol's documentation sets one up.

use fairground_runtimes::measure::{Clocks, repeated};
use fairground_runtimes::memory::Parked;
use fairground_runtimes::mpsc::{CAPACITY, Received, SENDERS, message};
use fairground_runtimes::{End, Options, Row, check, cpus, echo, hog, skynet};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Executor, Task, Timer};
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The tasks' queue and those that wait for its threads.
static EXECUTOR: Executor<'static> = Executor::new();

fn main() -> ExitCode {
    fairground_runtimes::run(|options| {
        for _ in 0..options.workers {
            std::thread::spawn(|| smol::block_on(EXECUTOR.run(std::future::pending::<()>())));
        }
        row(options)
    })
}

fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    EXECUTOR.spawn(future)
}

fn row(options: &Options) -> Result<End, String> {
    // As a task, not in this thread, which is no worker.
    macro_rules! repeated_in_a_task {
        ($row:expr) => {
            Ok(repeated(options.seconds, |n| smol::block_on(spawn($row(n))))?.into())
        };
    }
    match options.row {
        Row::Yield => {
            let tasks = options.tasks as u64;
            repeated_in_a_task!(|n| yields(tasks, n))
        }
        Row::Spawn => repeated_in_a_task!(spawn_and_join),
        Row::Skynet => {
            let clocks = Clocks::start();
            skynet::check(smol::block_on(spawn(node(0, skynet::LEAVES))))?;
            Ok(clocks.outcome(skynet::TASKS).into())
        }
        Row::PingPong => repeated_in_a_task!(ping_pong),
        Row::PingPongAcross => ping_pong_across(options),
        Row::Mpsc => repeated_in_a_task!(many_to_one),
        Row::Parked => parked(options),
        Row::Echo => smol::block_on(serve(options)).map_err(|e| e.to_string()),
        Row::Hog => smol::block_on(spawn(hogs(options.seconds, options.slice_ms))),
    }
}

async fn yields(tasks: u64, n: u64) -> Result<u64, String> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut handles = Vec::new();
    for _ in 0..tasks {
        let begun = Arc::clone(&begun);
        handles.push(spawn(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            let mut done = 0;
            for _ in 0..n / tasks {
                yield_now().await;
                done += 1;
            }
            check("the number of tasks that ran in between", begun.load(Ordering::Relaxed), tasks)?;
            Ok::<u64, String>(done)
        }));
    }
    let mut done = 0;
    for handle in handles {
        done += handle.await?;
    }
    check("the number of yields", done, n / tasks * tasks)?;
    Ok(done)
}

async fn spawn_and_join(n: u64) -> Result<u64, String> {
    let batches = n.div_ceil(1000);
    let mut tasks = Vec::with_capacity(1000);
    for _ in 0..batches {
        tasks.extend((0..1000_u64).map(|index| spawn(async move { index })));
        let mut sum = 0;
        for task in tasks.drain(..) {
            sum += task.await;
        }
        check("the sum of a batch", sum, 999 * 500)?;
    }
    Ok(batches * 1000)
}

fn node(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let below = leaves / skynet::CHILDREN;
        let children: [_; skynet::CHILDREN as usize] =
            std::array::from_fn(|child| spawn(node(first + child as u64 * below, below)));
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    })
}

async fn answer_numbers(to_answer: Receiver<u64>, pong: Sender<u64>) -> Result<(), String> {
    while let Ok(number) = to_answer.recv().await {
        pong.send(number + 1).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

async fn ask_numbers(n: u64, ping: Sender<u64>, answers: Receiver<u64>) -> Result<(), String> {
    for number in 0..n {
        ping.send(number).await.map_err(|e| e.to_string())?;
        check("the answer", answers.recv().await.map_err(|e| e.to_string())?, number + 1)?;
    }
    Ok(())
}

async fn ping_pong(n: u64) -> Result<u64, String> {
    let ((ping, to_answer), (pong, answers)) = (bounded(1), bounded(1));
    let answering = spawn(answer_numbers(to_answer, pong));
    spawn(ask_numbers(n, ping, answers)).await?;
    answering.await?;
    Ok(n)
}

/// An executor's threads take whatever task is next, so each of the two has a thread of its own.
fn ping_pong_across(options: &Options) -> Result<End, String> {
    let [first, second] = cpus::two()?;
    let outcome = repeated(options.seconds, |n| {
        let ((ping, to_answer), (pong, answers)) = (bounded(1), bounded(1));
        let answering = std::thread::spawn(move || {
            cpus::pin(second)?;
            smol::block_on(answer_numbers(to_answer, pong))
        });
        let asking = std::thread::spawn(move || {
            cpus::pin(first)?;
            smol::block_on(ask_numbers(n, ping, answers))
        });
        for thread in [asking, answering] {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(n)
    })?;
    Ok(outcome.into())
}

async fn many_to_one(n: u64) -> Result<u64, String> {
    let (sender, receiver) = bounded::<u64>(CAPACITY);
    for number in 0..SENDERS {
        let sender = sender.clone();
        spawn(async move {
            for index in 0..n / SENDERS {
                if sender.send(message(number, index)).await.is_err() {
                    return;
                }
            }
        })
        .detach();
    }
    drop(sender);
    let receiving = spawn(async move {
        let mut received = Received::default();
        while let Ok(message) = receiver.recv().await {
            received.take(message)?;
        }
        received.all(n / SENDERS)
    });
    receiving.await
}

fn parked(options: &Options) -> Result<End, String> {
    static PARKED: Parked = Parked::new();
    let (gate, closed) = bounded::<()>(1);
    let tasks = options.tasks;
    let begin = || {
        let work = async move {
            for _ in 0..tasks {
                let closed = closed.clone();
                let waiting = async move {
                    PARKED.begin();
                    // An error: closed is what the gate will be.
                    let _ = closed.recv().await;
                    PARKED.end();
                };
                spawn(waiting).detach();
            }
        };
        smol::block_on(spawn(work));
        Ok(())
    };
    Ok(PARKED.measure(tasks, begin, || drop(gate))?.into())
}

async fn serve(options: &Options) -> std::io::Result<End> {
    let listener = TcpListener::bind(echo::ADDRESS).await?;
    echo::end_after_load(options, listener.local_addr()?);
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            spawn(answer(stream)).detach();
        }
    })
    .await
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; echo::BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn hogs(seconds: f64, slice: Option<u64>) -> Result<End, String> {
    let clocks = Clocks::start();
    let sleeper = spawn(async move {
        let mut ticks = hog::Ticks::new(seconds);
        loop {
            Timer::after(ticks.until_next()).await;
            if !ticks.woke() {
                return ticks;
            }
        }
    });
    // It has begun to sleep when the hogs come.
    Timer::after(Duration::from_millis(5)).await;
    let hogs: Vec<_> = (0..hog::HOGS)
        .map(|_| {
            let hog = hog::Hog::new(seconds, slice);
            spawn(async move {
                while hog.compute() {
                    yield_now().await;
                }
            })
        })
        .collect();
    for hog in hogs {
        hog.await;
    }
    Ok(sleeper.await.outcome(&clocks).into())
}
