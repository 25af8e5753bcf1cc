//! Configuration: `key:value,key:value`, read once, before the first block is handed out, without allocating.
//!
//! Two places are read, the later one has the last word:
//! 1. the symbol `fairground_conf` of the program ([`configure!`](crate::configure), or `const char fairground_conf[]` in C);
//! 2. the environment variable `FAIRGROUND_CONF`, unless the process has gained privileges (setuid: `AT_SECURE`).
//!
//! A key that is not known and a value that is not allowed get one line on stderr, with what is allowed, and are skipped.
//!
//! After it has been read the configuration is constant: `get` returns a shared reference, and what may change later
//! (`mallopt`) has a variable of its own in the module it belongs to. The lock is taken alone, before any other.

use crate::arch;
use crate::lock::Lock;
use crate::os::environment;
use crate::report;
use crate::text::Text;
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// Name of the environment variable.
pub const VARIABLE: &str = "FAIRGROUND_CONF";

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// What is done about huge pages (2 MiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// Whatever the system's setting says; nothing is asked for.
    System,
    /// Asked for where 2 MiB are nearly all in use.
    Dense,
    /// Refused for all of the allocator's memory.
    Never,
}

/// In which form statistics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistics {
    None,
    Text,
    Json,
}

/// What is done when a misused pointer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMisuse {
    /// A line on stderr, then `abort`.
    Abort,
    /// A line on stderr; the call does nothing.
    Report,
}

/// Bytes a path may have.
const PATH_MAX: usize = 255;

/// A path, in which `%p` stands for the process id. Empty: none was given.
#[derive(Clone, Copy)]
pub(crate) struct PathText {
    bytes: [u8; PATH_MAX + 1],
    len: usize,
}

impl PathText {
    const EMPTY: PathText = PathText { bytes: [0; PATH_MAX + 1], len: 0 };

    /// The path's bytes as they were given.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What has been configured; the fields are described in [`KEYS`].
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) decay_ms: u32,
    pub(crate) dirty_cap: usize,
    pub(crate) background: bool,
    pub(crate) huge_pages: HugePages,
    pub(crate) arenas: u8,
    pub(crate) reserve: usize,
    pub(crate) mmap_threshold: usize,
    pub(crate) stats: Statistics,
    pub(crate) stats_to: PathText,
    pub(crate) stats_signal: u8,
    pub(crate) misuse: OnMisuse,
    pub(crate) zero_on_free: bool,
    pub(crate) hardened: bool,
    pub(crate) hardened_sample: u32,
    pub(crate) profile: bool,
    pub(crate) profile_every: usize,
    pub(crate) profile_to: PathText,
    pub(crate) leaks: bool,
    pub(crate) name_maps: bool,
}

impl Config {
    /// What holds where nothing is configured.
    pub(crate) const DEFAULT: Config = Config {
        decay_ms: 250,
        dirty_cap: 0,
        background: false,
        huge_pages: HugePages::System,
        arenas: 1,
        reserve: 1024 * GIB,
        mmap_threshold: 0,
        stats: Statistics::None,
        stats_to: PathText::EMPTY,
        stats_signal: 0,
        misuse: OnMisuse::Abort,
        zero_on_free: false,
        hardened: false,
        hardened_sample: 64,
        profile: false,
        profile_every: 512 * KIB,
        profile_to: PathText::EMPTY,
        leaks: false,
        name_maps: false,
    };
}

/// What values a key takes, and where they go.
enum Value {
    Flag(fn(&mut Config, bool)),
    /// A number between two bounds, both allowed.
    Number(usize, usize, fn(&mut Config, usize)),
    /// Likewise a size in bytes, with K, M, G or T behind it; 0 is allowed besides if the flag says so.
    Bytes(usize, usize, bool, fn(&mut Config, usize)),
    Word(&'static [&'static str], fn(&mut Config, usize)),
    Path(fn(&mut Config, PathText)),
}

/// A key of the configuration.
pub struct Key {
    /// Its name, as it is written before the colon.
    pub name: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    value: Value,
}

impl Key {
    /// Calls `piece` with the parts of a text that says which values are allowed.
    pub fn allowed(&self, mut piece: impl FnMut(&str)) {
        let mut sink = |bytes: &[u8]| piece(core::str::from_utf8(bytes).unwrap_or("?"));
        self.write_allowed(&mut Text::new(&mut sink));
    }

    fn write_allowed(&self, text: &mut Text) {
        match &self.value {
            Value::Flag(_) => text.text("true or false"),
            Value::Number(least, most, _) => text.text("a number from ").number(*least).text(" to ").number(*most),
            Value::Bytes(least, most, or_zero, _) => {
                text.text(if *or_zero { "0, or bytes from " } else { "bytes from " });
                write_bytes(text, *least);
                text.text(" to ");
                write_bytes(text, *most);
                text.text(" (as in 64M)")
            }
            Value::Word(words, _) => {
                for (i, word) in words.iter().enumerate() {
                    text.text(if i == 0 { "" } else { ", " }).text(word);
                }
                text
            }
            Value::Path(_) => text.text("a path of at most ").number(PATH_MAX).text(" bytes without a comma"),
        };
    }
}

