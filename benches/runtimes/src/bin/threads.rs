//! The rows on threads of the operating system. Their scheduler is the kernel's, so `--workers` is what the affinity of the
//! process makes of it.

use fairground_runtimes::measure::{Clocks, repeated};
use fairground_runtimes::memory::Parked;
use fairground_runtimes::mpsc::{CAPACITY, Received, SENDERS, message};
use fairground_runtimes::{End, Options, Row, check, cpus, echo, hog, skynet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// The least that glibc takes is 16 KiB; this is what a careful user of many threads would set.
const STACK: usize = 64 << 10;

fn main() -> ExitCode {
    fairground_runtimes::run(|options| match options.row {
        Row::Yield => yields(options),
        Row::Spawn => Ok(repeated(options.seconds, spawn_and_join)?.into()),
        Row::Skynet => {
            let clocks = Clocks::start();
            skynet::check(node(0, skynet::LEAVES)?)?;
            Ok(clocks.outcome(skynet::TASKS).into())
        }
        Row::PingPong => {
            let cpu = cpus::allowed()[0];
            ping_pong(options, [cpu, cpu])
        }
        Row::PingPongAcross => ping_pong(options, cpus::two()?),
        Row::Mpsc => Ok(repeated(options.seconds, many_to_one)?.into()),
        Row::Parked => parked(options),
        Row::Echo => serve(options).map_err(|e| e.to_string()),
        Row::Hog => hogs(options),
    })
}

fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, String> {
    thread::Builder::new().stack_size(STACK).spawn(body).map_err(|e| format!("cannot start a thread: {e}"))
}

fn join<T>(thread: JoinHandle<T>) -> Result<T, String> {
    thread.join().map_err(|_| "a thread panicked".into())
}

fn yields(options: &Options) -> Result<End, String> {
    let tasks = options.tasks as u64;
    let outcome = repeated(options.seconds, |n| {
        let barrier = Arc::new(Barrier::new(options.tasks));
        let threads: Vec<_> = (0..tasks)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                spawn(move || {
                    barrier.wait();
                    (0..n / tasks).map(|_| thread::yield_now()).count() as u64
                })
            })
            .collect::<Result<_, _>>()?;
        let done = threads.into_iter().map(join).sum::<Result<u64, _>>()?;
        check("the number of yields", done, n / tasks * tasks)?;
        Ok(done)
    })?;
    Ok(outcome.into())
}

fn spawn_and_join(n: u64) -> Result<u64, String> {
    let batches = n.div_ceil(1000);
    for _ in 0..batches {
        let threads: Vec<_> = (0..1000_u64).map(|index| spawn(move || index)).collect::<Result<_, _>>()?;
        check("the sum of a batch", threads.into_iter().map(join).sum::<Result<u64, _>>()?, 999 * 500)?;
    }
    Ok(batches * 1000)
}

fn node(first: u64, leaves: u64) -> Result<u64, String> {
    if leaves == 1 {
        return Ok(first);
    }
    let below = leaves / skynet::CHILDREN;
    let children: Vec<_> = (0..skynet::CHILDREN)
        .map(|child| spawn(move || node(first + child * below, below)))
        .collect::<Result<_, _>>()?;
    children.into_iter().map(|child| join(child)?).sum()
}

fn ping_pong(options: &Options, [first, second]: [usize; 2]) -> Result<End, String> {
    let outcome = repeated(options.seconds, |n| {
        let (ping, to_answer) = sync_channel::<u64>(1);
        let (pong, answers) = sync_channel::<u64>(1);
        let answering = spawn(move || {
            cpus::pin(second)?;
            to_answer.iter().try_for_each(|number| pong.send(number + 1).map_err(|e| e.to_string()))
        })?;
        let asking = spawn(move || {
            cpus::pin(first)?;
            for number in 0..n {
                ping.send(number).map_err(|e| e.to_string())?;
                check("the answer", answers.recv().map_err(|e| e.to_string())?, number + 1)?;
            }
            Ok::<_, String>(())
        })?;
        join(asking)??;
        join(answering)??;
        Ok(n)
    })?;
    Ok(outcome.into())
}

fn many_to_one(n: u64) -> Result<u64, String> {
    let (sender, receiver) = sync_channel::<u64>(CAPACITY);
    let threads: Vec<_> = (0..SENDERS)
        .map(|number| {
            let sender = sender.clone();
            spawn(move || (0..n / SENDERS).all(|index| sender.send(message(number, index)).is_ok()))
        })
        .collect::<Result<_, _>>()?;
    drop(sender);
    let receiving = spawn(move || {
        let mut received = Received::default();
        receiver.iter().try_for_each(|message| received.take(message))?;
        received.all(n / SENDERS)
    })?;
    for thread in threads {
        check("whether all was sent", join(thread)?, true)?;
    }
    join(receiving)?
}

fn parked(options: &Options) -> Result<End, String> {
    let parked = Arc::new(Parked::new());
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let begin = || {
        for _ in 0..options.tasks {
            let (parked, gate) = (Arc::clone(&parked), Arc::clone(&gate));
            spawn(move || {
                parked.begin();
                let open = gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open);
                drop(open);
                parked.end();
            })?;
        }
        Ok(())
    };
    let release = || {
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    };
    Ok(parked.measure(options.tasks, begin, release)?.into())
}

fn serve(options: &Options) -> std::io::Result<End> {
    let listener = TcpListener::bind(echo::ADDRESS)?;
    echo::end_after_load(options, listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        spawn(move || answer(stream)).map_err(std::io::Error::other)?;
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

fn hogs(options: &Options) -> Result<End, String> {
    let (seconds, slice) = (options.seconds, options.slice_ms);
    let clocks = Clocks::start();
    let sleeper = spawn(move || {
        let mut ticks = hog::Ticks::new(seconds);
        loop {
            thread::sleep(ticks.until_next());
            if !ticks.woke() {
                return ticks;
            }
        }
    })?;
    let hogs: Vec<_> = (0..hog::HOGS)
        .map(|_| {
            let hog = hog::Hog::new(seconds, slice);
            spawn(move || {
                while hog.compute() {
                    thread::yield_now();
                }
            })
        })
        .collect::<Result<_, _>>()?;
    hogs.into_iter().try_for_each(join)?;
    Ok(join(sleeper)?.outcome(&clocks).into())
}
