//! Memory given back: what a program has freed leaves its resident memory soon after, without a request for it.
//!
//! Each case runs in a process of its own, which asks the kernel what is resident. There are no timing thresholds: a case acts
//! now and then until the bound holds, and fails if that is not so after ten seconds.

mod support;

use fairground_allocator::malloc::{free, malloc, totals, trim};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::Case;

const MIB: usize = 1 << 20;

/// Blocks of every engine: slabs, bins, page runs, extents.
const SIZES: [usize; 9] = [16, 48, 100, 1 << 10, 5 << 10, 40 << 10, 200 << 10, 1 << 20, 8 << 20];

/// The working set, in bytes asked for. Less in a build without optimisation, where 64 million blocks take minutes.
const SET: usize = if cfg!(debug_assertions) { 128 << 20 } else { 1 << 30 };

/// What may remain beside live data.
const SLACK: usize = 8 * MIB;

/// The least that is given back: the system's page, or what the allocator is made to take for it (`make test-page-sizes`).
const PAGE: usize = if cfg!(fairground_page_64k) {
    64 << 10
} else if cfg!(fairground_page_16k) {
    16 << 10
} else {
    4 << 10
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

/// Blocks, in memory of the system's allocator, all of whose pages have been written to.
struct Blocks {
    size: usize,
    blocks: Vec<*mut u8>,
}

impl Blocks {
    fn new(size: usize) -> Blocks {
        Blocks::of(size, SET)
    }

    fn of(size: usize, bytes: usize) -> Blocks {
        Blocks { size, blocks: (0..bytes / size).map(|_| new_block(size)).collect() }
    }

    /// Frees all but every `every`-th.
    fn free_but_every(&mut self, every: usize) {
        let mut nth = 0;
        self.blocks.retain(|&block| {
            nth += 1;
            let stays = nth % every == 0;
            if !stays {
                // SAFETY: ours; it leaves the list.
                unsafe { free(block) };
            }
            stays
        });
    }

    /// Bytes of the pages that blocks in use lie in, which no allocator can give back, and of the list.
    fn pages(&self) -> usize {
        let page = fairground_allocator::page_size();
        let mut pages: Vec<_> =
            self.blocks.iter().flat_map(|b| b.addr() / page..(b.addr() + self.size).div_ceil(page)).collect();
        pages.sort_unstable();
        pages.dedup();
        pages.len() * page + self.blocks.capacity() * size_of::<*mut u8>()
    }

    fn check(&self) {
        for &block in &self.blocks {
            // SAFETY: ours, of this size.
            let ends = unsafe { (*block, *block.add(self.size - 1)) };
            assert_eq!(ends, (mark(block), mark(block)), "a block in use lost its contents");
        }
    }
}

fn mark(block: *mut u8) -> u8 {
    (block.addr() >> 4) as u8 | 1
}

/// Whether all bytes of a block are its mark.
///
/// # Safety
/// It is a block of this size.
unsafe fn is_filled(block: *mut u8, size: usize) -> bool {
    // SAFETY: by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(block, size) };
    bytes[0] == mark(block) && bytes[1..] == bytes[..size - 1]
}

fn new_block(size: usize) -> *mut u8 {
    let block = malloc(size);
    assert!(!block.is_null());
    for at in (0..size).step_by(4096).chain([size - 1]) {
        // SAFETY: inside the new block.
        unsafe { block.add(at).write(mark(block)) };
    }
    block
}

/// What a program does that has little to do: a few blocks of some size.
fn act(size: usize) {
    let blocks = [new_block(size), new_block(size)];
    // SAFETY: just allocated.
    blocks.into_iter().for_each(|block| unsafe { free(block) });
}

/// Waits until at most this is resident beside `live` bytes in whole pages; now and then there is some activity.
fn wait_for(what: &str, before: usize, live: usize, mut activity: impl FnMut()) {
    let bound = before + live + live / 10 + SLACK;
    let since = Instant::now();
    while resident() > bound {
        assert!(
            since.elapsed() < PATIENCE,
            "{what}: {} KiB are resident, {} KiB before, and {} KiB are live; {:?}",
            resident() >> 10,
            before >> 10,
            live >> 10,
            totals()
        );
        std::thread::sleep(Duration::from_millis(50));
        activity();
    }
    if std::env::var_os("FAIRGROUND_TEST_TIMES").is_some() {
        eprintln!(
            "{what}: {} ms, {} KiB beside {} live",
            since.elapsed().as_millis(),
            resident().saturating_sub(before) >> 10,
            live >> 10
        );
    }
}

fn a_working_set_goes() {
    for size in SIZES {
        let before = resident();
        let mut blocks = Blocks::new(size);
        blocks.free_but_every(usize::MAX);
        blocks.blocks = Vec::new();
        wait_for(&format!("{size} bytes"), before, 0, || act(64));
    }
}

fn a_pinned_working_set(size: usize, every: usize) {
    let before = resident();
    let mut blocks = Blocks::new(size);
    blocks.free_but_every(every);
    blocks.blocks.shrink_to_fit();
    wait_for(&format!("{size} bytes, every {every} kept"), before, blocks.pages(), || act(64));
    blocks.check();
    blocks.free_but_every(usize::MAX);
    blocks.blocks = Vec::new();
    wait_for(&format!("{size} bytes, then all"), before, 0, || act(64));
}

/// A few frees that release a lot, after all had come to rest: they are too few to come by for another reason.
fn a_few_frees_after_a_rest() {
    let rest = |what: &str| {
        let since = Instant::now();
        while totals().dirty > MIB {
            assert!(since.elapsed() < PATIENCE, "{what}: {:?}", totals());
            std::thread::sleep(Duration::from_millis(50));
            act(64);
        }
    };
    let mut blocks = Blocks::of(1 << 10, 128 * MIB);
    blocks.free_but_every(1000);
    rest("most are freed");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        act(64);
    }
    blocks.free_but_every(usize::MAX);
    assert!(totals().dirty > 4 * MIB, "the last ones released nothing");
    rest("the last are freed");
}

