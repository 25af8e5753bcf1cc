//! An echo server of green threads, and its clients: plain blocking code, a task for each connection.
//!
//! ```text
//! cargo run --release --example tcp_echo                    64 clients, 2,000 requests each
//! cargo run --release --example tcp_echo -- 1000 200        1,000 clients, 200 requests each
//! cargo run --release --example tcp_echo -- --listen 7000   the server alone, for clients of yours: nc localhost 7000
//! ```
//!
//! What to look at: the number of tasks, which run on as many kernel threads as there are cores (`threads of this process`); and requests a second, though
//! no line of `serve` or `request` knows that it shares its thread with others. Each answer is compared with what was sent.

use fairground_runtime::net::{Shutdown, TcpListener, TcpStream};
use fairground_runtime::{Runtime, scope, spawn};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// Bytes of a request: one packet.
const REQUEST: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => measure(64, 2000),
        ["--listen", port] => match port.parse() {
            Ok(port) => listen(port),
            Err(_) => usage(),
        },
        [clients, requests] => match (clients.parse(), requests.parse()) {
            (Ok(clients), Ok(requests)) => measure(clients, requests),
            _ => usage(),
        },
        _ => usage(),
    };
    if let Err(error) = result {
        eprintln!("tcp_echo: {error}");
        std::process::exit(1);
    }
}

fn usage() -> ! {
    eprintln!("usage: tcp_echo [CLIENTS REQUESTS | --listen PORT]");
    std::process::exit(1);
}

/// Sends back what comes on one connection, until its end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// A task for each connection.
fn accept(listener: TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("tcp_echo: a connection: {error}");
            }
        });
    }
    Ok(())
}

fn listen(port: u16) -> io::Result<()> {
    Runtime::global().run(|| {
        let listener = TcpListener::bind(("localhost", port))?;
        println!("listening at {}", listener.local_addr()?);
        accept(listener)
    })
}

/// One client: sends, waits for the answer, compares.
fn request(address: SocketAddr, client: usize, requests: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answer = [0; REQUEST];
    for number in 0..requests {
        let question = [(client * 31 + number) as u8; REQUEST];
        stream.write_all(&question)?;
        stream.read_exact(&mut answer)?;
        if answer != question {
            return Err(io::Error::other(format!("client {client}: the answer to request {number} is another one's")));
        }
    }
    stream.shutdown(Shutdown::Write)
}

fn measure(clients: usize, requests: usize) -> io::Result<()> {
    let runtime = Runtime::global();
    runtime.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        spawn(move || accept(listener));

        let start = Instant::now();
        scope(|scope| {
            let tasks: Vec<_> =
                (0..clients).map(|client| scope.spawn(move || request(address, client, requests))).collect();
            let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
            println!("{clients} clients and as many connections, a task each; threads of this process: {threads}");
            tasks
                .into_iter()
                .try_for_each(|task| task.join().unwrap_or_else(|error| Err(io::Error::other(error.to_string()))))
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let all = clients * requests;
        println!(
            "{all} requests of {REQUEST} bytes answered, all right, in {seconds:.2} s on {} cores",
            runtime.workers()
        );
        println!("{:.0} requests/s", all as f64 / seconds);
        Ok(())
    })
}
