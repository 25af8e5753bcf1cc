//! Code that knows nothing of tasks, preempted every 100 us, with every result checked, for as long as `FAIRGROUND_STRESS_SECONDS` says (4 if it says
//! nothing): the system's allocator, std's locks and maps, output, unwinding, regular expressions, a C library with locks of its own, the dynamic
//! linker, the resolver, fork and exec.

use fairground_runtime::sched::Tunables;
use fairground_runtime::{Runtime, spawn, time, yield_now};
use regex::Regex;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::net::ToSocketAddrs;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

fn seconds() -> u64 {
    std::env::var("FAIRGROUND_STRESS_SECONDS").map_or(4, |text| text.parse().expect("a number of seconds"))
}

/// What all tasks share.
#[derive(Default)]
struct Shared {
    counts: Mutex<HashMap<String, u64>>,
    tree: RwLock<BTreeMap<u64, String>>,
    done: [AtomicU64; KINDS.len()],
}

type Kind = (&'static str, fn(&Shared, u64));

const KINDS: [Kind; 11] = [
    ("allocator", allocator),
    ("std's mutex", mutex),
    ("std's rwlock", rwlock),
    ("unwinding", unwinding),
    ("regex", regex),
    ("sqlite", sqlite),
    ("dlopen", linker),
    ("getaddrinfo", resolver),
    ("output", output),
    ("sleeping in the kernel", sleeps),
    ("tasks", tasks),
];

fn allocator(_: &Shared, n: u64) {
    let mut kept: Vec<Vec<u64>> = Vec::new();
    for i in 0..200 {
        kept.push(vec![n ^ i; (i * 7 % 300) as usize]);
        if i % 3 == 0 {
            kept.swap_remove((n % kept.len() as u64) as usize);
        }
    }
    for block in &kept {
        assert!(block.windows(2).all(|pair| pair[0] == pair[1]), "somebody else wrote into it");
    }
}

fn mutex(shared: &Shared, n: u64) {
    for i in 0..50 {
        *shared.counts.lock().expect("no panic").entry(format!("key {}", (n + i) % 9)).or_default() += 1;
    }
}

fn rwlock(shared: &Shared, n: u64) {
    shared.tree.write().expect("no panic").insert(n % 512, format!("{}", n % 512));
    let tree = shared.tree.read().expect("no panic");
    assert!(tree.iter().all(|(key, text)| *text == key.to_string()));
}

fn unwinding(_: &Shared, n: u64) {
    struct Counts<'a>(&'a AtomicU64);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn deep(depth: u64, dropped: &AtomicU64, payload: u64) {
        let _counts = Counts(dropped);
        if depth == 0 {
            std::panic::resume_unwind(Box::new(payload));
        }
        deep(depth - 1, dropped, payload);
    }
    let dropped = AtomicU64::new(0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| deep(20, &dropped, n)));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
    assert_eq!(dropped.into_inner(), 21);
    assert!(!std::thread::panicking());
}

fn regex(_: &Shared, n: u64) {
    let words = Regex::new(r"(?i)\b([a-z]+)-(\d+)\b").expect("a pattern");
    let text = format!("task-{n} and Thread-{} but not 7-up", n * 3);
    let found: Vec<_> = words.captures_iter(&text).map(|found| found[2].to_string()).collect();
    assert_eq!(found, [n.to_string(), (n * 3).to_string()]);
}

/// A function of a shared object.
///
/// # Safety
/// `F` is its type.
unsafe fn symbol<F: Copy>(object: *mut c_void, name: &CStr) -> F {
    // SAFETY: an object that is open.
    let address = unsafe { libc::dlsym(object, name.as_ptr()) };
    assert!(!address.is_null(), "{name:?}");
    // SAFETY: the caller's promise.
    unsafe { std::mem::transmute_copy(&address) }
}

