//! Programs with little address space (`ulimit -v`), where no large reservation is to be had: they compute the same, and when
//! memory runs out they are told so and go on.

use fairground_tests::{Allocator, Need, Run, assert_same_answer, require, temp_dir};
use std::path::Path;

/// Limits of address space in MiB: with a small reservation, and with none.
const LIMITS: [usize; 2] = [512, 128];

/// A program under a limit.
fn limited(allocator: Allocator, mib: usize, program: &Path) -> Run {
    let limit = format!("ulimit -v {}; exec \"$@\"", mib << 10);
    Run::on(allocator, "sh").args(["-c", &limit, "sh"]).args([program])
}

const CHURN: &str = "
import hashlib
digest, kept = hashlib.sha256(), {}
for i in range(60000):
    kept[i * 7919 % 5003] = 'x' * (i % 700) + str(i)
    if i % 1000 == 0:
        kept = {key: value for key, value in kept.items() if key % 3}
for key in sorted(kept):
    digest.update(kept[key].encode())
print(digest.hexdigest())
";

const UNTIL_NO_MORE: &str = "
blocks, sizes = [], (1 << 20, 100000, 3000, 8 << 20)
try:
    while True:
        blocks.append(bytes(sizes[len(blocks) % 4]))
except MemoryError:
    pass
some = len(blocks) > 4
del blocks
again = [bytes(1 << 20) for _ in range(4)]
print(some, sum(map(len, again)))
";

#[test]
fn python_computes_the_same() {
    let Some([python]) = require("limited_python", [Need("python3", "python3")]) else { return };
    for mib in LIMITS {
        let what = format!("python3 with {mib} MiB of address space");
        assert_same_answer(&what, |allocator| limited(allocator, mib, &python).args(["-c", CHURN]).text());
    }
}

#[test]
fn python_goes_on_after_memory_ran_out() {
    let Some([python]) = require("limited_python_full", [Need("python3", "python3")]) else { return };
    for mib in LIMITS {
        let run = limited(Allocator::Fairground, mib, &python).env("PYTHONMALLOC", "malloc");
        assert_eq!(run.args(["-c", UNTIL_NO_MORE]).text(), "True 4194304\n", "{mib} MiB");
    }
}

#[test]
fn git_keeps_a_repository() {
    let Some([git]) = require("limited_git", [Need("git", "git")]) else { return };
    for mib in LIMITS {
        assert_same_answer(&format!("git with {mib} MiB of address space"), |allocator| {
            let dir = temp_dir();
            let git = |arguments: &[&str]| {
                let run = limited(allocator, mib, &git).dir(dir.path()).env("HOME", dir.path());
                let run = run
                    .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
                    .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
                // One thread and small windows: packing threads map more than the lower limit has.
                let settings = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "pack.threads=1"];
                run.args(settings).args(["-c", "core.packedGitWindowSize=1m"]).args(arguments).text()
            };
            git(&["init", "-q"]);
            for n in 0..40 {
                let text = (0..200).map(|line| format!("{n} {}\n", line * n)).collect::<String>();
                std::fs::write(dir.path().join(format!("file{n}")), text).expect("a file");
            }
            git(&["add", "."]);
            git(&["commit", "-q", "-m", "files"]);
            git(&["gc", "-q"]);
            git(&["fsck", "--strict"]);
            git(&["log", "--stat", "--format=%H %s"])
        });
    }
}

#[test]
fn a_cxx_program_computes_the_same() {
    let Some([cxx]) = require("limited_cxx", [Need("g++", "g++")]) else { return };
    let dir = temp_dir();
    let (source, program) = (dir.path().join("words.cpp"), dir.path().join("words"));
    std::fs::write(
        &source,
        "#include <cstdio>\n#include <map>\n#include <string>\n#include <vector>\n\
         int main() { std::map<std::string, std::vector<int>> m; unsigned long sum = 0;\n\
         for (int i = 0; i < 200000; i++) m[std::to_string(i * 31 % 4099)].push_back(i);\n\
         for (auto &e : m) sum = sum * 31 + e.second.size() + e.first.size();\n\
         std::printf(\"%zu %lu\\n\", m.size(), sum); }\n",
    )
    .expect("a source");
    // The compiler itself, under the wider limit; it starts programs that are limited likewise.
    limited(Allocator::Fairground, LIMITS[0], &cxx).args(["-O1", "-o"]).args([&program, &source]).text();
    for mib in LIMITS {
        let what = format!("a C++ program with {mib} MiB of address space");
        assert_same_answer(&what, |allocator| limited(allocator, mib, &program).text());
    }
}
