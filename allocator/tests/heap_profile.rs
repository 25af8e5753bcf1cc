//! Heap profiles of a Rust program that has the crate as its global allocator.
//!
//! The program is this one, started again under a configuration (`in_a_child`). Its profiles are read here, by a crate that
//! follows the published schema, and the unwinder of the compiler's runtime says which function an address belongs to.

#[path = "../../ffi/src/bin/fairground/pprof.rs"]
mod pprof;

use fairground_allocator::Fairground;
use fairground_allocator::profile::{self, WriteError};
use pprof::Profile;
use prost::Message;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::hint::black_box;
use std::mem::forget;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{fs, ptr, thread};

#[global_allocator]
static GLOBAL: Fairground = Fairground;

const MIB: usize = 1 << 20;

// ------------------------------------------------------------------------------------------------ places

#[inline(never)]
fn kept() -> Box<[u64; 125]> {
    black_box(Box::new([1; 125]))
}

#[inline(never)]
fn freed() -> Vec<u8> {
    black_box(vec![1; 3000])
}

#[inline(never)]
fn zeroed(size: usize) -> Vec<u8> {
    let zeroes = vec![0; size];
    assert!(zeroes.iter().all(|&byte| byte == 0));
    black_box(zeroes)
}

/// Grown and shrunk through all engines: 6 allocations.
#[inline(never)]
fn grown() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    bytes.extend(b"0123456789");
    for size in [100, 5_000, 300_000, 6 * MIB] {
        bytes.reserve_exact(size - bytes.len());
        assert_eq!(bytes.capacity(), size);
    }
    bytes.shrink_to(2 * MIB);
    assert_eq!(bytes, b"0123456789");
    black_box(bytes)
}

#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "it is its size that counts")] [u8; 4096]);

#[inline(never)]
fn aligned() -> Box<Page> {
    black_box(Box::new(Page([1; 4096])))
}

#[inline(never)]
fn in_thread() -> Box<[u32; 12]> {
    black_box(Box::new([1; 12]))
}

#[inline(never)]
fn leaking() -> Vec<u8> {
    black_box(Vec::with_capacity(12_345))
}

fn places() -> [(&'static str, usize); 7] {
    [
        ("kept", kept as *const () as usize),
        ("freed", freed as *const () as usize),
        ("zeroed", zeroed as *const () as usize),
        ("grown", grown as *const () as usize),
        ("aligned", aligned as *const () as usize),
        ("in_thread", in_thread as *const () as usize),
        ("leaking", leaking as *const () as usize),
    ]
}

// ------------------------------------------------------------------------------------------------ the program

const CHILD: &str = "FAIRGROUND_TEST_CHILD";
const FOLDER: &str = "FAIRGROUND_TEST_FOLDER";

/// Not a test of its own: what the processes below do.
#[test]
fn in_a_child() {
    let Ok(what) = std::env::var(CHILD) else { return println!("skipped: only for child processes") };
    println!("\naddress={}", in_a_child as *const () as usize);
    match what.as_str() {
        "exact" => exact(),
        "estimate" => {
            forget((0..40_000).map(|_| in_thread()).collect::<Vec<_>>().split_off(20_000));
            forget((0..2_000).map(|_| kept()).collect::<Vec<_>>());
            drop((0..2_000).map(|_| freed()).collect::<Vec<_>>());
        }
        "storm" => storm(),
        "leak" => {
            drop((0..100).map(|_| freed()).collect::<Vec<_>>());
            forget(leaking());
        }
        _ => unreachable!("{what}"),
    }
}

fn write(name: &str) -> Result<(), WriteError> {
    let path = PathBuf::from(std::env::var_os(FOLDER).expect("a folder")).join(name);
    profile::write(&CString::new(path.into_os_string().into_encoded_bytes()).expect("a path"))
}

fn exact() {
    let mut blocks: Vec<_> = (0..100).map(|_| kept()).collect();
    (0..50).for_each(|_| drop(freed()));
    forget([zeroed(5 * MIB), zeroed(1000)]);
    // Where something else has been.
    (0..20).for_each(|_| zeroed(1000).fill(1));
    forget(grown());
    forget((0..10).map(|_| aligned()).collect::<Vec<_>>().split_off(4));
    // Allocated by four threads; half of it is freed by this one, the other half stays.
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| (0..200).map(|_| in_thread()).collect::<Vec<_>>())).collect();
    threads.into_iter().for_each(|thread| forget(thread.join().expect("blocks").split_off(100)));
    assert_eq!(write("now.pb"), Ok(()));
    assert_eq!(write("no/such/folder.pb"), Err(WriteError::System(libc::ENOENT)));
    blocks.truncate(40);
    forget(blocks);
}

