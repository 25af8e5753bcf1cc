//! `vm.overcommit_memory=2`: the kernel promises no more than it has. Reservations must not count, what is handed out must,
//! and a refusal must reach the program as one.
//!
//! The setting is the whole machine's, so this is not run beside other tests (`make test-overcommit`). It is restored by a
//! process of its own when the pipe to it is closed: at the end of the test, also if that fails or is killed.

use fairground_tests::program::skip;
use fairground_tests::{Allocator, Need, Run, require};
use std::fs::{read_to_string, write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const MODE: &str = "/proc/sys/vm/overcommit_memory";
const RATIO: &str = "/proc/sys/vm/overcommit_ratio";
const KBYTES: &str = "/proc/sys/vm/overcommit_kbytes";

/// What may be promised beyond what is promised already, in KiB: enough for the machine's other programs in these seconds.
const ROOM: usize = 4 << 20;

/// The setting, changed until this is dropped.
struct Strict {
    restorer: Child,
    before: String,
}

impl Strict {
    /// None if the setting cannot be changed.
    fn new() -> Option<Strict> {
        let before = read_to_string(MODE).ok()?;
        let (ratio, kbytes) = (read_to_string(RATIO).ok()?, read_to_string(KBYTES).ok()?);
        write(MODE, &before).ok()?; // whether it can be written
        let memory = read_to_string("/proc/meminfo").ok()?;
        let committed: usize =
            memory.lines().find(|line| line.starts_with("Committed_AS:"))?.split_whitespace().nth(1)?.parse().ok()?;
        // Either of the two is zero; writing one sets the other to that.
        let (limit, value) = if kbytes.trim() == "0" { (RATIO, ratio.trim()) } else { (KBYTES, kbytes.trim()) };
        let restore = format!("read end; echo {} > {MODE}; echo {value} > {limit}", before.trim());
        let mut command = Command::new("sh");
        command.args(["-c", &restore]).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let restorer = command.spawn().ok()?;
        let strict = Strict { restorer, before };
        write(KBYTES, (committed + ROOM).to_string()).expect("the limit is set");
        write(MODE, "2").expect("the mode is set");
        Some(strict)
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        self.restorer.wait().expect("the setting is restored");
        assert_eq!(read_to_string(MODE).expect("the setting"), self.before, "restored");
    }
}

const SCRIPT: &str = "
import hashlib
size = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmSize'))
digest, kept = hashlib.sha256(), []
for i in range(30000):
    kept.append(bytes([i % 251]) * (i * 37 % 9000))
    if i % 500 == 0:
        kept = kept[::2]
for block in kept:
    digest.update(block)
blocks = []
try:
    while True:
        blocks.append(bytes(64 << 20))
except MemoryError:
    pass
refused = len(blocks)
del blocks
print(size >> 20, digest.hexdigest(), refused > 0, len(bytes(64 << 20)))
";

#[test]
#[ignore = "changes a setting of the whole machine: make test-overcommit"]
fn reservations_are_free_and_refusals_arrive() {
    let Some([python]) = require("overcommit", [Need("python3", "python3")]) else { return };
    let run = |allocator| Run::on(allocator, &python).args(["-c", SCRIPT]).env("PYTHONMALLOC", "malloc");
    fairground_tests::library(); // built before memory is short
    let Some(strict) = Strict::new() else {
        return skip("overcommit", "vm.overcommit_memory cannot be changed here (needs root)");
    };
    let system = run(Allocator::System).text();
    let ours = run(Allocator::Fairground).text();
    drop(strict);
    let (size, rest) = ours.split_once(' ').expect("a size and the rest");
    assert!(size.parse::<usize>().expect("GiB") >= 1024, "the whole reservation is there: {ours}");
    assert_eq!(Some(rest), system.split_once(' ').map(|(_, rest)| rest), "the same answers");
    assert!(rest.contains("True"), "{ours}");
}
