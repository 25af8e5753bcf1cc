//! Typed caches and fork: the child can use, shrink and destroy them at once, whatever other threads of the parent were doing.
//! Typed caches and memory that has run out.
//!
//! Each case runs in a process of its own, as fork wants one without a harness. A child that hangs (a lock was left taken) is
//! ended by `support` with its parent's case.

mod support;

use fairground_allocator::cache::{CacheError, CacheFlags};
use fairground_allocator::malloc::trim;
use fairground_allocator::{Cache, RawCache};
use std::process::ExitCode;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use support::{Case, errno, set_errno};

/// Caches: more than a thread has places for, so that they change hands all the time.
const CACHES: usize = 80;

/// Runs `child` in a child process, which ends with it; it must end well.
fn forked(child: impl FnOnce()) {
    // SAFETY: the child calls nothing of std that takes a lock.
    match unsafe { libc::fork() } {
        0 => {
            child();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0);
            let mut status = 0;
            // SAFETY: our child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the child ended well");
        }
    }
}

/// In a child: ends it with a status that tells.
fn require(condition: bool, status: i32) {
    if !condition {
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) }
    }
}

fn alloc(cache: &RawCache, mark: usize) -> NonNull<usize> {
    let object = cache.alloc().expect("memory").cast::<usize>();
    // SAFETY: ours; all objects hold a word.
    unsafe { object.write(mark) };
    object
}

fn free(cache: &RawCache, object: NonNull<usize>) {
    // SAFETY: given back once.
    unsafe { cache.free(object.cast()) }
}

fn fork_among_threads() {
    let caches: Arc<Vec<RawCache>> = Arc::new(
        (0..CACHES)
            .map(|n| RawCache::new(&format!("forked-{n}"), 8 + n * 24, 8, CacheFlags::NONE).expect("a cache"))
            .collect(),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|me: usize| {
            let (caches, stop) = (caches.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut objects = Vec::new();
                let mut n = me;
                while !stop.load(Relaxed) {
                    n += 1;
                    let which = n * n / 7 % CACHES;
                    objects.push((which, alloc(&caches[which], n)));
                    if objects.len() > 1000 {
                        objects.drain(100..900).for_each(|(which, object)| free(&caches[which], object));
                    }
                    if n.is_multiple_of(500) {
                        // The table of caches changes, and heaps come and go.
                        let mine = RawCache::new("for-a-moment", 64, 8, CacheFlags::NONE).expect("a cache");
                        free(&mine, alloc(&mine, n));
                        assert!(mine.destroy().is_ok());
                        let caches = caches.clone();
                        let other = std::thread::spawn(move || free(&caches[which], alloc(&caches[which], n)));
                        other.join().expect("no thread fails");
                    }
                }
                objects.into_iter().for_each(|(which, object)| free(&caches[which], object));
            })
        })
        .collect();
    let kept: Vec<_> = (0..2000).map(|n| (n % CACHES, alloc(&caches[n % CACHES], n))).collect();
    for _ in 0..300 {
        forked(|| {
            let mut objects = [NonNull::dangling(); 3000];
            for (n, object) in objects.iter_mut().enumerate() {
                *object = alloc(&caches[n % CACHES], usize::MAX);
            }
            // SAFETY: objects of the child's copy.
            kept.iter().enumerate().for_each(|(n, (_, object))| require(unsafe { object.read() } == n, 3));
            objects.iter().enumerate().for_each(|(n, &object)| free(&caches[n % CACHES], object));
            kept.iter().for_each(|&(which, object)| free(&caches[which], object));
            caches.iter().for_each(|cache| _ = cache.shrink());
            let own = RawCache::new("the-childs-own", 100, 8, CacheFlags::NONE);
            let Ok(own) = own else { return require(false, 4) };
            free(&own, alloc(&own, 1));
            require(own.destroy().is_ok(), 5);
            fairground_allocator::malloc::trim(0);
            fairground_allocator::malloc::check_at_exit();
        });
    }
    stop.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    kept.into_iter().for_each(|(which, object)| free(&caches[which], object));
    for cache in Arc::into_inner(caches).expect("the last") {
        cache.destroy().unwrap_or_else(|(_, error)| panic!("{error}"));
    }
}