fn write_bytes(text: &mut Text, bytes: usize) {
    let units = [(1024 * GIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")];
    match units.into_iter().find(|&(unit, _)| bytes >= unit && bytes.is_multiple_of(unit)) {
        Some((unit, name)) => text.number(bytes / unit).text(name),
        None => text.number(bytes),
    };
}

/// All keys.
pub static KEYS: &[Key] = &[
    Key {
        name: "decay_ms",
        default: "250",
        meaning: "milliseconds that free memory which is not needed stays before it goes back to the system; 0: at once",
        value: Value::Number(0, 3_600_000, |c, v| c.decay_ms = v as u32),
    },
    Key {
        name: "dirty_cap",
        default: "0",
        meaning: "bytes of free memory kept at most; 0: 64M, or twice what was in use of late, but never more than the program ever needed, and a quarter",
        value: Value::Bytes(MIB, 1024 * GIB, true, |c, v| c.dirty_cap = v),
    },
    Key {
        name: "background",
        default: "false",
        meaning: "a thread gives memory back also while the program does nothing",
        value: Value::Flag(|c, v| c.background = v),
    },
    Key {
        name: "huge_pages",
        default: "system",
        meaning: "system: as the system is set; dense: ask for huge pages where 2 MiB are nearly all in use; never: refuse them",
        value: Value::Word(&["system", "dense", "never"], |c, v| {
            c.huge_pages = [HugePages::System, HugePages::Dense, HugePages::Never][v];
        }),
    },
    Key {
        name: "arenas",
        default: "1",
        meaning: "sets of bins (blocks of 8 KiB to 256 KiB) for each NUMA node; more of them cost memory and spare waiting",
        value: Value::Number(1, 4, |c, v| c.arenas = v as u8),
    },
    Key {
        name: "reserve",
        default: "1T",
        meaning: "address space reserved at start, at most; less is taken where a limit forbids it",
        value: Value::Bytes(256 * MIB, 1024 * GIB, false, |c, v| c.reserve = v),
    },
    Key {
        name: "mmap_threshold",
        default: "0",
        meaning: "size above which a block gets a mapping of its own; 0: adapts to what the program frees",
        value: Value::Bytes(4 * MIB, 32 * MIB, true, |c, v| c.mmap_threshold = v),
    },
    Key {
        name: "stats",
        default: "none",
        meaning: "statistics at exit, as text or JSON",
        value: Value::Word(&["none", "text", "json"], |c, v| {
            c.stats = [Statistics::None, Statistics::Text, Statistics::Json][v];
        }),
    },
    Key {
        name: "stats_to",
        default: "",
        meaning: "file the statistics are appended to instead of stderr; %p in it is the process id",
        value: Value::Path(|c, v| c.stats_to = v),
    },
    Key {
        name: "stats_signal",
        default: "0",
        meaning: "number of a signal on which statistics are written; 0: none",
        value: Value::Number(0, 64, |c, v| c.stats_signal = v as u8),
    },
    Key {
        name: "misuse",
        default: "abort",
        meaning: "what follows the message about a wrong pointer: the end of the process, or nothing",
        value: Value::Word(&["abort", "report"], |c, v| c.misuse = [OnMisuse::Abort, OnMisuse::Report][v]),
    },
    Key {
        name: "zero_on_free",
        default: "false",
        meaning: "freed blocks are filled with zeroes",
        value: Value::Flag(|c, v| c.zero_on_free = v),
    },
    Key {
        name: "hardened",
        default: "false",
        meaning: "overflows, use after free and double frees are looked for at every free; slower, and more memory",
        value: Value::Flag(|c, v| c.hardened = v),
    },
    Key {
        name: "hardened_sample",
        default: "64",
        meaning: "if hardened: one of so many freed blocks is checked further, one of 16 times so many of 64 KiB and more gets a guard page",
        value: Value::Number(1, 1_000_000, |c, v| c.hardened_sample = v as u32),
    },
    Key {
        name: "profile",
        default: "false",
        meaning: "samples allocations with their backtraces and writes a profile at exit",
        value: Value::Flag(|c, v| c.profile = v),
    },
    Key {
        name: "profile_every",
        default: "512K",
        meaning: "bytes between two samples, on average",
        value: Value::Bytes(1, GIB, false, |c, v| c.profile_every = v),
    },
    Key {
        name: "profile_to",
        default: "",
        meaning: "file of the profile, instead of fairground.%p.heap.pb; %p in it is the process id",
        value: Value::Path(|c, v| c.profile_to = v),
    },
    Key {
        name: "leaks",
        default: "false",
        meaning: "a report at exit, on stderr, of what was never freed, from samples as `profile` takes them",
        value: Value::Flag(|c, v| c.leaks = v),
    },
    Key {
        name: "name_maps",
        default: "false",
        meaning: "the allocator's mappings bear names in /proc/PID/maps, where the kernel can do that",
        value: Value::Flag(|c, v| c.name_maps = v),
    },
];

struct Shared {
    read: AtomicBool,
    lock: Lock,
    config: UnsafeCell<Config>,
}

// SAFETY: `config` is written once under `lock`, before `read` is published; after that it is only read.
unsafe impl Sync for Shared {}

static SHARED: Shared =
    Shared { read: AtomicBool::new(false), lock: Lock::new(), config: UnsafeCell::new(Config::DEFAULT) };
static DEFAULT: Config = Config::DEFAULT;

/// The configuration; the defaults until [`read_once`] has been called.
pub(crate) fn get() -> &'static Config {
    if SHARED.read.load(Acquire) {
        // SAFETY: constant from the publication of `read` on.
        unsafe { &*SHARED.config.get() }
    } else {
        &DEFAULT
    }
}

/// Reads the configuration if that has not happened, and then calls `apply` with it, once for the process.
#[cold]
pub(crate) fn read_once(apply: impl FnOnce(&Config)) {
    let _guard = SHARED.lock.lock();
    if SHARED.read.load(Acquire) {
        return;
    }
    // SAFETY: under the lock and not yet published.
    let config = unsafe { &mut *SHARED.config.get() };
    let symbol = arch::conf_symbol();
    if !symbol.is_null() {
        // SAFETY: the program defines it as a text that ends with a zero byte.
        let text = unsafe { core::ffi::CStr::from_ptr(symbol.cast()) };
        parse(text.to_bytes(), config, &mut |c| c.print("fairground_conf"));
    }
    environment::with_variable(VARIABLE, |text| parse(text, config, &mut |c| c.print(VARIABLE)));
    apply(config);
    SHARED.read.store(true, Release);
}

/// A part of a configuration that was skipped.
struct Complaint<'a> {
    part: &'a [u8],
    /// The key, if it is known.
    key: Option<&'static Key>,
}

