//! Stands for a network server with an accepting and a working thread: each request is a few blocks (a body and some
//! fields) allocated by one thread, handed over one request at a time and freed by the other, which allocates an answer that
//! the first one frees. Unlike `xmalloc`, blocks flow both ways and only a few are in flight. Our own, after the producer and
//! consumer case that the snmalloc paper (ISMM 2019) reports as the weak spot of thread caches.

use super::Load;
use super::block::Block;
use super::random::Random;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const REQUESTS: usize = 1_000_000;
/// Requests in flight between a pair of threads.
const IN_FLIGHT: usize = 256;

struct Request {
    body: Block,
    fields: [Block; 4],
}

pub(super) fn run(load: &Load) -> u64 {
    let pairs = load.threads.div_ceil(2);
    let requests = load.scaled(REQUESTS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..pairs)
            .flat_map(|pair| {
                let (to_worker, from_acceptor) = sync_channel(IN_FLIGHT);
                // The way back is as long as the way there and one more, so that the worker never waits to answer while
                // the acceptor waits to ask.
                let (to_acceptor, from_worker) = sync_channel(IN_FLIGHT + 1);
                let random = load.random(2 * pair);
                let answers = load.random(2 * pair + 1);
                [
                    scope.spawn(move || accept(random, requests, &to_worker, &from_worker)),
                    scope.spawn(move || work(answers, &from_acceptor, &to_acceptor)),
                ]
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a thread panicked")).fold(0, u64::wrapping_add)
    })
}

fn accept(
    mut random: Random,
    requests: usize,
    to_worker: &SyncSender<Option<Request>>,
    answers: &Receiver<Block>,
) -> u64 {
    let mut sum = 0_u64;
    let mut answered = 0;
    for asked in 1..=requests {
        let request =
            Request { body: new(&mut random, 200, 3000), fields: std::array::from_fn(|_| new(&mut random, 16, 120)) };
        to_worker.send(Some(request)).expect("the worker waits for the end mark");
        // Keep the number in flight bounded: take what is there, and wait if too much is not.
        while let Ok(answer) = answers.try_recv() {
            sum = sum.wrapping_add(answer.release());
            answered += 1;
        }
        while asked - answered > IN_FLIGHT {
            sum = sum.wrapping_add(answers.recv().expect("the worker answers every request").release());
            answered += 1;
        }
    }
    to_worker.send(None).expect("the worker waits for the end mark");
    answers.iter().fold(sum, |sum, answer| sum.wrapping_add(answer.release()))
}

fn work(mut random: Random, requests: &Receiver<Option<Request>>, to_acceptor: &SyncSender<Block>) -> u64 {
    let mut sum = 0_u64;
    while let Ok(Some(request)) = requests.recv() {
        // The fields go first, the answer is made while the body is still needed, the body goes last.
        sum = request.fields.into_iter().fold(sum, |sum, field| sum.wrapping_add(field.release()));
        let answer = new(&mut random, 64, 1500);
        sum = sum.wrapping_add(request.body.release());
        to_acceptor.send(answer).expect("the acceptor waits for all answers");
    }
    sum
}

fn new(random: &mut Random, smallest: usize, largest: usize) -> Block {
    let size = random.between(smallest, largest);
    Block::allocate(size, random.next())
}