/// A burst of frees of mixed sizes, and after it only small blocks that come and go: the sheaves, warm from the burst, serve them all.
fn small_pairs_after_a_burst() {
    let before = resident();
    let sizes = || (0..SET / 8 / 500).map(|i| 16 + i * 7919 % 1000);
    for _ in 0..3 {
        let blocks: Vec<_> = sizes().map(new_block).collect();
        // SAFETY: ours.
        blocks.into_iter().for_each(|block| unsafe { free(block) });
        let mut nth = 0;
        wait_for("a burst of mixed sizes", before, 0, || {
            nth += 1;
            (0..10).for_each(|i| act(16 + (nth * 10 + i) * 37 % 200));
        });
    }
}

/// What is free between blocks in use goes on request, at once.
fn trim_on_pinned_heaps() {
    for size in [100, 1 << 10, 40 << 10, 300 << 10] {
        let before = resident();
        let mut blocks = Blocks::of(size, SET / 16);
        blocks.free_but_every(300);
        blocks.blocks.shrink_to_fit();
        assert!(trim(0) || PAGE > 4096, "nothing was given back of blocks of {size} bytes");
        wait_for(&format!("{size} bytes, trimmed"), before, blocks.pages(), || {
            panic!("trim left too much of {size} bytes")
        });
        blocks.check();
        assert!(!trim(0) || !trim(0), "blocks of {size} bytes: something is given back time and again");
        blocks.free_but_every(usize::MAX);
    }
}

