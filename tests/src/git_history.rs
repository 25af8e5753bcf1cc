//! A repository's history, made on the spot. Dates and names are fixed, so all hashes are known from the number of commits.

use std::fmt::Write;

/// A stream for `git fast-import`: `commits` commits over 40 files whose texts change a little each time.
pub fn history(commits: u64) -> String {
    let mut stream = String::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for commit in 0..commits {
        // Writing to a String cannot fail.
        let _ =
            writeln!(stream, "commit refs/heads/main\ncommitter A <a@example.org> {} +0000", 1_600_000_000 + commit);
        let _ = writeln!(stream, "data 7\nchange\n");
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let file = (state >> 33) % 40;
            let mut text = String::new();
            for line in 0..120 {
                let salt = if (state >> (line % 50)) & 31 == 0 { commit } else { 0 };
                let _ = writeln!(text, "file {file}, line {line}, value {}", file * 7919 + line * 13 + salt);
            }
            let _ = writeln!(stream, "M 100644 inline d{}/f{file}\ndata {}\n{text}", file % 5, text.len());
        }
    }
    stream
}
