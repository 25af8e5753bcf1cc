//! Pointers that are no block: each kind, for each size, in each call. The process must die by SIGABRT, and say on stderr
//! which call noticed, the address, and what is wrong with it.
//!
//! `free` of a small or medium block is checked when its sheaf is flushed, or when the process ends (`check_at_exit`, which
//! the C library calls by itself). Everything else is noticed at once. Each case runs in a process of its own.

mod support;

use fairground_allocator::RawCache;
use fairground_allocator::cache::CacheFlags;
use fairground_allocator::malloc::{check_at_exit, free, free_sized, malloc, memalign, realloc, trim, usable_size};
use std::process::ExitCode;
use std::ptr::NonNull;
use support::Case;

/// Sizes of every engine: small slabs, large slabs, bins (two), runs, extents.
const SIZES: [usize; 8] = [24, 100, 2_000, 8_000, 20_000, 200_000, 1 << 20, 9 << 20];

/// Largest size that `free` caches unseen.
const CACHED: usize = 256 << 10;

/// Tells the parent which address must be on stderr.
fn announce(p: *mut u8) -> *mut u8 {
    println!("({:#x})", p.addr());
    p
}

/// What is called with the wrong pointer.
#[derive(Clone, Copy)]
enum Call {
    Free,
    Realloc,
    UsableSize,
}

impl Call {
    const ALL: [Call; 3] = [Call::Free, Call::Realloc, Call::UsableSize];

    fn name(self) -> &'static str {
        match self {
            Call::Free => "free",
            Call::Realloc => "realloc",
            Call::UsableSize => "malloc_usable_size",
        }
    }

    /// The name of the call as it is printed, with the bracket before the address.
    fn printed(self) -> String {
        format!("fairground: {}(0x", self.name())
    }

    fn call(self, p: *mut u8) {
        announce(p);
        // SAFETY: none; this is the misuse the test is about. The process must not survive it.
        unsafe {
            match self {
                Call::Free => free(p),
                Call::Realloc => drop(realloc(p, 300_000)),
                Call::UsableSize => drop(usable_size(p)),
            }
        }
    }
}

/// A heap as a program has it: blocks of the size around the one in question, a few of them freed.
fn block_among_others(size: usize) -> *mut u8 {
    let blocks: Vec<_> = (0..7).map(|_| malloc(size)).collect();
    assert!(blocks.iter().all(|block| !block.is_null()));
    // SAFETY: freed once each.
    unsafe {
        free(blocks[0]);
        free(blocks[5]);
    }
    blocks[3]
}

static STATIC: [u64; 8] = [0; 8];

fn foreign(which: &str) -> *mut u8 {
    match which {
        "on the stack" => {
            let mut local = [0u64; 4];
            std::hint::black_box(local.as_mut_ptr()).cast()
        }
        "static" => (&raw const STATIC).cast_mut().cast(),
        // SAFETY: a new mapping, kept.
        "another mapping" => unsafe {
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), 1 << 20, access, flags, -1, 0).cast()
        },
        // SAFETY: the system's malloc, never freed.
        "another allocator's" => unsafe { libc::malloc(100).cast() },
        "near null" => std::ptr::without_provenance_mut(1),
        "in the first page" => std::ptr::without_provenance_mut(0x10),
        "non-canonical" => std::ptr::without_provenance_mut(0x8000_0000_0000_0010),
        "all ones" => std::ptr::without_provenance_mut(usize::MAX),
        "the kernel's" => std::ptr::without_provenance_mut(0xffff_8000_0000_0000),
        // Tables of the allocator lie below its blocks.
        "the allocator's own" => malloc(100).map_addr(|a| (a & !((1 << 22) - 1)) - (1 << 22) + 4096),
        _ => unreachable!("{which}"),
    }
}