/// Blocks that stay keep their contents while what lies between them is given back, by several threads at once.
fn contents_stay() {
    let threads: Vec<_> = (0..3usize)
        .map(|me| {
            std::thread::spawn(move || {
                let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ me as u64;
                let mut next = move |below: usize| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random % below as u64) as usize
                };
                let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
                for round in 0..30_000 {
                    let size = [next(200), next(9_000), next(60_000), next(900_000)][next(20).min(3)] + 1;
                    if next(2) == 0 || blocks.len() < 50 {
                        let block = new_block(size);
                        // SAFETY: a new block.
                        unsafe { block.write_bytes(mark(block), size) };
                        blocks.push((block, size));
                    } else {
                        for _ in 0..next(8) + 1 {
                            let (block, size) = blocks.swap_remove(next(blocks.len()));
                            // SAFETY: ours until it is freed here.
                            unsafe {
                                assert!(is_filled(block, size), "a block of {size} bytes changed");
                                free(block);
                            }
                            if blocks.len() < 20 {
                                break;
                            }
                        }
                    }
                    if round % 500 == 0 {
                        trim(0);
                    }
                }
                for (block, size) in blocks {
                    // SAFETY: as above.
                    unsafe {
                        assert!(is_filled(block, size), "a block of {size} bytes changed");
                        free(block);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
}

/// Configures a case before its first allocation, which reads the environment.
fn configure(text: &str) {
    // SAFETY: one thread, and it reads no environment meanwhile.
    unsafe { std::env::set_var("FAIRGROUND_CONF", text) };
}

/// A thread of the allocator's gives back what nobody comes by for, and sleeps when it is done.
fn the_background_thread_works_and_rests() {
    configure("background:true");
    let before = resident();
    for size in [100, 40 << 10, 1 << 20] {
        let mut blocks = Blocks::of(size, SET / 4);
        blocks.free_but_every(1000);
        blocks.blocks.shrink_to_fit();
        wait_for(&format!("{size} bytes, in the background"), before, blocks.pages(), || {});
        blocks.check();
        blocks.free_but_every(usize::MAX);
    }
    // It was started by this program, so it is the other thread. Once nothing is left to be done it is not woken.
    let switches = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
        let own = std::process::id().to_string();
        let other = tasks.flatten().find(|task| task.file_name().to_str() != Some(&own)).expect("a second thread");
        let status = std::fs::read_to_string(other.path().join("status")).expect("its status");
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).expect("a count");
        line.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    let since = Instant::now();
    loop {
        let then = switches();
        std::thread::sleep(Duration::from_millis(1000)); // four intervals
        if switches() == then {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "the thread does not come to rest");
    }
}

/// A child of fork has no background thread of its parent's; it starts its own.
fn the_background_thread_in_a_child() {
    configure("background:true");
    let mut blocks = Blocks::of(1 << 20, SET / 16);
    blocks.free_but_every(2);
    // SAFETY: the child goes on with this code alone.
    match unsafe { libc::fork() } {
        0 => {
            let before = resident();
            let mut more = Blocks::of(1 << 20, SET / 8);
            more.free_but_every(usize::MAX);
            wait_for("in a child", before, 0, || {});
            std::process::exit(0);
        }
        child => {
            let mut status = 0;
            // SAFETY: our child.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child failed");
        }
    }
    blocks.check();
}

/// The cap holds at any time, however long an interval is.
fn configured_limits_hold() {
    configure("decay_ms:3600000,dirty_cap:16M");
    let before = resident();
    let mut blocks = Blocks::of(1 << 20, SET / 4);
    blocks.free_but_every(usize::MAX);
    wait_for("with a cap", before + 16 * MIB, 0, || panic!("the cap does not hold"));
}

/// Sum of a field of /proc/self/smaps, in bytes.
fn smaps(field: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let values =
        text.lines().filter_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    values.sum::<usize>() << 10
}

/// Huge pages take the place of memory that is all in use, and memory does not grow by it; what is freed goes all the same.
fn huge_pages_where_memory_is_dense() {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if !setting.contains("[always]") && !setting.contains("[madvise]") || PAGE != 4096 {
        return println!("skipped huge_pages_where_memory_is_dense: the system grants no huge pages of 2 MiB");
    }
    configure("huge_pages:dense");
    let before = resident();
    for size in [100, 40 << 10, 1 << 20] {
        let mut blocks = Blocks::of(size, SET / 8);
        let bound = before + blocks.pages() / 10 * 11 + SLACK;
        let since = Instant::now();
        while smaps("AnonHugePages:") < SET / 16 {
            assert!(
                since.elapsed() < PATIENCE,
                "{} KiB in huge pages, blocks of {size}",
                smaps("AnonHugePages:") >> 10
            );
            assert!(resident() < bound, "{} KiB resident, blocks of {size}", resident() >> 10);
            std::thread::sleep(Duration::from_millis(50));
            act(64);
        }
        assert!(resident() < bound, "{} KiB resident, blocks of {size}", resident() >> 10);
        blocks.check();
        blocks.free_but_every(100);
        blocks.blocks.shrink_to_fit();
        wait_for(&format!("{size} bytes, in huge pages"), before, blocks.pages(), || act(64));
        blocks.check();
        blocks.free_but_every(usize::MAX);
    }
}

/// Every mapping of the allocator refuses huge pages.
fn huge_pages_never() {
    configure("huge_pages:never");
    let blocks = [new_block(100), new_block(20_000), new_block(1 << 20), new_block(64 << 20)];
    let text = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    for block in blocks {
        let mut inside = false;
        let flags = text.lines().find(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(start, end)| {
                Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
            });
            if let Some((start, end)) = bounds {
                inside = (start..end).contains(&block.addr());
            }
            inside && line.starts_with("VmFlags:")
        });
        assert!(flags.is_some_and(|flags| flags.contains(" nh")), "{flags:?}");
        // SAFETY: ours.
        unsafe { free(block) };
    }
}

fn main() -> ExitCode {
    // Where a page is a whole slab, the objects in the sheaves alone keep more pages than the bounds below allow.
    if fairground_allocator::page_size() > 16 << 10 {
        return support::run(vec![Case::new("skipped: the bounds are for pages up to 16 KiB", None, || {})]);
    }
    // An emulator and a sanitizer have memory of their own beside the program's.
    if support::emulated() || support::sanitizer().is_some() {
        return support::run(vec![Case::new("skipped: not for emulators and sanitizers", None, || {})]);
    }
    // The lists are large blocks of the system's allocator; fixed, this makes it unmap them as soon as they are dropped.
    // SAFETY: sets a number, before there are threads.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
    let mut cases = vec![
        Case::new("a_working_set_goes", None, a_working_set_goes),
        Case::new("a_few_frees_after_a_rest", None, a_few_frees_after_a_rest),
        Case::new("small_pairs_after_a_burst", None, small_pairs_after_a_burst),
        Case::new("trim_on_pinned_heaps", None, trim_on_pinned_heaps),
        Case::new("contents_stay", None, contents_stay),
        Case::new("the_background_thread_works_and_rests", None, the_background_thread_works_and_rests),
        Case::new("the_background_thread_in_a_child", None, the_background_thread_in_a_child),
        Case::new("configured_limits_hold", None, configured_limits_hold),
        Case::new("huge_pages_where_memory_is_dense", None, huge_pages_where_memory_is_dense),
        Case::new("huge_pages_never", None, huge_pages_never),
    ];
    for every in [50, 1000] {
        for size in SIZES {
            if SET / size >= 4 * every {
                cases.push(Case::new(&format!("pinned_{size}_{every}"), None, move || {
                    a_pinned_working_set(size, every)
                }));
            }
        }
    }
    support::run(cases)
}
