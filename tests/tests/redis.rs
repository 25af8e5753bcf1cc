//! redis-server: a long-lived heap under churn. Data written through the benchmark's noise must be there, byte for
//! byte, in the running server, and again after a restart from the file that the forked child saved.
//!
//! The server listens on a Unix socket in a temporary directory. Values are checked key by key from this side, not
//! by a digest of the server's own, which could be wrong in both places alike.

use fairground_tests::run::Server;
use fairground_tests::{Allocator, Need, Run, assert_binds, require, temp_dir};
use std::fmt::Write;
use std::path::Path;

const SERVER: Need = Need("redis-server", "redis-server");
const CLI: Need = Need("redis-cli", "redis-tools");
const BENCHMARK: Need = Need("redis-benchmark", "redis-tools");

const KEYS: usize = 6000;
const MEMBERS: usize = 300;

/// The final value of a key: from nothing to 20 kB, different for each.
fn value(key: usize) -> String {
    let length = if key.is_multiple_of(50) { key * 3 } else { key * 7 % 1500 };
    format!("{key}-").chars().cycle().take(length).collect()
}

/// Fills the server: keys written, grown, overwritten and deleted, and aggregates of each kind.
fn fill() -> Vec<u8> {
    let mut stream = Vec::new();
    let mut command = |words: &[&str]| {
        stream.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            stream.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
    };
    for key in 0..KEYS {
        let name = format!("key:{key}");
        command(&["SET", &name, &"x".repeat(key * 11 % 3000)]);
        command(&["SET", &format!("gone:{key}"), &value(key)]);
    }
    for key in 0..KEYS {
        let (name, value) = (format!("key:{key}"), value(key));
        if key.is_multiple_of(4) {
            // Grown in place: APPEND reallocates.
            let middle = value.len() / 2;
            command(&["SET", &name, &value[..middle]]);
            command(&["APPEND", &name, &value[middle..]]);
        } else {
            command(&["SET", &name, &value]);
        }
        command(&["DEL", &format!("gone:{key}")]);
    }
    for member in 0..MEMBERS {
        let text = value(member);
        command(&["HSET", "hash", &member.to_string(), &text]);
        command(&["RPUSH", "list", &text]);
        command(&["ZADD", "zset", &(member * 37 % 1000).to_string(), &format!("{member:04}{text}")]);
    }
    stream
}

/// What `redis-cli` prints for [`QUERIES`] on a right server.
fn expected() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for key in 0..KEYS {
        let _ = writeln!(text, "{}", value(key));
    }
    let _ = writeln!(text, "{}", KEYS + 3);
    for member in 0..MEMBERS {
        let _ = writeln!(text, "{}", value(member));
    }
    for member in 0..MEMBERS {
        let _ = writeln!(text, "{}", value(member));
    }
    let mut ranked: Vec<(usize, String)> =
        (0..MEMBERS).map(|member| (member * 37 % 1000, format!("{member:04}{}", value(member)))).collect();
    ranked.sort();
    for (_, text_of_member) in ranked {
        let _ = writeln!(text, "{text_of_member}");
    }
    text
}

fn queries() -> String {
    let mut text: String = (0..KEYS).map(|key| format!("GET key:{key}\n")).collect();
    text += "DBSIZE\n";
    text += &(0..MEMBERS).map(|member| format!("HGET hash {member}\n")).collect::<String>();
    text + "LRANGE list 0 -1\nZRANGE zset 0 -1\n"
}

struct Redis<'a> {
    dir: &'a Path,
    server: &'a Path,
    cli: &'a Path,
}

impl Redis<'_> {
    fn start(&self, log: &str) -> Server {
        let arguments = "--port 0 --unixsocket socket --appendonly no --daemonize no --save  --dbfilename dump.rdb";
        let run = Run::on(Allocator::Fairground, self.server).args(arguments.split(' ')).dir(self.dir);
        let mut server = run.server(&self.dir.join(log));
        server.wait_until(|| self.cli(&["PING"]).outcome().stdout == b"PONG\n");
        server.assert_mapped();
        server
    }

    fn cli(&self, arguments: &[&str]) -> Run {
        Run::new(self.cli).args(["-s", "socket"]).args(arguments).dir(self.dir)
    }

    fn assert_data(&self, when: &str) {
        let answers = self.cli(&[]).input(queries()).text();
        let expected = expected();
        if answers != expected {
            let mut lines = answers.lines().zip(expected.lines()).enumerate();
            let odd = lines.find(|(_, (answer, expected))| answer != expected);
            panic!("{when}: the data differ, first at answer {odd:?}; {} bytes of {}", answers.len(), expected.len());
        }
    }
}

#[test]
fn data_survive_a_benchmark_a_background_save_and_a_restart() {
    let Some([server, cli, benchmark]) = require("redis", [SERVER, CLI, BENCHMARK]) else { return };
    let dir = temp_dir();
    let redis = Redis { dir: dir.path(), server: &server, cli: &cli };

    let running = redis.start("log1");
    let filled = redis.cli(&["--pipe"]).input(fill()).text();
    assert!(filled.contains("errors: 0"), "{filled}");
    redis.assert_data("after filling");

    // Database 1, so that the data proper stay as they are; random keys, all the usual commands.
    let load =
        "-s socket --dbnum 1 -n 20000 -r 5000 -c 20 -P 4 -d 300 -q -t set,get,incr,lpush,rpop,sadd,hset,zadd,mset";
    let benchmarked = Run::new(&benchmark).args(load.split(' ')).dir(dir.path()).text();
    assert!(benchmarked.contains("requests per second"), "{benchmarked}");
    assert!(!benchmarked.to_lowercase().contains("error"), "{benchmarked}");
    redis.assert_data("after the benchmark");

    // Saved by a forked child while clients go on writing, then again in the foreground at shutdown.
    assert!(redis.cli(&["BGSAVE"]).text().contains("started"));
    Run::new(&benchmark).args(load.split(' ')).dir(dir.path()).text();
    let mut running = running;
    running.wait_until(|| redis.cli(&["INFO", "persistence"]).text().contains("rdb_bgsave_in_progress:0"));
    let persistence = redis.cli(&["INFO", "persistence"]).text();
    assert!(persistence.contains("rdb_last_bgsave_status:ok"), "{persistence}");
    redis.cli(&["-n", "1", "FLUSHDB"]).text();
    assert_eq!(redis.cli(&["MEMORY", "PURGE"]).text().trim(), "OK");
    let _ = redis.cli(&["SHUTDOWN", "SAVE"]).outcome();
    running.assert_ends();

    let restarted = redis.start("log2");
    redis.assert_data("after the restart");
    let _ = redis.cli(&["SHUTDOWN", "NOSAVE"]).outcome();
    restarted.assert_ends();
}

#[test]
fn malloc_is_the_librarys() {
    let Some([server]) = require("redis_binding", [SERVER]) else { return };
    assert_binds(&server, ["--version"], &["redis-server"]);
}