impl Complaint<'_> {
    fn print(&self, place: &str) {
        report::line(|text| self.write(place, text));
    }

    fn write(&self, place: &str, text: &mut Text) {
        text.text(place).text(": '");
        for &byte in self.part.iter().take(100) {
            text.bytes(&[if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' }]);
        }
        text.text(if self.part.len() > 100 { "...' is skipped: " } else { "' is skipped: " });
        match self.key {
            Some(key) => {
                text.text(key.name).text(" takes ");
                key.write_allowed(text);
            }
            None => {
                text.text("allowed are KEY:VALUE, with commas between, and the keys ");
                for (i, key) in KEYS.iter().enumerate() {
                    text.text(if i == 0 { "" } else { ", " }).text(key.name);
                }
            }
        }
    }
}

/// Parses a configuration as the environment variable has it, changes nothing, and calls `complaint` with the pieces of a line
/// about each part that would be skipped. For tools and tests.
pub fn check(text: &[u8], mut complaint: impl FnMut(&[u8])) {
    let mut config = Config::DEFAULT;
    parse(text, &mut config, &mut |c| {
        let mut line = Text::new(&mut complaint);
        c.write(VARIABLE, &mut line);
        line.text("\n");
    });
}

fn parse<'a>(text: &'a [u8], config: &mut Config, complain: &mut dyn FnMut(Complaint<'a>)) {
    for part in text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()) {
        let (name, value) = match part.iter().position(|&byte| byte == b':') {
            Some(colon) => (&part[..colon], Some(&part[colon + 1..])),
            None => (part, None),
        };
        let key = KEYS.iter().find(|key| key.name.as_bytes() == name.trim_ascii());
        let taken = key.zip(value).is_some_and(|(key, value)| set(config, key, value.trim_ascii()));
        if !taken {
            complain(Complaint { part, key });
        }
    }
}

/// Sets a key; false if the value is not allowed.
fn set(config: &mut Config, key: &Key, value: &[u8]) -> bool {
    let done = match &key.value {
        Value::Flag(to) => flag(value).map(|v| to(config, v)),
        Value::Number(least, most, to) => number(value).filter(|v| (least..=most).contains(&v)).map(|v| to(config, v)),
        Value::Bytes(least, most, or_zero, to) => {
            bytes(value).filter(|v| (least..=most).contains(&v) || *v == 0 && *or_zero).map(|v| to(config, v))
        }
        Value::Word(words, to) => words.iter().position(|word| word.as_bytes() == value).map(|v| to(config, v)),
        Value::Path(to) => path(value).map(|v| to(config, v)),
    };
    done.is_some()
}

