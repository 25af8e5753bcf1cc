//! The demo's workloads: what each needs, how its input is made, how it is run.
//!
//! Each does about a second of work that leans on the allocator in its own way (interpreters: many small objects;
//! compilers: growth, then exit; git: a few huge tables; servers: long life and churn) and prints an answer that
//! depends on everything it computed. Inputs are embedded or made on the spot, so the demo needs no network.

use super::measure::{self, Measured};
use super::{RUN_LIMIT, Stage, redis};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use std::process::Command;

/// One program of the demo. Function pointers, because the differences are in what is done, not in data.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// The programs it needs with their Debian packages; the first is the one whose memory is of interest.
    pub tools: &'static [(&'static str, &'static str)],
    /// Makes the input, once.
    pub prepare: fn(&Stage) -> Result<(), String>,
    /// One run, with this library preloaded or none.
    pub run: fn(&Stage, Option<&Path>) -> Result<Measured, String>,
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "python3",
        what: "dicts, strings and byte arrays in four threads; Python's own pools in front of malloc",
        tools: &[("python3", "python3")],
        prepare: |stage| place(stage, "work.py", include_str!("programs/work.py")),
        run: |stage, preload| simple(stage, preload, "python3", &["work.py"]),
    },
    Workload {
        name: "python3-malloc",
        what: "the same with PYTHONMALLOC=malloc: every object from malloc",
        tools: &[("python3", "python3")],
        prepare: |stage| place(stage, "work.py", include_str!("programs/work.py")),
        run: |stage, preload| {
            let mut python = tool(stage, preload, "python3", &["work.py"]);
            python.env("PYTHONMALLOC", "malloc");
            measure::measure(python, &stage.dir, RUN_LIMIT)
        },
    },
    Workload {
        name: "g++",
        what: "compiles a template-heavy file; the answer is the assembly",
        tools: &[("g++", "g++")],
        prepare: |stage| place(stage, "templates.cpp", include_str!("programs/templates.cpp")),
        run: |stage, preload| simple(stage, preload, "g++", &["-std=c++20", "-O1", "-S", "-o", "-", "templates.cpp"]),
    },
    Workload {
        name: "git",
        what: "repacks a repository from scratch; the answer is the list of all its objects",
        tools: &[("git", "git"), ("sh", "dash"), ("cp", "coreutils")],
        prepare: make_repository,
        run: repack,
    },
    Workload {
        name: "sqlite3",
        what: "tables, indices, joins and sorting in memory",
        tools: &[("sqlite3", "sqlite3")],
        prepare: |stage| place(stage, "work.sql", include_str!("programs/work.sql")),
        run: |stage, preload| simple(stage, preload, "sqlite3", &[":memory:", ".read work.sql"]),
    },
    Workload {
        name: "redis",
        what: "a server under redis-benchmark, then a digest of 40,000 known keys",
        tools: &[("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("redis-benchmark", "redis-tools")],
        prepare: redis::prepare,
        run: redis::run,
    },
    Workload {
        name: "node",
        what: "buffers, maps and strings in four worker threads",
        tools: &[("node", "nodejs")],
        prepare: |stage| place(stage, "work.js", include_str!("programs/work.js")),
        run: |stage, preload| simple(stage, preload, "node", &["work.js"]),
    },
    Workload {
        name: "bash",
        what: "arrays and strings, and 400 forks",
        tools: &[("bash", "bash")],
        prepare: |stage| place(stage, "work.sh", include_str!("programs/work.sh")),
        run: |stage, preload| simple(stage, preload, "bash", &["work.sh"]),
    },
    Workload {
        name: "perl",
        what: "hashes of arrays, sorting, regular expressions",
        tools: &[("perl", "perl")],
        prepare: |stage| place(stage, "work.pl", include_str!("programs/work.pl")),
        run: |stage, preload| simple(stage, preload, "perl", &["work.pl"]),
    },
];

fn place(stage: &Stage, name: &str, text: &str) -> Result<(), String> {
    fs::write(stage.dir.join(name), text).map_err(|error| format!("{name}: {error}"))
}

fn tool(stage: &Stage, preload: Option<&Path>, name: &str, arguments: &[&str]) -> Command {
    let mut command = measure::command(stage.tool(name), preload);
    command.args(arguments).current_dir(&stage.dir).env("HOME", &stage.dir).stdin(std::process::Stdio::null());
    command
}

fn simple(stage: &Stage, preload: Option<&Path>, name: &str, arguments: &[&str]) -> Result<Measured, String> {
    measure::measure(tool(stage, preload, name, arguments), &stage.dir, RUN_LIMIT)
}

const COMMITS: u32 = 400;
const FILES: u64 = 60;

/// A repository by `git fast-import`: deterministic, and 400 commits take a blink.
fn make_repository(stage: &Stage) -> Result<(), String> {
    let explain = |error: io::Error| format!("stream: {error}");
    let stream = stage.dir.join("stream");
    write_history(BufWriter::new(File::create(&stream).map_err(explain)?)).map_err(explain)?;
    measure::prepare(tool(stage, None, "git", &["init", "-q", "--bare", "master.git"]))?;
    let mut import = tool(stage, None, "git", &["--git-dir=master.git", "fast-import", "--quiet"]);
    import.stdin(File::open(&stream).map_err(explain)?);
    measure::prepare(import)
}

fn write_history(mut stream: impl io::Write) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for commit in 0..COMMITS {
        let message = format!("commit {commit}\n");
        writeln!(stream, "commit refs/heads/main\ncommitter A <a@example.org> {} +0000", 1_600_000_000 + commit)?;
        writeln!(stream, "data {}\n{message}", message.len())?;
        for _ in 0..4 {
            let file = random() % FILES;
            let mut text = String::new();
            for line in 0..300 {
                // Mostly the same lines from commit to commit, so that there are deltas to be found.
                let salt = if random() % 20 == 0 { random() } else { 0 };
                text += &format!("file {file} line {line} value {}\n", (file * 7919 + line) ^ salt);
            }
            writeln!(stream, "M 100644 inline dir{}/file{file}.txt\ndata {}\n{text}", file % 7, text.len())?;
        }
        writeln!(stream)?;
    }
    stream.flush()
}

fn repack(stage: &Stage, preload: Option<&Path>) -> Result<Measured, String> {
    let copy = stage.dir.join("copy.git");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    }
    measure::prepare(tool(stage, None, "cp", &["-r", "master.git", "copy.git"]))?;
    let script = "\"$1\" --git-dir=copy.git repack -a -d -f -q --window=30 --depth=50 \
                  && \"$1\" --git-dir=copy.git rev-list --objects --all";
    let git = stage.tool("git").to_string_lossy().into_owned();
    simple(stage, preload, "sh", &["-c", script, "sh", &git])
}
