//! `echo-load ADDRESS CONNECTIONS SECONDS`: the load generator of the TCP row, the same for all servers.
//!
//! One thread over `polling`. Each connection sends a message, waits for it to come back, compares every byte, and sends the
//! next: a closed loop, in which a server's requests per second and its latencies are two sides of one thing. Latencies
//! are counted after a warm-up in which all connections have been served.

use fairground_runtimes::cpus;
use hdrhistogram::Histogram;
use polling::{Event, Events, PollMode, Poller};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of a message: a small request, so that the system calls and switches are what is measured.
const MESSAGE: usize = 64;
/// How long the load lasts before it counts, as a part of the time that counts.
const WARM_UP: f64 = 0.2;
/// Without any answer for so long the server hangs.
const PATIENCE: Duration = Duration::from_secs(10);

struct Connection {
    stream: TcpStream,
    sent: [u8; MESSAGE],
    received: [u8; MESSAGE],
    filled: usize,
    sequence: u64,
    since: Instant,
}

impl Connection {
    /// Sends the next message: which connection, the how manieth, and a byte that goes round.
    fn send(&mut self, index: usize) -> Result<(), String> {
        self.sequence += 1;
        self.sent.fill(self.sequence as u8);
        self.sent[..8].copy_from_slice(&(index as u64).to_le_bytes());
        self.sent[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        self.filled = 0;
        self.since = Instant::now();
        // Nothing else is under way on this connection, so there is room for it.
        self.stream.write_all(&self.sent).map_err(|e| format!("connection {index}: write: {e}"))
    }

    /// Takes what has come; whether the whole message has.
    fn receive(&mut self, index: usize) -> Result<bool, String> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => return Err(format!("connection {index}: the server has closed it")),
            Ok(length) => self.filled += length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(e) => return Err(format!("connection {index}: read: {e}")),
        }
        if self.filled < MESSAGE {
            return Ok(false);
        }
        if self.received != self.sent {
            return Err(format!("wrong answer: connection {index} got back something else than it had sent"));
        }
        Ok(true)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match load(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &[String]) -> Result<String, String> {
    let [address, connections, seconds] = arguments else {
        return Err("usage: echo-load ADDRESS CONNECTIONS SECONDS".into());
    };
    let number = |text: &str| text.parse::<f64>().map_err(|e| format!("{text}: {e}"));
    let (connections, seconds) = (number(connections)? as usize, number(seconds)?);
    // The server may be kept to some processors; on a machine with more than those, the load comes from another.
    cpus::allow_all()?;
    let poller = Poller::new().map_err(|e| e.to_string())?;
    let mut open = Vec::new();
    for index in 0..connections {
        let stream = connect(address, &poller, index).map_err(|e| format!("connection {index}: {e}"))?;
        let (sent, received) = ([0; MESSAGE], [0; MESSAGE]);
        open.push(Connection { stream, sent, received, filled: 0, sequence: 0, since: Instant::now() });
    }
    for (index, connection) in open.iter_mut().enumerate() {
        connection.send(index)?;
    }
    // Nanoseconds up to a minute, with three digits.
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).map_err(|e| e.to_string())?;
    let begin = Instant::now();
    let counted_from = begin + Duration::from_secs_f64(seconds * WARM_UP);
    let end = counted_from + Duration::from_secs_f64(seconds);
    let (mut requests, mut events) = (0_u64, Events::new());
    let mut now = begin;
    while now < end {
        events.clear();
        let ready = poller.wait(&mut events, Some(PATIENCE)).map_err(|e| e.to_string())?;
        if ready == 0 {
            return Err(format!("no answer for {} s", PATIENCE.as_secs()));
        }
        for event in events.iter() {
            let connection = &mut open[event.key];
            if connection.receive(event.key)? {
                now = Instant::now();
                requests += 1;
                if connection.since >= counted_from {
                    latencies.saturating_record((now - connection.since).as_nanos() as u64);
                }
                connection.send(event.key)?;
            }
        }
    }
    if let Some(index) = open.iter().position(|connection| connection.sequence < 2) {
        return Err(format!("wrong answer: connection {index} was never served"));
    }
    let us = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let figures = serde_json::json!({
        "requests": requests,
        "requests_per_s": latencies.len() as f64 / (now - counted_from).as_secs_f64(),
        "p50_us": us(0.5), "p99_us": us(0.99), "p999_us": us(0.999), "max_us": us(1.0),
    });
    Ok(figures.to_string())
}

fn connect(address: &str, poller: &Poller, index: usize) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    // SAFETY: the streams live as long as the poller, to the end of the process.
    unsafe { poller.add_with_mode(&stream, Event::readable(index), PollMode::Level)? };
    Ok(stream)
}