fn flag(value: &[u8]) -> Option<bool> {
    match value {
        b"true" | b"1" | b"yes" | b"on" => Some(true),
        b"false" | b"0" | b"no" | b"off" => Some(false),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<usize> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0usize, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| (byte - b'0') as usize)?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn bytes(value: &[u8]) -> Option<usize> {
    let (last, rest) = value.split_last()?;
    let unit = match last.to_ascii_uppercase() {
        b'K' => KIB,
        b'M' => MIB,
        b'G' => GIB,
        b'T' => 1024 * GIB,
        _ => return number(value),
    };
    number(rest)?.checked_mul(unit)
}

fn path(value: &[u8]) -> Option<PathText> {
    if value.is_empty() || value.len() > PATH_MAX || value.contains(&0) {
        return None;
    }
    let mut path = PathText { len: value.len(), ..PathText::EMPTY };
    path.bytes[..value.len()].copy_from_slice(value);
    Some(path)
}

/// Configures the allocator from within a Rust program that uses it: the environment variable still has the last word.
///
/// ```
/// fairground_allocator::configure!("decay_ms:1000,dirty_cap:128M");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! configure {
    ($text:literal) => {
        #[doc(hidden)]
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        pub static fairground_conf: [u8; concat!($text, "\0").len()] = {
            let text = concat!($text, "\0").as_bytes();
            let mut bytes = [0; concat!($text, "\0").len()];
            let mut at = 0;
            while at < text.len() {
                bytes[at] = text[at];
                at += 1;
            }
            bytes
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Config, Vec<String>) {
        let mut config = Config::DEFAULT;
        let mut complaints = Vec::new();
        parse(text.as_bytes(), &mut config, &mut |c| {
            let mut line = Vec::new();
            c.write("X", &mut Text::new(&mut |piece: &[u8]| line.extend_from_slice(piece)));
            complaints.push(String::from_utf8(line).expect("text"));
        });
        (config, complaints)
    }

    #[test]
    fn every_kind_of_value_is_taken() {
        let (config, complaints) = parsed(
            "decay_ms:1000, dirty_cap:128M,background:true,huge_pages:dense,stats:json,stats_to:/tmp/a:b.%p,profile_every:1",
        );
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!((config.decay_ms, config.dirty_cap, config.background), (1000, 128 << 20, true));
        assert_eq!((config.huge_pages, config.stats), (HugePages::Dense, Statistics::Json));
        assert_eq!((config.stats_to.bytes(), config.profile_every), (&b"/tmp/a:b.%p"[..], 1));
    }

    #[test]
    fn what_is_wrong_is_skipped_by_name_and_the_rest_taken() {
        let (config, complaints) = parsed("decay_ms:never,no_such:1,background,arenas:5,arenas:2,dirty_cap:99999T");
        assert_eq!(config.arenas, 2);
        assert_eq!(config.decay_ms, Config::DEFAULT.decay_ms);
        assert_eq!(complaints.len(), 5, "{complaints:?}");
        assert_eq!(complaints[0], "X: 'decay_ms:never' is skipped: decay_ms takes a number from 0 to 3600000");
        assert!(complaints[1].contains("'no_such:1' is skipped: allowed are KEY:VALUE"));
        assert!(complaints[1].contains("decay_ms, dirty_cap"));
        assert_eq!(complaints[2], "X: 'background' is skipped: background takes true or false");
        assert_eq!(complaints[3], "X: 'arenas:5' is skipped: arenas takes a number from 1 to 4");
        assert!(complaints[4].ends_with("dirty_cap takes 0, or bytes from 1M to 1T (as in 64M)"), "{}", complaints[4]);
    }

    #[test]
    fn the_defaults_in_the_table_are_those_of_the_code() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let mut config = Config::DEFAULT;
            assert!(set(&mut config, key, key.default.as_bytes()), "{}", key.name);
        }
        let text: Vec<String> =
            KEYS.iter().filter(|k| !k.default.is_empty()).map(|k| format!("{}:{}", k.name, k.default)).collect();
        let (config, complaints) = parsed(&text.join(","));
        assert!(complaints.is_empty());
        let default = Config::DEFAULT;
        assert_eq!(config.decay_ms, default.decay_ms);
        assert_eq!(
            (config.dirty_cap, config.arenas, config.reserve, config.mmap_threshold, config.profile_every),
            (default.dirty_cap, default.arenas, default.reserve, default.mmap_threshold, default.profile_every)
        );
        assert_eq!(
            (config.huge_pages, config.stats, config.misuse, config.hardened_sample),
            (default.huge_pages, default.stats, default.misuse, default.hardened_sample)
        );
    }
}
