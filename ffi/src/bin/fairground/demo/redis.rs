//! redis-server: the one workload that is a server.
//!
//! Only the server runs on the allocator under test; redis-cli and redis-benchmark are the yardstick and stay on the
//! system's. It listens on a Unix socket in the temporary directory, never on a port. The benchmark's keys are random
//! and go to database 1; the answer is taken from database 0, which is filled with known keys before the benchmark
//! and digested after it. The peak is the server's own (`VmHWM`).

use super::measure::{self, Measured};
use super::{RUN_LIMIT, Stage, interrupt};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const KEYS: u32 = 40_000;
const START_LIMIT: Duration = Duration::from_secs(20);

/// All known keys in one pass, as a chain of SHA-1: order and content of every value count.
const DIGEST: &str = "local h = '' for i = 0, tonumber(ARGV[1]) - 1 do \
                      h = redis.sha1hex(h .. redis.call('GET', 'key:' .. i)) end return h";

/// Writes the protocol stream that fills database 0: values of 0 to 2 KiB, every tenth key overwritten.
pub fn prepare(stage: &Stage) -> Result<(), String> {
    let file = File::create(stage.dir.join("keys")).map_err(|error| format!("keys: {error}"))?;
    let mut stream = BufWriter::new(file);
    let mut set = |key: u32, length: usize| -> io::Result<()> {
        let key_text = format!("key:{key}");
        let unit = format!("{key}-{length}/");
        let value: String = unit.chars().cycle().take(length).collect();
        let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key_text}\r\n${}\r\n", key_text.len(), value.len());
        write!(stream, "{head}{value}\r\n")
    };
    let mut write_all = || -> io::Result<()> {
        for key in 0..KEYS {
            set(key, (key as usize * 7) % 2048)?;
            if key % 10 == 9 {
                set(key - 5, (key as usize * 13) % 512)?;
            }
        }
        Ok(())
    };
    write_all().and_then(|()| stream.flush()).map_err(|error| format!("keys: {error}"))
}

/// A running server; killed when dropped, for the paths on which it was not shut down.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            interrupt::kill_group(self.0.id());
            let _ = self.0.wait();
        }
        interrupt::forget(self.0.id());
    }
}

/// One run: start, fill, benchmark, digest, shut down.
pub fn run(stage: &Stage, preload: Option<&Path>) -> Result<Measured, String> {
    let socket = stage.dir.join("socket");
    let _ = fs::remove_file(&socket);
    let mut server = measure::command(stage.tool("redis-server"), preload);
    server.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket", "socket"]);
    let log = File::create(stage.dir.join("log")).map_err(|error| format!("log: {error}"))?;
    server.current_dir(&stage.dir).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    let mut server = Server(interrupt::spawn(&mut server).map_err(|error| format!("redis-server: {error}"))?);
    let pid = server.0.id();

    let began = Instant::now();
    // redis-cli exits with status 0 only when it was answered.
    while ask(stage, &["PING"]).is_err() {
        if let Ok(Some(status)) = server.0.try_wait() {
            return Err(format!("redis-server ended at start: {status}"));
        }
        if began.elapsed() > START_LIMIT {
            return Err(format!("redis-server did not answer within {START_LIMIT:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(library) = preload {
        let mapped = library.canonicalize().unwrap_or_else(|_| library.to_owned());
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        if !maps.contains(&*mapped.to_string_lossy()) {
            return Err("the library is not mapped in the server".into());
        }
    }

    let began = Instant::now();
    let mut fill = client(stage, "redis-cli", &["--pipe"]);
    fill.stdin(File::open(stage.dir.join("keys")).map_err(|error| format!("keys: {error}"))?);
    measure::measure(fill, &stage.dir, RUN_LIMIT)?;
    let load = ["-n", "60000", "-P", "8", "-c", "20", "-d", "200", "-r", "20000", "-t", "set,get,lpush,sadd,hset"];
    let mut benchmark = client(stage, "redis-benchmark", &load);
    benchmark.args(["--dbnum", "1", "-q"]).stdin(Stdio::null());
    measure::measure(benchmark, &stage.dir, RUN_LIMIT)?;
    let seconds = began.elapsed().as_secs_f64();

    let answer = ask(stage, &["EVAL", DIGEST, "0", &KEYS.to_string()])?.answer;
    let peak_rss_kib = peak(pid).ok_or("the server's VmHWM cannot be read")?;
    // It closes the connection instead of answering.
    let _ = ask(stage, &["SHUTDOWN", "NOSAVE"]);
    let asked = Instant::now();
    let status = loop {
        match server.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if asked.elapsed() < RUN_LIMIT => thread::sleep(Duration::from_millis(20)),
            Ok(None) => return Err(format!("redis-server did not shut down within {RUN_LIMIT:?}")),
            Err(error) => return Err(format!("redis-server: {error}")),
        }
    };
    if !status.success() {
        return Err(format!("redis-server ended with {status} at SHUTDOWN"));
    }
    Ok(Measured { seconds, peak_rss_kib, answer })
}

fn client(stage: &Stage, name: &str, arguments: &[&str]) -> Command {
    let mut command = measure::command(stage.tool(name), None);
    command.args(["-s", "socket"]).args(arguments).current_dir(&stage.dir);
    command
}

fn ask(stage: &Stage, request: &[&str]) -> Result<Measured, String> {
    let mut command = client(stage, "redis-cli", request);
    command.stdin(Stdio::null());
    measure::measure(command, &stage.dir, RUN_LIMIT)
}

fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