/// What the parent's other threads kept to themselves is the child's.
fn sheaves_of_absent_threads_are_emptied() {
    let cache = Arc::new(RawCache::new("kept", 100, 8, CacheFlags::NONE).expect("a cache"));
    let (ready, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let thread = {
        let (cache, ready, end) = (cache.clone(), ready.clone(), end.clone());
        std::thread::spawn(move || {
            let objects: Vec<_> = (0..40).map(|n| alloc(&cache, n)).collect();
            objects.into_iter().for_each(|object| free(&cache, object));
            ready.wait();
            end.wait();
        })
    };
    ready.wait();
    assert!(cache.stats().cached > 0);
    forked(|| {
        let stats = cache.stats();
        require(stats.cached == 0 && stats.live == 0, 3);
        require(stats.slabs == 1 && stats.slabs_empty == 1, 4);
        require(cache.shrink() == 1 && cache.stats().slabs == 0, 5);
    });
    assert!(cache.stats().cached > 0);
    end.wait();
    thread.join().expect("no thread fails");
}

/// The program's destructors do not run in the handler of fork: what they need may be locked by a thread the child does not
/// have.
fn no_destructor_runs_in_the_handler_of_fork() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted(#[expect(dead_code, reason = "not of size 0")] [u64; 512]);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
    let cache = Arc::new(Cache::new("with-destructor", || Counted([0; 512])).expect("a cache"));
    let (ready, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let thread = {
        let (cache, ready, end) = (cache.clone(), ready.clone(), end.clone());
        std::thread::spawn(move || {
            // The last eight lie in its sheaf, each in a slab that is empty but for them; more such than are kept otherwise.
            let objects: Vec<_> = (0..8 * 16).map(|_| cache.alloc().expect("memory")).collect();
            let (kept, rest): (Vec<_>, Vec<_>) = objects.into_iter().enumerate().partition(|(n, _)| n % 16 == 0);
            drop(rest);
            drop(kept);
            ready.wait();
            end.wait();
        })
    };
    ready.wait();
    let before = DROPPED.load(Relaxed);
    forked(|| {
        require(DROPPED.load(Relaxed) == before, 3);
        cache.shrink();
        require(cache.stats().slabs == 0 && DROPPED.load(Relaxed) > before, 4);
    });
    end.wait();
    thread.join().expect("no thread fails");
}

fn memory_runs_out_and_comes_back() {
    let cache = RawCache::new("large", 32 << 10, 4096, CacheFlags::NONE).expect("a cache");
    let typed = Cache::new("typed", || [1u64; 1000]).expect("a cache");
    // Nothing that std allocates may be in the way: objects are linked through themselves.
    let (mut last, mut count) = (None::<NonNull<Option<NonNull<u8>>>>, 0);
    set_errno(0);
    while let Some(object) = cache.alloc() {
        let object = object.cast::<Option<NonNull<u8>>>();
        // SAFETY: our object.
        unsafe { object.write(last.map(NonNull::cast)) };
        last = Some(object);
        count += 1;
    }
    assert_eq!(errno(), libc::ENOMEM);
    assert!(count > 1000, "{count} objects of 32 KiB in 240 MiB");
    assert_eq!(cache.stats().live, count);
    let mut more = Vec::with_capacity(10_000);
    let error = loop {
        match typed.alloc() {
            Ok(value) => more.push(value),
            Err(error) => break error,
        }
    };
    assert_eq!(error, CacheError::OutOfMemory);
    while let Some(object) = last {
        // SAFETY: our objects, given back once each.
        unsafe {
            last = object.read().map(NonNull::cast);
            cache.free(object.cast());
        }
    }
    more.push(typed.alloc().expect("memory again"));
    assert!(more.iter().all(|value| value.iter().all(|&word| word == 1)));
    drop(more);
    assert!(cache.destroy().is_ok() && typed.destroy().is_ok());
}

/// Bytes of memory the process occupies.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

/// Objects of half a KiB with a mark each, of which every 100th stays, at least one in each slab; what trim makes of the memory of
/// the others. Where a page is a slab, it has nothing to give.
fn half_used_slabs(flags: CacheFlags, goes: bool) {
    const OBJECTS: usize = 40_000;
    let cache = RawCache::new("half-used", 500, 8, flags).expect("a cache");
    let objects: Vec<_> = (0..OBJECTS).map(|n| alloc(&cache, n)).collect();
    let before = resident();
    let (stay, go): (Vec<_>, Vec<_>) = objects.iter().enumerate().partition(|(n, _)| n % 100 == 0);
    go.into_iter().for_each(|(_, &object)| free(&cache, object));
    trim(0);
    // Half of it at least: the pages of those that stay, and what a page of the system holds, are the rest.
    let given_back = before.saturating_sub(resident());
    let goes = goes && fairground_allocator::page_size() < 64 << 10;
    assert_eq!(given_back > OBJECTS * 500 / 2, goes, "{given_back} bytes went");
    if flags == CacheFlags::KEEP_CONTENTS {
        // SAFETY: ours.
        let kept = (0..OBJECTS / 2).map(|_| unsafe { cache.alloc().expect("memory").cast::<usize>().read() });
        let lost = kept.filter(|&mark| mark == 0).count();
        assert_eq!(lost, 0, "free objects keep their contents while their slab stays");
    }
    for (n, object) in stay {
        // SAFETY: in use.
        assert_eq!(unsafe { object.read() }, n, "an object in use keeps its contents");
        free(&cache, *object);
    }
}

fn main() -> ExitCode {
    support::run(vec![
        Case::new("fork among threads that use, make and destroy caches", None, fork_among_threads),
        Case::new("memory runs out and comes back", Some((libc::RLIMIT_AS, 240 << 20)), memory_runs_out_and_comes_back),
        Case::new("sheaves of absent threads are emptied in the child", None, sheaves_of_absent_threads_are_emptied),
        Case::new("no destructor runs in the handler of fork", None, no_destructor_runs_in_the_handler_of_fork),
        Case::new("pages inside half-used slabs go", None, || half_used_slabs(CacheFlags::NONE, true)),
        Case::new("contents that are kept stay", None, || half_used_slabs(CacheFlags::KEEP_CONTENTS, false)),
    ])
}
