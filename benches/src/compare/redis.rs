//! The job `redis`: a redis server serves redis-benchmark over a unix socket.
//!
//! Only the server runs on the allocator; the client is the same for all. Time is that of the client from its start to its
//! end at a fixed number of requests, faults and CPU time are the server's, and the peak is the server's `VmHWM` just before
//! it is shut down.
//!
//! The benchmark's keys are random, so they cannot be checked. Before it runs, the server is filled with keys of our own
//! that have values of many sizes, and after it they are read back: their digest is the checksum.
//!
//! Debian's server is *linked with* jemalloc. Without a preload it would run on that, so for the row of the C library
//! `libc.so.6` itself is preloaded, which puts its malloc first in the search order. In every row but jemalloc's the
//! linked library is mapped as well and has one caller: redis asks it for statistics by `mallctl`, which no other library
//! defines. (The loader's log of bindings tells: malloc, calloc, realloc, free and `malloc_usable_size` go to what is
//! preloaded.)

use super::digest::Digest;
use super::peers::{self, Allocator};
use super::process;
use super::programs;
use super::sample::{Load, Sample};
use fairground_tests::program;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVER: &str = "redis-server";
const BENCHMARK: &str = "redis-benchmark";
const REQUESTS: f64 = 300_000.0;
const RANGES: f64 = 20_000.0;
const OWN_KEYS: usize = 20_000;

pub(super) fn missing() -> Option<String> {
    programs::missing(&[(SERVER, "redis-server"), (BENCHMARK, "redis-tools")])
}

pub(super) fn run(allocator: &Allocator, load: &Load) -> Result<Sample, String> {
    // The name of a socket may have 107 bytes, so it must not be built from anything long.
    let socket = load.scratch.join("redis");
    let _ = std::fs::remove_file(&socket);
    let mut server = Server::start(allocator, &socket, load)?;
    let mut connection = server.connect(&socket)?;
    fill(&mut connection)?;
    let begin = Instant::now();
    benchmark(&socket, "set,get,lpush", REQUESTS * load.scale, load)?;
    benchmark(&socket, "lrange_100", RANGES * load.scale, load)?;
    let wall = begin.elapsed();
    let checksum = read_back(&mut connection)?;
    let pid = server.child.id();
    let peak_kib = process::high_water_kib(pid).ok_or("the server has no VmHWM: it is gone")?;
    connection.write_all(b"SHUTDOWN NOSAVE\r\n").map_err(|e| format!("shutdown: {e}"))?;
    let (status, usage) = process::reap(&server.child)?;
    server.ended = true;
    if status != 0 {
        return Err(format!("redis-server ended with wait status {status}"));
    }
    Ok(Sample {
        wall_s: wall.as_secs_f64(),
        user_s: usage.user.as_secs_f64(),
        system_s: usage.system.as_secs_f64(),
        minor_faults: usage.minor_faults,
        peak_kib,
        after_kib: None,
        checksum,
        series: None,
    })
}

/// A running server; killed when dropped unless it has ended.
struct Server {
    child: Child,
    ended: bool,
}

impl Server {
    fn start(allocator: &Allocator, socket: &Path, load: &Load) -> Result<Self, String> {
        let mut command = Command::new(program::find(SERVER).ok_or("redis-server is not installed")?);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"]);
        command.arg(socket).arg("--dir").arg(&load.scratch);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let c_library = peers::c_library();
        process::preload(&mut command, allocator.library.as_deref().or(c_library.as_deref()));
        let child = command.spawn().map_err(|e| format!("cannot start redis-server: {e}"))?;
        Ok(Self { child, ended: false })
    }

    fn connect(&mut self, socket: &Path) -> Result<UnixStream, String> {
        let begin = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| e.to_string())?;
                    return Ok(stream);
                }
                Err(e) if begin.elapsed() > Duration::from_secs(10) => {
                    return Err(format!("redis-server does not answer: {e}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn benchmark(socket: &Path, tests: &str, requests: f64, load: &Load) -> Result<(), String> {
    let mut command = Command::new(program::find(BENCHMARK).ok_or("redis-benchmark is not installed")?);
    command.arg("-s").arg(socket).args(["-q", "-r", "100000", "-P", "16", "-d", "100", "-t", tests]);
    command.args(["-n", &format!("{}", requests.ceil() as u64)]).env_remove("LD_PRELOAD");
    process::run(command, load.limit).map(|_| ()).map_err(|e| format!("redis-benchmark: {e}"))
}

/// Value of our own key `number`: up to about 2 KiB, and known from the number.
fn value(number: usize) -> String {
    let length = number.wrapping_mul(2_654_435_761) >> 7 & 2047;
    let mut text = format!("value {number} ");
    while text.len() < length {
        let _ = write!(text, "{:x}.", number.wrapping_mul(text.len()));
    }
    text
}

fn fill(connection: &mut UnixStream) -> Result<(), String> {
    for first in (0..OWN_KEYS).step_by(100) {
        let mut request = String::new();
        for number in first..first + 100 {
            let (key, value) = (format!("own:{number}"), value(number));
            let _ = write!(request, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len());
        }
        connection.write_all(request.as_bytes()).map_err(|e| format!("set: {e}"))?;
        let mut answers = [0; 5 * 100];
        connection.read_exact(&mut answers).map_err(|e| format!("set: {e}"))?;
        if answers != *b"+OK\r\n".repeat(100) {
            return Err("redis did not store our keys".into());
        }
    }
    Ok(())
}

/// Reads our keys back, compares each with what it was, and returns a digest.
fn read_back(connection: &mut UnixStream) -> Result<String, String> {
    let mut answers = BufReader::new(connection.try_clone().map_err(|e| e.to_string())?);
    let mut digest = Digest::new();
    for number in 0..OWN_KEYS {
        let key = format!("own:{number}");
        let request = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        connection.write_all(request.as_bytes()).map_err(|e| format!("get: {e}"))?;
        let mut line = String::new();
        answers.read_line(&mut line).map_err(|e| format!("get: {e}"))?;
        let length = line.trim_end().strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let length = length.ok_or_else(|| format!("{key} is lost: {}", line.trim_end()))?;
        let mut bytes = vec![0; length + 2];
        answers.read_exact(&mut bytes).map_err(|e| format!("get: {e}"))?;
        if &bytes[..length] != value(number).as_bytes() {
            return Err(format!("{key} is not what was stored"));
        }
        digest.add(&bytes);
    }
    Ok(digest.text())
}
