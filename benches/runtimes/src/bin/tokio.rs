//! The rows on tokio's multi-thread runtime.

use fairground_runtimes::measure::{Clocks, repeated};
use fairground_runtimes::memory::Parked;
use fairground_runtimes::mpsc::{CAPACITY, Received, SENDERS, message};
use fairground_runtimes::{End, Options, Row, check, cpus, echo, hog, skynet};
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, yield_now};

fn main() -> ExitCode {
    fairground_runtimes::run(|options| {
        let runtime = Builder::new_multi_thread().worker_threads(options.workers).enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        // `tokio::spawn` asks for a thread that is within the runtime.
        let _guard = runtime.enter();
        row(options, &runtime)
    })
}

fn row(options: &Options, runtime: &Runtime) -> Result<End, String> {
    // As a task, not in this thread, which is no worker.
    macro_rules! repeated_in_a_task {
        ($row:expr) => {
            Ok(repeated(options.seconds, |n| runtime.block_on(join(tokio::spawn($row(n))))?)?.into())
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
            skynet::check(runtime.block_on(join(tokio::spawn(node(0, skynet::LEAVES))))?)?;
            Ok(clocks.outcome(skynet::TASKS).into())
        }
        Row::PingPong => repeated_in_a_task!(ping_pong),
        Row::PingPongAcross => ping_pong_across(options),
        Row::Mpsc => repeated_in_a_task!(many_to_one),
        Row::Parked => parked(options, runtime),
        Row::Echo => runtime.block_on(serve(options)).map_err(|e| e.to_string()),
        Row::Hog => runtime.block_on(join(tokio::spawn(hogs(options.seconds, options.slice_ms))))?,
    }
}

async fn join<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.await.map_err(|e| e.to_string())
}

async fn yields(tasks: u64, n: u64) -> Result<u64, String> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut handles = Vec::new();
    for _ in 0..tasks {
        let begun = Arc::clone(&begun);
        handles.push(tokio::spawn(async move {
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
        done += join(handle).await??;
    }
    check("the number of yields", done, n / tasks * tasks)?;
    Ok(done)
}

async fn spawn_and_join(n: u64) -> Result<u64, String> {
    let batches = n.div_ceil(1000);
    let mut tasks = Vec::with_capacity(1000);
    for _ in 0..batches {
        tasks.extend((0..1000_u64).map(|index| tokio::spawn(async move { index })));
        let mut sum = 0;
        for task in tasks.drain(..) {
            sum += join(task).await?;
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
            std::array::from_fn(|child| tokio::spawn(node(first + child as u64 * below, below)));
        let mut sum = 0;
        for child in children {
            sum += child.await.expect("no task of the tree panics");
        }
        sum
    })
}

async fn answer_numbers(mut to_answer: Receiver<u64>, pong: Sender<u64>) -> Result<(), String> {
    while let Some(number) = to_answer.recv().await {
        pong.send(number + 1).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

async fn ask_numbers(n: u64, ping: Sender<u64>, mut answers: Receiver<u64>) -> Result<(), String> {
    for number in 0..n {
        ping.send(number).await.map_err(|e| e.to_string())?;
        check("the answer", answers.recv().await.ok_or("the other task is gone")?, number + 1)?;
    }
    Ok(())
}

async fn ping_pong(n: u64) -> Result<u64, String> {
    let ((ping, to_answer), (pong, answers)) = (channel(1), channel(1));
    let answering = tokio::spawn(answer_numbers(to_answer, pong));
    join(tokio::spawn(ask_numbers(n, ping, answers))).await??;
    join(answering).await??;
    Ok(n)
}

/// A multi-thread runtime keeps both tasks on one worker, so each has a runtime of its own.
fn ping_pong_across(options: &Options) -> Result<End, String> {
    let [first, second] = cpus::two()?;
    let on = |cpu: usize| {
        cpus::pin(cpu)?;
        Builder::new_current_thread().build().map_err(|e| e.to_string())
    };
    let outcome = repeated(options.seconds, |n| {
        let ((ping, to_answer), (pong, answers)) = (channel(1), channel(1));
        let answering = std::thread::spawn(move || on(second)?.block_on(answer_numbers(to_answer, pong)));
        let asking = std::thread::spawn(move || on(first)?.block_on(ask_numbers(n, ping, answers)));
        for thread in [asking, answering] {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(n)
    })?;
    Ok(outcome.into())
}

async fn many_to_one(n: u64) -> Result<u64, String> {
    let (sender, mut receiver) = channel::<u64>(CAPACITY);
    for number in 0..SENDERS {
        let sender = sender.clone();
        tokio::spawn(async move {
            for index in 0..n / SENDERS {
                if sender.send(message(number, index)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let receiving = tokio::spawn(async move {
        let mut received = Received::default();
        while let Some(message) = receiver.recv().await {
            received.take(message)?;
        }
        received.all(n / SENDERS)
    });
    join(receiving).await?
}

fn parked(options: &Options, runtime: &Runtime) -> Result<End, String> {
    static PARKED: Parked = Parked::new();
    let gate = Arc::new(Semaphore::new(0));
    let tasks = options.tasks;
    let begin = || {
        let gate = Arc::clone(&gate);
        runtime.block_on(join(tokio::spawn(async move {
            for _ in 0..tasks {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    PARKED.begin();
                    // An error: closed is what the gate will be.
                    let _ = gate.acquire().await;
                    PARKED.end();
                });
            }
        })))
    };
    Ok(PARKED.measure(tasks, begin, || gate.close())?.into())
}

async fn serve(options: &Options) -> std::io::Result<End> {
    let listener = TcpListener::bind(echo::ADDRESS).await?;
    echo::end_after_load(options, listener.local_addr()?);
    join(tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    }))
    .await
    .map_err(std::io::Error::other)?
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
    let sleeper = tokio::spawn(async move {
        let mut ticks = hog::Ticks::new(seconds);
        loop {
            tokio::time::sleep(ticks.until_next()).await;
            if !ticks.woke() {
                return ticks;
            }
        }
    });
    // It has begun to sleep when the hogs come.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let hogs: Vec<_> = (0..hog::HOGS)
        .map(|_| {
            let hog = hog::Hog::new(seconds, slice);
            tokio::spawn(async move {
                while hog.compute() {
                    yield_now().await;
                }
            })
        })
        .collect();
    for hog in hogs {
        join(hog).await?;
    }
    Ok(join(sleeper).await?.outcome(&clocks).into())
}