const FOREIGN: [&str; 10] = [
    "on the stack",
    "static",
    "another mapping",
    "another allocator's",
    "near null",
    "in the first page",
    "non-canonical",
    "all ones",
    "the kernel's",
    "the allocator's own",
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for call in Call::ALL {
        let printed = call.printed();
        for which in FOREIGN {
            let name = format!("{} of a pointer {which}", call.name());
            cases.push(Case::aborted(&name, &[&printed, "not a pointer from this allocator"], move || {
                block_among_others(100);
                call.call(foreign(which));
                check_at_exit();
            }));
        }
        for size in SIZES.into_iter().filter(|_| matches!(call, Call::Realloc)) {
            let name = format!("realloc of a block of {size} bytes that was freed just before, to the same size");
            cases.push(Case::aborted(&name, &[&printed], move || {
                let p = block_among_others(size);
                // SAFETY: freed once; what follows is the misuse.
                unsafe {
                    free(p);
                    announce(p);
                    realloc(p, size);
                }
            }));
        }
        for size in SIZES {
            for (what, offset) in [("interior", size.next_multiple_of(32) / 2), ("misaligned", 1)] {
                let name = format!("{} of an {what} pointer, {size} bytes", call.name());
                let words = [printed.clone(), format!("points {offset} bytes into the block of")];
                cases.push(Case::aborted(&name, &[&words[0], &words[1]], move || {
                    call.call(block_among_others(size).wrapping_add(offset));
                    check_at_exit();
                }));
            }
            if let Call::Free = call {
                continue; // below
            }
            // A freed block that is not cached any more. What a run or an extent was is not known after it is gone.
            let what = match size {
                ..=CACHED => "double free: the block of",
                _ if size <= 4 << 20 => "no block is allocated here",
                _ => "not a pointer from this allocator",
            };
            let name = format!("{} after free, {size} bytes", call.name());
            cases.push(Case::aborted(&name, &[&printed, what], move || {
                let block = block_among_others(size);
                // SAFETY: freed once; then the misuse.
                unsafe { free(block) };
                fairground_allocator::malloc::trim(0);
                call.call(block);
            }));
        }
    }
    for size in SIZES {
        let words: &[&str] = match size {
            ..8193 => &["fairground: free(0x", "double free: the block of"],
            // If it became a part of a larger free chunk, no more is known.
            8193..=CACHED => &["fairground: free(0x", "double free: the block of|no block is allocated here"],
            _ if size <= 4 << 20 => &["fairground: free(0x", "no block is allocated here"],
            _ => &["fairground: free(0x", "not a pointer from this allocator"],
        };
        cases.push(Case::aborted(&format!("free twice at once, {size} bytes"), words, move || {
            let block = block_among_others(size);
            // SAFETY: freed once; then the misuse.
            unsafe { free(block) };
            Call::Free.call(block);
            check_at_exit();
        }));
        cases.push(Case::aborted(&format!("free twice with others between, {size} bytes"), words, move || {
            let others: Vec<_> = (0..200).map(|_| malloc(size)).collect();
            // SAFETY: each freed once; then the misuse.
            unsafe {
                free(others[0]);
                others[1..90].iter().for_each(|&other| free(other));
                Call::Free.call(others[0]);
                others[100..102].iter().for_each(|&other| free(other));
            }
            check_at_exit();
        }));
        if size > CACHED {
            continue;
        }
        cases.push(Case::aborted(&format!("free twice, noticed at thread exit, {size} bytes"), words, move || {
            let twice = move || {
                let block = block_among_others(size);
                // SAFETY: freed once; then the misuse.
                unsafe { free(block) };
                Call::Free.call(block);
            };
            std::thread::spawn(twice).join().expect("the process is aborted");
        }));
        cases.push(Case::aborted(&format!("free twice, noticed by trim, {size} bytes"), words, move || {
            let block = block_among_others(size);
            // SAFETY: freed once; then the misuse.
            unsafe { free(block) };
            Call::Free.call(block);
            fairground_allocator::malloc::trim(0);
        }));
    }
    // Before there is a reservation, an address with a flag in its highest bit was once taken for an entry of its table.
    for address in [1usize << 63 | 0x1000, usize::MAX - 15, 1 << 48, 0x10] {
        let words = ["fairground: free(0x", "not a pointer from this allocator"];
        cases.push(Case::aborted(&format!("free({address:#x}) before the first allocation"), &words, move || {
            Call::Free.call(std::ptr::without_provenance_mut(address));
        }));
    }
    cases.push(Case::new("no misuse", None, || {
        let blocks: Vec<_> = SIZES.iter().flat_map(|&size| (0..90).map(move |_| (malloc(size), size))).collect();
        for &(block, size) in &blocks {
            // SAFETY: a block.
            assert!(unsafe { usable_size(block) } >= size);
        }
        let aligned = memalign(4096, 100);
        // SAFETY: each freed once.
        unsafe {
            blocks.iter().for_each(|&(block, _)| free(block));
            free(aligned);
            free(std::ptr::null_mut());
            fairground_allocator::malloc::free_sized(std::ptr::null_mut(), 100);
        }
        check_at_exit();
    }));
    cases
}