/// Profiles are written, some to the same file, while threads allocate, start and end; some go on to the end of the process.
fn storm() {
    static ROUNDS: AtomicUsize = AtomicUsize::new(0);
    forget((0..100).map(|_| kept()).collect::<Vec<_>>());
    for _ in 0..2 {
        thread::spawn(|| {
            loop {
                let blocks: Vec<_> = (0..20).map(|_| in_thread()).collect();
                thread::spawn(move || drop(blocks)).join().expect("frees");
                ROUNDS.fetch_add(1, Relaxed);
            }
        });
    }
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            thread::spawn(move || {
                for n in 0..10 {
                    let before = ROUNDS.load(Relaxed);
                    assert_eq!(write(&format!("{writer}.{n}.pb")), Ok(()));
                    assert_eq!(write("both.pb"), Ok(()));
                    while ROUNDS.load(Relaxed) == before {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().expect("profiles"));
}

// ------------------------------------------------------------------------------------------------ what it leaves behind

struct Child {
    folder: PathBuf,
    errors: String,
    /// How much higher this process's code lies than the child's.
    shift: usize,
}

/// Runs a child under a configuration; its profile at exit goes to `exit.pb` of an empty folder.
fn child(what: &str, configuration: &str) -> Child {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("heap_profile_{what}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    // Behind what the whole run is configured with: reserving 1 TiB takes an emulator seconds.
    let outer = std::env::var("FAIRGROUND_CONF").map_or(String::new(), |outer| outer + ",");
    let mut command = Command::new("timeout");
    command.arg("100").args(std::env::var_os("FAIRGROUND_TEST_RUNNER"));
    command.arg(std::env::current_exe().expect("this program")).args(["--exact", "in_a_child", "--nocapture"]);
    command.env(CHILD, what).env(FOLDER, &folder);
    command.env("FAIRGROUND_CONF", format!("{outer}{configuration},profile_to:{}/exit.pb", folder.display()));
    let output = command.output().expect("run timeout(1)");
    let [printed, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    assert!(output.status.success(), "{}\n{printed}\n{errors}", output.status);
    let address = printed.lines().find_map(|line| line.strip_prefix("address=")).expect("an address");
    let address: usize = address.parse().expect("a number");
    Child { folder, errors, shift: (in_a_child as *const () as usize).wrapping_sub(address) }
}

/// The name of the place whose code has this address, in this process.
fn place_at(address: usize) -> Option<&'static str> {
    unsafe extern "C" {
        fn _Unwind_FindEnclosingFunction(return_address: *const c_void) -> *const c_void;
    }
    // SAFETY: any address may be asked for. It is taken as one behind the call.
    let function = unsafe { _Unwind_FindEnclosingFunction(ptr::without_provenance(address.wrapping_add(1))) };
    places().into_iter().find(|place| place.1 == function.addr()).map(|place| place.0)
}

impl Child {
    fn profile(&self, name: &str) -> Profile {
        let contents = fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Profile::decode(&*contents).expect("a profile")
    }

    /// The values of all samples by the place that allocated: allocated objects and bytes, those in use.
    fn by_place(&self, name: &str) -> BTreeMap<&'static str, [i64; 4]> {
        let profile = self.profile(name);
        let program = std::env::current_exe().expect("this program");
        let own = profile.mapping.iter().find(|m| Path::new(&profile.text(m.filename)).ends_with(&program));
        let own = own.expect("the program is a mapping").id;
        let mut values = BTreeMap::new();
        for sample in &profile.sample {
            let mut locations = sample.location_id.iter().map(|id| {
                profile.location.iter().find(|location| location.id == *id).expect("a location for each number")
            });
            let place = locations.find_map(|location| {
                place_at((location.address as usize).wrapping_add(self.shift)).filter(|_| location.mapping_id == own)
            });
            let sum: &mut [i64; 4] = values.entry(place.unwrap_or("elsewhere")).or_default();
            sum.iter_mut().zip(&sample.value).for_each(|(sum, value)| *sum += value);
        }
        values
    }
}

// ------------------------------------------------------------------------------------------------ tests

#[test]
fn every_way_to_allocate_is_counted_exactly_when_every_block_is_recorded() {
    let child = child("exact", "profile:true,profile_every:1");
    assert_eq!(child.profile("exit.pb").period, 1);
    let (now, exit) = (child.by_place("now.pb"), child.by_place("exit.pb"));
    assert_eq!(now["kept"], [100, 100_000, 100, 100_000]);
    assert_eq!(exit["kept"], [100, 100_000, 40, 40_000]);
    let mib = MIB as i64;
    for values in [now, exit] {
        assert_eq!(values["freed"], [50, 150_000, 0, 0]);
        assert_eq!(values["zeroed"], [22, 5 * mib + 21_000, 2, 5 * mib + 1_000]);
        assert_eq!(values["grown"], [6, 305_110 + 8 * mib, 1, 2 * mib]);
        assert_eq!(values["aligned"], [10, 40_960, 6, 24_576]);
        assert_eq!(values["in_thread"], [800, 38_400, 400, 19_200]);
        assert!(!values.contains_key("leaking"));
    }
}

#[test]
fn estimates_are_near_what_was_allocated_at_each_place() {
    let child = child("estimate", "profile:true,profile_every:1K");
    let values = child.by_place("exit.pb");
    // 4.6 % of the small blocks are sampled: for those in use a spread of 3 in a hundred, and less for the others.
    for (place, expected) in [
        ("in_thread", [40_000.0, 1_920_000.0, 20_000.0, 960_000.0]),
        ("kept", [2_000.0, 2_000_000.0, 2_000.0, 2_000_000.0]),
        ("freed", [2_000.0, 6_000_000.0, 0.0, 0.0]),
    ] {
        for (value, expected) in values[place].into_iter().zip(expected) {
            assert!((value as f64 - expected).abs() <= 0.2 * expected, "{place}: {:?}", values[place]);
        }
    }
}

#[test]
fn profiles_are_whole_while_threads_allocate_and_nobody_waits_for_ever() {
    let child = child("storm", "profile:true,profile_every:1,leaks:true");
    let numbered = (0..20).map(|n| format!("{}.{}.pb", n % 2, n / 2));
    for name in numbered.chain(["both.pb".into(), "exit.pb".into()]) {
        let values = child.by_place(&name);
        assert_eq!(values["kept"], [100, 100_000, 100, 100_000], "{name}");
        let threads = values.get("in_thread").copied().unwrap_or_default();
        assert!(threads[2] <= threads[0] && threads[2] <= 40, "two threads, each with 20 blocks: {name}: {threads:?}");
    }
    assert!(child.errors.contains("fairground: leaks: "), "{}", child.errors);
}

#[test]
fn the_report_of_leaks_names_the_place_that_leaks() {
    let child = child("leak", "leaks:true,profile_every:1");
    let report = &child.errors;
    assert!(report.contains("(exact: every block was recorded)"), "{report}");
    let mut info = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    // SAFETY: asks where this program was loaded.
    assert_ne!(unsafe { libc::dladdr(in_a_child as *const c_void, &mut info) }, 0);
    // "function+0x12 (file+0x3456)", and for functions that are no dynamic symbols only what is in brackets.
    let place = |frame: &str| {
        let offset = frame.trim_end().strip_suffix(')')?.rsplit_once("+0x")?.1;
        place_at(info.dli_fbase.addr() + usize::from_str_radix(offset, 16).ok()?)
    };
    let (_, leak) = report.split_once("  12345 bytes in 1 block from\n").unwrap_or_else(|| panic!("{report}"));
    let found = leak.lines().take_while(|line| line.starts_with("    ")).find_map(place);
    assert_eq!(found, Some("leaking"), "{report}");
    assert!(!report.lines().any(|line| place(line) == Some("freed")), "{report}");
    assert_eq!(fs::read_dir(&child.folder).expect("a folder").count(), 0, "a report alone writes no file");
}

#[test]
fn without_a_profile_there_is_nothing_to_write() {
    if std::env::var_os("FAIRGROUND_CONF").is_none() {
        assert_eq!(profile::write(c"/dev/null"), Err(WriteError::NotProfiling));
    }
}
