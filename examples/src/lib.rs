//! Small complete programs, each for one use of Fairground.
//!
//! | program | shows | run it |
//! |---|---|---|
//! | `src/bin/word_count.rs` | a Rust program with Fairground as its global allocator | `cargo run --release -p fairground-examples --bin word_count` |
//! | `src/bin/heap_tables.rs` | the allocator's statistics, as tables and as JSON | `cargo run --release -p fairground-examples --bin heap_tables` |
//! | `src/runtime/tcp_echo.rs` | a server and clients as green threads, on sockets that look like std's | `cargo run --release --example tcp_echo` |
//! | `c/totals.c` | a C program linked with `libfairground.so`, built by pkg-config | `make install PREFIX=...`, then the line at its head |
//! | `preload.sh` | programs as they are, by the launcher and by `LD_PRELOAD` | `sh examples/preload.sh` |
//!
//! `tests/` builds and runs each and checks what it prints.

/// Text of `words` words for programs that count them: a few words are frequent and many are rare, as in a language.
///
/// # Examples
/// ```
/// let text = fairground_examples::text(1000);
/// assert_eq!(text.split(' ').count(), 1000);
/// ```
pub fn text(words: usize) -> String {
    const SYLLABLES: [&str; 8] = ["ba", "do", "fe", "gu", "ki", "lo", "ne", "ra"];
    let mut random: u64 = 1;
    let mut text = String::new();
    for _ in 0..words {
        // Knuth's MMIX generator; its upper bits are the good ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut choice = random >> 40;
        if !text.is_empty() {
            text.push(' ');
        }
        // Each further syllable is half as likely as the one before.
        loop {
            text.push_str(SYLLABLES[choice as usize % SYLLABLES.len()]);
            choice /= SYLLABLES.len() as u64;
            if choice.is_multiple_of(2) {
                break;
            }
            choice /= 2;
        }
    }
    text
}