fn sqlite(_: &Shared, n: u64) {
    type Row = extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
    type Exec = unsafe extern "C" fn(*mut c_void, *const c_char, Option<Row>, *mut c_void, *mut *mut c_char) -> c_int;
    extern "C" fn row(sum: *mut c_void, columns: c_int, values: *mut *mut c_char, _: *mut *mut c_char) -> c_int {
        assert_eq!(columns, 1);
        // SAFETY: one value, a string; and the place that was handed over.
        unsafe { *sum.cast::<u64>() = CStr::from_ptr(*values).to_str().expect("ASCII").parse().expect("a number") };
        0
    }
    // SAFETY: libraries of the system, used as their manuals say.
    unsafe {
        let library = libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW);
        if library.is_null() {
            return;
        }
        let open: unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int = symbol(library, c"sqlite3_open");
        let close: unsafe extern "C" fn(*mut c_void) -> c_int = symbol(library, c"sqlite3_close");
        let exec: Exec = symbol(library, c"sqlite3_exec");
        let mut database = null_mut();
        assert_eq!(open(c":memory:".as_ptr(), &raw mut database), 0);
        let mut sum = 0_u64;
        let text = format!(
            "create table t(x integer); with recursive c(x) as (select 1 union all select x+1 from c where x<200) \
             insert into t select x from c; select sum(x)+{} from t;\0",
            n % 1000
        );
        let done = exec(database, text.as_ptr().cast(), Some(row), (&raw mut sum).cast(), null_mut());
        assert_eq!((done, sum), (0, 20_100 + n % 1000));
        assert_eq!(close(database), 0);
        libc::dlclose(library);
    }
}

fn linker(_: &Shared, n: u64) {
    // SAFETY: libraries of the system, and a function without arguments.
    unsafe {
        let library = libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null());
        let sqrt: extern "C" fn(f64) -> f64 = symbol(library, c"sqrt");
        let root = (n % 1000) as f64;
        assert_eq!(sqrt(root * root), root);
        libc::dlclose(library);
    }
}

fn resolver(_: &Shared, n: u64) {
    if n.is_multiple_of(8) {
        let mut addresses = ("localhost", 80).to_socket_addrs().expect("the resolver");
        assert!(addresses.all(|address| address.ip().is_loopback()));
    }
}

fn output(_: &Shared, _: u64) {
    let mut out = std::io::stdout().lock();
    for _ in 0..20 {
        out.write_all(b"").expect("standard output");
    }
    out.flush().expect("standard output");
}

fn sleeps(_: &Shared, n: u64) {
    std::thread::sleep(Duration::from_micros(n % 700));
    if n.is_multiple_of(64) {
        assert!(std::process::Command::new("true").status().expect("a process").success());
    }
}

fn tasks(_: &Shared, n: u64) {
    let (to, from) = fairground_runtime::channel::bounded(2);
    let sends = spawn(move || (0..10).for_each(|i| to.send(n + i).expect("somebody receives")));
    assert_eq!((0..10).map(|_| from.recv().expect("somebody sends")).sum::<u64>(), 10 * n + 45);
    sends.join().expect("no panic");
    time::sleep(Duration::from_micros(n % 200));
    yield_now();
}

#[test]
fn every_result_is_right_with_a_preemption_each_100_us() {
    let mut tunables = Tunables::default();
    tunables.latency = 200_000;
    tunables.min_granularity = 100_000;
    tunables.wakeup_granularity = 50_000;
    // SAFETY: nothing here keeps anything of its kernel thread over a suspension point; `tasks`, which suspends, holds nothing else meanwhile.
    let runtime = unsafe { Runtime::builder().migrating() }.tunables(tunables).workers(2).build().expect("a runtime");
    let shared = Arc::new(Shared::default());
    let end = Instant::now() + Duration::from_secs(seconds());
    let all: Vec<_> = (0..2 * KINDS.len())
        .map(|index| {
            let shared = Arc::clone(&shared);
            runtime.spawn(move || {
                let kind = index % KINDS.len();
                let mut n = index as u64;
                while Instant::now() < end {
                    KINDS[kind].1(&shared, n);
                    n += 1;
                    shared.done[kind].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|task| task.join().expect("no panic"));
    for (kind, done) in KINDS.iter().zip(&shared.done) {
        println!("{:<24}{:>10}", kind.0, done.load(Ordering::Relaxed));
        assert_ne!(done.load(Ordering::Relaxed), 0, "{}", kind.0);
    }
    let counted: u64 = shared.counts.lock().expect("no panic").values().sum();
    assert_eq!(counted, 50 * shared.done[1].load(Ordering::Relaxed));
    let listing = runtime.ps();
    println!("{listing}");
    assert!(listing.cpus.iter().map(|cpu| cpu.preemptions).sum::<u64>() > 100);
}