/// Objects in typed caches of these sizes: small and large, with several to a slab.
const OBJECTS: [usize; 4] = [1, 100, 5_000, 30_000];

/// A cache, and an object of it among others.
fn cache_of(size: usize) -> (RawCache, NonNull<u8>) {
    let cache = RawCache::new("cached-thing", size, 8, CacheFlags::NONE).expect("a cache");
    let objects: Vec<_> = (0..7).map(|_| cache.alloc().expect("memory")).collect();
    // SAFETY: given back once each.
    unsafe {
        cache.free(objects[0]);
        cache.free(objects[5]);
    }
    (cache, objects[3])
}

/// Gives a wrong pointer to a cache.
fn give(cache: &RawCache, object: *mut u8) {
    announce(object);
    // SAFETY: none; this is the misuse the test is about.
    unsafe { cache.free(NonNull::new(object).expect("not null")) }
}

/// A name, and what is done with the cache.
type Way = (&'static str, fn(RawCache));

/// Ways in which an object that was given back is looked at.
fn ways_to_notice() -> [Way; 5] {
    [
        ("at exit", |cache| {
            check_at_exit();
            drop(cache);
        }),
        ("by trim", |_cache| _ = trim(0)),
        ("by shrink", |cache| _ = cache.shrink()),
        ("by destroy", |cache| _ = cache.destroy()),
        ("by a flush", |cache| {
            let objects: Vec<_> = (0..300).map(|_| cache.alloc().expect("memory")).collect();
            // SAFETY: given back once each.
            objects.into_iter().for_each(|object| unsafe { cache.free(object) });
        }),
    ]
}

fn cache_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let printed = "fairground: cache cached-thing: free(0x";
    for size in OBJECTS {
        let belongs = "belongs to the cache cached-thing: free it with that cache";
        for call in Call::ALL {
            for offset in [0, size / 2] {
                let name = format!("{} of an object of a cache, {size} bytes, at {offset}", call.name());
                cases.push(Case::aborted(&name, &[&call.printed(), belongs], move || {
                    let (_cache, object) = cache_of(size);
                    call.call(object.as_ptr().wrapping_add(offset));
                }));
            }
        }
        let name = format!("free_sized of an object of a cache, {size} bytes");
        cases.push(Case::aborted(&name, &["fairground: free(0x", belongs], move || {
            let (_cache, object) = cache_of(size);
            announce(object.as_ptr());
            // SAFETY: none; the misuse.
            unsafe { free_sized(object.as_ptr(), size) };
            check_at_exit();
        }));
        let name = format!("an object given to another cache, {size} bytes");
        cases.push(Case::aborted(&name, &["fairground: cache other: free(0x", belongs], move || {
            let (_cache, object) = cache_of(size);
            let other = RawCache::new("other", size, 8, CacheFlags::NONE).expect("a cache");
            give(&other, object.as_ptr());
            check_at_exit();
        }));
        for (way, notice) in ways_to_notice() {
            let name = format!("an object given back twice, noticed {way}, {size} bytes");
            cases.push(Case::aborted(&name, &[printed, "double free: the block of"], move || {
                let (cache, object) = cache_of(size);
                // SAFETY: given back once; then the misuse.
                unsafe { cache.free(object) };
                give(&cache, object.as_ptr());
                notice(cache);
            }));
        }
        let name = format!("an object given back twice, noticed at thread exit, {size} bytes");
        cases.push(Case::aborted(&name, &[printed, "double free: the block of"], move || {
            let twice = move || {
                let (cache, object) = cache_of(size);
                // SAFETY: given back once; then the misuse.
                unsafe { cache.free(object) };
                give(&cache, object.as_ptr());
                std::mem::forget(cache);
            };
            std::thread::spawn(twice).join().expect("the process is aborted");
        }));
        for offset in [1, size.next_multiple_of(16) / 2] {
            let words = [printed, &format!("points {offset} bytes into the block of {size} bytes at")];
            let name = format!("a pointer {offset} bytes into an object given to its cache, {size} bytes");
            cases.push(Case::aborted(&name, &words, move || {
                let (cache, object) = cache_of(size);
                give(&cache, object.as_ptr().wrapping_add(offset));
                check_at_exit();
            }));
        }
    }
    for which in FOREIGN {
        let words = [printed, "not a pointer from this allocator"];
        cases.push(Case::aborted(&format!("a pointer {which} given to a cache"), &words, move || {
            let (cache, _) = cache_of(100);
            give(&cache, foreign(which));
            check_at_exit();
        }));
    }
    for size in SIZES {
        let words = [printed, "free it with free|no block is allocated here|not a pointer from this allocator"];
        cases.push(Case::aborted(&format!("a block of malloc's given to a cache, {size} bytes"), &words, move || {
            let (cache, _) = cache_of(100);
            give(&cache, block_among_others(size));
            check_at_exit();
        }));
    }
    cases.push(Case::aborted(
        "a pointer behind the last object of a slab",
        &[printed, "no block is allocated"],
        || {
            let (cache, object) = cache_of(30_000);
            give(&cache, object.as_ptr().map_addr(|address| (address | 0xffff) & !7));
            check_at_exit();
        },
    ));
    cases.push(Case::aborted("an object of a cache that is gone", &["free(0x", "no block is allocated here"], || {
        let cache = RawCache::new("gone", 100, 8, CacheFlags::NONE).expect("a cache");
        let object = cache.alloc().expect("memory");
        // SAFETY: given back once.
        unsafe { cache.free(object) };
        assert!(cache.destroy().is_ok());
        Call::Free.call(object.as_ptr());
    }));
    cases.push(Case::new("no misuse of caches", None, || {
        for size in OBJECTS {
            let (cache, object) = cache_of(size);
            // SAFETY: given back once.
            unsafe { cache.free(object) };
            check_at_exit();
            trim(0);
            check_at_exit();
        }
    }));
    cases
}

/// What a process can still do after a report: allocate blocks of every engine that are nobody else's.
fn is_sound() {
    let blocks: Vec<_> = SIZES.iter().flat_map(|&size| (0..10).map(move |_| (malloc(size), size))).collect();
    for (number, &(block, size)) in blocks.iter().enumerate() {
        // SAFETY: a new block of this size.
        unsafe { block.write_bytes(number as u8, size) };
    }
    for (number, &(block, size)) in blocks.iter().enumerate() {
        // SAFETY: as above; freed once.
        unsafe {
            assert!(
                (0..size).step_by(1 + size / 64).chain([size - 1]).all(|at| *block.add(at) == number as u8),
                "block {number} of {size} bytes is another's too"
            );
            free(block);
        }
    }
    check_at_exit();
}

/// `misuse:report`: the same words, and the process goes on.
fn reported() -> Vec<Case> {
    let mut all: Vec<_> = cases()
        .into_iter()
        .chain(cache_cases())
        .map(|case| case.configured("misuse:report").going_on(is_sound))
        .collect();
    let results = Case::new("calls with wrong pointers do nothing", None, || {
        let block = block_among_others(100);
        // SAFETY: misuse, which this configuration allows.
        unsafe {
            support::set_errno(0);
            assert!(realloc(block.wrapping_add(16), 50).is_null());
            assert_eq!(support::errno(), libc::EINVAL);
            assert_eq!(usable_size(block.wrapping_add(16)), 0);
            free(block.wrapping_add(16));
            assert!(usable_size(block) >= 100);
            free(block);
        }
    });
    all.push(results.configured("misuse:report").going_on(is_sound));
    let many =
        Case::aborted("a thousand wrong pointers", &["100 wrong pointers were reported; no more will be"], || {
            // SAFETY: as above.
            (1..1001).for_each(|at| unsafe { free(std::ptr::without_provenance_mut(at * 16)) });
        });
    all.push(many.configured("misuse:report").going_on(is_sound));
    all
}

fn main() -> ExitCode {
    support::run(cases().into_iter().chain(cache_cases()).chain(reported()).collect())
}
