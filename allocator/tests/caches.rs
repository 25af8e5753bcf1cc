//! Typed caches: what is constructed and when, what stays, what is counted, and what destroying one says.
//!
//! Caches are told apart by name; tests run side by side in one process, so each looks at its own.

use fairground_allocator::RawCache;
use fairground_allocator::cache::{CacheError, CacheFlags, Constructor};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

const SLAB: usize = 64 << 10;

/// Makes every object start with this word, and counts in the context.
const MADE: u64 = 0x00c0_ffee_0bad_cafe;

unsafe extern "C" fn count_and_mark(object: *mut u8, context: *mut c_void) {
    // SAFETY: objects of these tests hold a word; the context is a counter.
    unsafe {
        object.cast::<u64>().write(MADE);
        (*context.cast::<AtomicUsize>()).fetch_add(1, Relaxed);
    }
}

/// A cache whose constructor counts, and the counter.
fn counting(name: &str, size: usize, align: usize, flags: CacheFlags) -> (RawCache, &'static AtomicUsize) {
    let count: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let context = std::ptr::from_ref(count).cast_mut().cast();
    // SAFETY: the constructor may run anywhere.
    let cache =
        unsafe { RawCache::with_constructor(name, size, align, flags, Constructor { call: count_and_mark, context }) };
    (cache.expect("a cache"), count)
}

/// An object that may be sent to another thread.
struct Object(NonNull<u8>);
// SAFETY: stands for what a program does with its objects.
unsafe impl Send for Object {}

/// Gives an object back.
fn give(cache: &RawCache, object: NonNull<u8>) {
    // SAFETY: each test gives back what it took, once.
    unsafe { cache.free(object) }
}

fn word(object: NonNull<u8>) -> u64 {
    // SAFETY: objects of these tests hold a word.
    unsafe { object.cast::<u64>().read() }
}

/// Tests that need many caches wait for one another: there is a bound on their number.
fn many() -> MutexGuard<'static, ()> {
    static MANY: Mutex<()> = Mutex::new(());
    MANY.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Clone, Debug)]
enum Step {
    Alloc,
    /// Gives back the n-th of those in use.
    Free(usize),
    Shrink,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => Just(Step::Alloc),
        50 => any::<usize>().prop_map(Step::Free),
        1 => Just(Step::Shrink),
    ];
    proptest::collection::vec(step, 0..1500)
}

fn sizes() -> impl Strategy<Value = (usize, usize)> {
    let size = prop_oneof![8usize..300, 300usize..5000, 5000usize..=32768];
    (size, (0u32..=12).prop_map(|shift| 1usize << shift))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)))]

    /// Objects are disjoint, aligned and whole; contents stay while they are free; constructors run for whole slabs and never
    /// for an object that was there; nothing is left at the end.
    #[test]
    fn a_cache_behaves_as_its_model(steps in steps(), (size, align) in sizes(), flags in 0u32..4) {
        let flags = CacheFlags::from_bits(flags).expect("flags");
        let (cache, constructed) = counting("model", size, align, flags);
        let per_slab = cache.stats().objects_per_slab;
        // Address to the word that was last left there.
        let mut known: BTreeMap<usize, u64> = BTreeMap::new();
        let mut live: Vec<NonNull<u8>> = Vec::new();
        let (mut serial, mut released) = (1u64, 0);
        for step in steps {
            match step {
                Step::Alloc => {
                    let object = cache.alloc().expect("memory");
                    let at = object.addr().get();
                    prop_assert!(at.is_multiple_of(align));
                    prop_assert!(at % SLAB + size <= SLAB, "within its slab");
                    let found = word(object);
                    // What was seen of it last, or what the constructor made: after a shrink its memory may be new.
                    prop_assert!(found == MADE || known.get(&at) == Some(&found), "{found:#x} in an object");
                    if released == 0 && let Some(&left) = known.get(&at) {
                        prop_assert_eq!(found, left, "what the last user left");
                    }
                    serial += 1;
                    // SAFETY: our object, `size` bytes.
                    unsafe {
                        object.as_ptr().write_bytes(serial as u8, size);
                        object.cast::<u64>().write(serial);
                    }
                    known.insert(at, serial);
                    live.push(object);
                }
                Step::Free(n) if !live.is_empty() => {
                    let object = live.swap_remove(n % live.len());
                    // SAFETY: our object, `size` bytes.
                    let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), size) };
                    prop_assert_eq!(known[&object.addr().get()], word(object), "somebody wrote into an object");
                    prop_assert!(bytes[8..].iter().all(|&byte| byte == word(object) as u8));
                    give(&cache, object);
                }
                Step::Free(_) => {}
                Step::Shrink => released += cache.shrink(),
            }
            let stats = cache.stats();
            prop_assert_eq!(stats.live, live.len());
            // Slabs may also go when objects come back.
            let gone = constructed.load(Relaxed) / per_slab - stats.slabs;
            released = released.max(gone);
            prop_assert_eq!(constructed.load(Relaxed) % per_slab, 0);
            prop_assert_eq!(stats.objects, stats.slabs * per_slab);
            prop_assert!(stats.slabs_partial + stats.slabs_empty + stats.slabs_current + stats.slabs_full == stats.slabs);
        }
        let (cache, live) = match (cache.destroy(), live.len()) {
            (Ok(()), 0) => return Ok(()),
            (Ok(()), n) => return Err(TestCaseError::fail(format!("destroyed with {n} live objects"))),
            (Err((cache, error)), n) => {
                let CacheError::Busy { name, live: told } = error else {
                    return Err(TestCaseError::fail(error.to_string()));
                };
                prop_assert_eq!((name.as_str(), told), ("model", n));
                (cache, live)
            }
        };
        live.into_iter().for_each(|object| give(&cache, object));
        prop_assert!(cache.destroy().is_ok());
    }
}

#[test]
fn a_constructor_runs_once_for_each_object_of_a_slab() {
    let (cache, constructed) = counting("once", 1000, 8, CacheFlags::NONE);
    let per_slab = cache.stats().objects_per_slab;
    assert_eq!((per_slab, constructed.load(Relaxed)), (65, 0), "nothing is made before it is needed");
    for _ in 0..50 {
        let objects: Vec<_> = (0..2 * per_slab).map(|_| cache.alloc().expect("memory")).collect();
        assert!(objects.iter().all(|&object| word(object) == MADE));
        objects.into_iter().for_each(|object| give(&cache, object));
    }
    // What is used over and over is made once.
    assert!(constructed.load(Relaxed) <= 3 * per_slab, "{} constructed", constructed.load(Relaxed));
    assert!(cache.destroy().is_ok());
}

#[test]
fn free_objects_are_never_written_to() {
    let (cache, _) = counting("untouched", 96, 8, CacheFlags::NONE);
    let all = 5 * cache.stats().objects_per_slab;
    let objects: Vec<_> = (0..all).map(|_| cache.alloc().expect("memory")).collect();
    for (n, object) in objects.iter().enumerate() {
        // SAFETY: our object of 96 bytes.
        unsafe { object.cast::<[u64; 12]>().write([n as u64 | 1 << 40; 12]) };
    }
    let addresses: BTreeMap<usize, u64> =
        objects.iter().enumerate().map(|(n, object)| (object.addr().get(), n as u64 | 1 << 40)).collect();
    // All but one of each slab, so that no slab goes: one whose memory is obtained anew is made anew.
    let mut kept = HashSet::new();
    let (keep, free): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| kept.insert(object.addr().get() / SLAB));
    let freed = free.len();
    free.into_iter().for_each(|object| give(&cache, object));
    let again: Vec<_> = (0..freed).map(|_| cache.alloc().expect("memory")).collect();
    let mut seen = 0;
    for object in &again {
        if let Some(&left) = addresses.get(&object.addr().get()) {
            // SAFETY: our object of 96 bytes.
            assert_eq!(unsafe { object.cast::<[u64; 12]>().read() }, [left; 12]);
            seen += 1;
        }
    }
    assert_eq!(seen, freed, "objects that came again");
    keep.into_iter().chain(again).for_each(|object| give(&cache, object));
    assert!(cache.destroy().is_ok());
}

#[test]
fn first_objects_go_through_the_slack_by_cache_lines() {
    let firsts = |flags| {
        let cache = RawCache::new("colours", 700, 8, flags).expect("a cache");
        let per_slab = cache.stats().objects_per_slab;
        // What is left over of a slab: 65,536 - 93 * 704 = 64 bytes, so two colours.
        assert_eq!(per_slab, 93);
        let objects: Vec<_> = (0..4 * per_slab).map(|_| cache.alloc().expect("memory")).collect();
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        for object in &objects {
            let (slab, offset) = (object.addr().get() / SLAB, object.addr().get() % SLAB);
            first.entry(slab).and_modify(|least| *least = offset.min(*least)).or_insert(offset);
        }
        objects.into_iter().for_each(|object| give(&cache, object));
        assert!(cache.destroy().is_ok());
        assert_eq!(first.len(), 4);
        first.into_values().collect::<Vec<_>>()
    };
    let mut coloured = firsts(CacheFlags::NONE);
    coloured.sort_unstable();
    assert_eq!(coloured, [0, 0, 64, 64]);
    assert_eq!(firsts(CacheFlags::NO_COLOUR), [0, 0, 0, 0]);
}

#[test]
fn line_alignment_is_as_promised() {
    for (size, align) in [(1, 8), (20, 32), (33, 64), (64, 64), (65, 64), (320, 64)] {
        let cache = RawCache::new("lines", size, 1, CacheFlags::CACHE_LINE).expect("a cache");
        assert_eq!(cache.stats().align, align, "{size} bytes");
        let objects: Vec<_> = (0..500).map(|_| cache.alloc().expect("memory")).collect();
        for object in &objects {
            let at = object.addr().get();
            assert!(at.is_multiple_of(align));
            assert!(size > 64 || at / 64 == (at + size - 1) / 64, "{size} bytes at {at:#x} lie in two lines");
        }
        objects.into_iter().for_each(|object| give(&cache, object));
    }
}

#[test]
fn limits_are_told_with_the_value() {
    let new = |name: &str, size, align| RawCache::new(name, size, align, CacheFlags::NONE).map(drop);
    assert_eq!(new("size", 0, 8), Err(CacheError::Size { size: 0 }));
    assert_eq!(new("size", 32_769, 8), Err(CacheError::Size { size: 32_769 }));
    assert_eq!(new("align", 8, 0), Err(CacheError::Align { align: 0 }));
    assert_eq!(new("align", 8, 8192), Err(CacheError::Align { align: 8192 }));
    assert_eq!(new("", 8, 8), Err(CacheError::NameLength { length: 0 }));
    assert_eq!(new("two words", 8, 8), Err(CacheError::NameByte { byte: b' ', at: 3 }));
    assert_eq!(new("size", 1, 1), Ok(()));
    assert_eq!(new("size", 32_768, 4096), Ok(()));
    assert_eq!(CacheFlags::from_bits(8), None);
}

#[test]
fn the_number_of_caches_is_bounded_and_those_destroyed_make_room() {
    let _alone = many();
    let mut caches = Vec::new();
    let error = loop {
        match RawCache::new("one-of-many", 64, 8, CacheFlags::NONE) {
            Ok(cache) => caches.push(cache),
            Err(error) => break error,
        }
        assert!(caches.len() <= 1024);
    };
    assert_eq!(error, CacheError::TooMany);
    // The other tests have some.
    assert!(caches.len() > 900, "{} caches", caches.len());
    drop(caches.split_off(1));
    assert!(RawCache::new("another", 64, 8, CacheFlags::NONE).is_ok());
}

/// More caches than a thread has sheaves: they take them from one another.
#[test]
fn caches_that_share_a_sheaf_do_not_mix_objects() {
    let _alone = many();
    let caches: Vec<_> = (0..200)
        .map(|n| (n, RawCache::new(&format!("shared-{n}"), 16 + n * 8, 8, CacheFlags::NONE).expect("a cache")))
        .collect();
    let mut live: Vec<(usize, NonNull<u8>)> = Vec::new();
    let mut state = 1u64;
    for step in 0..400_000usize {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let random = (state >> 33) as usize;
        if live.len() < 2000 || random.is_multiple_of(2) {
            // Some caches often, so that they take the places of others.
            let n = if step % 1000 < 700 { random / 2 % 200 } else { random / 2 % 4 * 64 };
            let object = caches[n].1.alloc().expect("memory");
            // SAFETY: our object; all hold a word.
            unsafe { object.cast::<usize>().write(n) };
            live.push((n, object));
        } else {
            let (n, object) = live.swap_remove(random / 2 % live.len());
            assert_eq!(word(object) as usize, n, "an object of one cache in another");
            give(&caches[n].1, object);
        }
    }
    for (n, cache) in &caches {
        let expected = live.iter().filter(|(owner, _)| owner == n).count();
        assert_eq!(cache.stats().live, expected, "cache {n}");
    }
    live.into_iter().for_each(|(n, object)| give(&caches[n].1, object));
    for (n, cache) in caches {
        cache.destroy().unwrap_or_else(|(_, error)| panic!("cache {n}: {error}"));
    }
}

#[test]
fn one_thread_allocates_and_others_free() {
    let (cache, constructed) = counting("passed-on", 200, 8, CacheFlags::NONE);
    let cache = Arc::new(cache);
    let (senders, threads): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (sender, receiver) = mpsc::sync_channel::<Object>(500);
            let cache = cache.clone();
            (sender, std::thread::spawn(move || receiver.iter().for_each(|object| give(&cache, object.0))))
        })
        .unzip();
    for n in 0..200_000 {
        senders[n % 2].send(Object(cache.alloc().expect("memory"))).expect("the other thread listens");
    }
    drop(senders);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    assert_eq!(cache.stats().live, 0);
    assert!(constructed.load(Relaxed) < 20_000, "{} constructed for 1000 at a time", constructed.load(Relaxed));
    assert!(Arc::into_inner(cache).expect("the last").destroy().is_ok());
}

#[test]
fn many_threads_use_many_caches_at_once() {
    let caches: Arc<Vec<_>> =
        Arc::new((0..8).map(|n| counting(&format!("busy-{n}"), 40 + 50 * n, 8, CacheFlags::NONE).0).collect());
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let caches = caches.clone();
            std::thread::spawn(move || {
                let mut live: Vec<(usize, NonNull<u8>)> = Vec::new();
                for n in 0..60_000usize {
                    let which = (n * 7 + t) % 8;
                    if n % 3 != 2 || live.is_empty() {
                        let object = caches[which].alloc().expect("memory");
                        assert_eq!(word(object), MADE);
                        // SAFETY: our object.
                        unsafe { object.cast::<u64>().write(t as u64) };
                        live.push((which, object));
                    } else {
                        let (which, object) = live.swap_remove(n * 31 % live.len());
                        assert_eq!(word(object), t as u64, "another thread has the same object");
                        // SAFETY: our object.
                        unsafe { object.cast::<u64>().write(MADE) };
                        give(&caches[which], object);
                    }
                }
                for (which, object) in live {
                    // SAFETY: our object.
                    unsafe { object.cast::<u64>().write(MADE) };
                    give(&caches[which], object);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    for cache in Arc::into_inner(caches).expect("the last") {
        cache.destroy().unwrap_or_else(|(_, error)| panic!("{error}"));
    }
}

/// The destroyer empties the sheaves of threads that live on, and of threads that end at this moment.
#[test]
fn destroying_counts_exactly_while_threads_end() {
    for round in 0..200 {
        let cache = Arc::new(RawCache::new("ending", 128, 8, CacheFlags::NONE).expect("a cache"));
        // Counted here and not by a barrier, whose waiting ThreadSanitizer does not see.
        let finished = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (cache, finished) = (cache.clone(), finished.clone());
                std::thread::spawn(move || {
                    let objects: Vec<_> = (0..70).map(|_| cache.alloc().expect("memory")).collect();
                    objects.into_iter().for_each(|object| give(&cache, object));
                    drop(cache);
                    finished.fetch_add(1, Release);
                    // Ends here, with objects in its sheaf.
                })
            })
            .collect();
        let leaked = (round % 3 != 0).then(|| cache.alloc().expect("memory"));
        while finished.load(Acquire) != threads.len() {
            std::thread::yield_now();
        }
        let cache = Arc::into_inner(cache).expect("the threads have let go of it");
        match (cache.destroy(), leaked) {
            (Ok(()), None) => {}
            (Err((cache, CacheError::Busy { live: 1, .. })), Some(object)) => {
                give(&cache, object);
                assert!(cache.destroy().is_ok());
            }
            (result, leaked) => panic!("round {round}: {:?} with {leaked:?}", result.map_err(|(_, error)| error)),
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    }
}

#[test]
fn a_thread_that_lives_on_gives_up_what_it_keeps_of_a_destroyed_cache() {
    let (commands, orders) = mpsc::channel::<Arc<RawCache>>();
    let (answer, answers) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for cache in orders {
            let objects: Vec<_> = (0..40).map(|_| cache.alloc().expect("memory")).collect();
            objects.into_iter().for_each(|object| give(&cache, object));
            assert!(cache.stats().cached > 0);
            drop(cache);
            answer.send(()).expect("the test waits");
        }
    });
    // The number and the place in the thread's table are the same each time, or another's.
    for size in [64, 200, 32, 64] {
        let cache = Arc::new(RawCache::new("remote", size, 8, CacheFlags::NONE).expect("a cache"));
        commands.send(cache.clone()).expect("the thread waits");
        answers.recv().expect("the thread answers");
        let cache = Arc::into_inner(cache).expect("the thread has let go of it");
        assert!(cache.stats().cached > 0 && cache.stats().live == 0);
        assert!(cache.destroy().is_ok());
    }
    drop(commands);
    thread.join().expect("no thread fails");
}

/// Threads that live on and use other caches, some of which want the sheaf of the one that is destroyed at this moment.
#[test]
fn destroying_counts_exactly_while_sheaves_change_hands() {
    let _alone = many();
    // Every place in a thread's table is wanted by two of these.
    let others: Arc<Vec<_>> = Arc::new(
        (0..128).map(|n| RawCache::new(&format!("wanting-{n}"), 64, 8, CacheFlags::NONE).expect("a cache")).collect(),
    );
    let (answer, answers) = mpsc::channel();
    let (orders, threads): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (order, orders) = mpsc::channel::<Arc<RawCache>>();
            let (others, answer) = (others.clone(), answer.clone());
            let work = move || {
                for cache in orders {
                    let objects: Vec<_> = (0..30).map(|_| cache.alloc().expect("memory")).collect();
                    objects.into_iter().for_each(|object| give(&cache, object));
                    drop(cache);
                    answer.send(()).expect("the test waits");
                    // Often enough that each takes its place.
                    for _ in 0..40 {
                        others.iter().for_each(|other| give(other, other.alloc().expect("memory")));
                    }
                }
            };
            (order, std::thread::spawn(work))
        })
        .unzip();
    for round in 0..300 {
        let cache = Arc::new(RawCache::new("vanishing", 100, 8, CacheFlags::NONE).expect("a cache"));
        orders.iter().for_each(|order| order.send(cache.clone()).expect("the thread listens"));
        let kept: Vec<_> = (0..round % 3).map(|_| cache.alloc().expect("memory")).collect();
        (0..2).for_each(|_| answers.recv().expect("the thread answers"));
        let mut cache = Arc::into_inner(cache).expect("the threads have let go of it");
        if !kept.is_empty() {
            let (refused, error) = cache.destroy().expect_err("objects are live");
            assert!(matches!(error, CacheError::Busy { live, .. } if live == kept.len()), "{error}");
            cache = refused;
            kept.into_iter().for_each(|object| give(&cache, object));
        }
        cache.destroy().unwrap_or_else(|(_, error)| panic!("round {round}: {error}"));
    }
    drop(orders);
    threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    for other in Arc::into_inner(others).expect("the last") {
        other.destroy().unwrap_or_else(|(_, error)| panic!("{error}"));
    }
}

#[test]
fn shrinking_releases_empty_slabs_and_keeps_the_others() {
    let (cache, _) = counting("shrinking", 2000, 8, CacheFlags::NONE);
    let per_slab = cache.stats().objects_per_slab;
    let objects: Vec<_> = (0..10 * per_slab).map(|_| cache.alloc().expect("memory")).collect();
    assert!(cache.stats().slabs >= 10);
    assert_eq!(cache.shrink(), 0, "all slabs are in use");
    let mut objects = objects.into_iter();
    let kept = objects.next().expect("one");
    objects.for_each(|object| give(&cache, object));
    // Three at most wait on the list; one has the object, one or two what the thread keeps.
    let before = cache.stats();
    assert!(before.slabs <= 6 && before.slabs_empty <= 3, "{before:?}");
    cache.shrink();
    let after = cache.stats();
    assert_eq!((after.slabs, after.slabs_empty, after.live, after.cached), (1, 0, 1, 0), "{after:?}");
    assert_eq!(after.slabs_partial, 1);
    give(&cache, kept);
    assert_eq!(cache.shrink(), 1);
    assert_eq!(cache.stats().slabs, 0);
    assert!(cache.destroy().is_ok());
}

#[test]
fn full_slabs_are_counted() {
    let (cache, _) = counting("full", 4096, 8, CacheFlags::NONE);
    let per_slab = cache.stats().objects_per_slab;
    let objects: Vec<_> = (0..5 * per_slab).map(|_| cache.alloc().expect("memory")).collect();
    let stats = cache.stats();
    assert!(stats.slabs_full >= 4 && stats.slabs_partial == 0, "{stats:?}");
    objects.into_iter().for_each(|object| give(&cache, object));
    assert_eq!(cache.stats().slabs_full, 0);
}

#[test]
fn malloc_trim_releases_empty_slabs_too() {
    let cache = RawCache::new("trimmed", 3000, 8, CacheFlags::NONE).expect("a cache");
    let objects: Vec<_> = (0..100).map(|_| cache.alloc().expect("memory")).collect();
    objects.into_iter().for_each(|object| give(&cache, object));
    assert!(cache.stats().slabs > 0);
    fairground_allocator::malloc::trim(0);
    assert_eq!(cache.stats().slabs, 0);
}

/// A thread whose heap has been taken down (in destructors of thread-local values) is served without one.
#[test]
fn works_after_the_threads_heap_is_gone() {
    struct Late(Arc<RawCache>);
    impl Drop for Late {
        fn drop(&mut self) {
            let objects: Vec<_> = (0..100).map(|_| self.0.alloc().expect("memory")).collect();
            let distinct: HashSet<_> = objects.iter().collect();
            assert_eq!(distinct.len(), 100);
            objects.into_iter().for_each(|object| give(&self.0, object));
        }
    }
    thread_local!(static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) });
    unsafe extern "C" fn last(cache: *mut c_void) {
        // Runs after the destructor of the heap: keys are taken in the order of their making.
        // SAFETY: leaked by the thread below.
        drop(Late(unsafe { Arc::from_raw(cache.cast::<RawCache>()) }));
    }
    let cache = Arc::new(RawCache::new("late", 100, 8, CacheFlags::NONE).expect("a cache"));
    give(&cache, cache.alloc().expect("memory")); // the key of heaps exists
    let mut key = 0;
    // SAFETY: makes a key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(last)) }, 0);
    let theirs = cache.clone();
    std::thread::spawn(move || {
        LATE.with_borrow_mut(|late| *late = Some(Late(theirs.clone())));
        give(&theirs, theirs.alloc().expect("memory"));
        // SAFETY: a key of ours.
        unsafe { libc::pthread_setspecific(key, Arc::into_raw(theirs).cast()) };
    })
    .join()
    .expect("no thread fails");
    assert_eq!(cache.stats().live, 0);
    let cache = Arc::into_inner(cache).expect("the thread has ended");
    assert!(cache.destroy().is_ok());
}

#[test]
fn a_dropped_cache_leaves_nothing_and_one_with_live_objects_stays() {
    let raw = RawCache::new("dropped", 64, 8, CacheFlags::NONE).expect("a cache");
    let object = raw.alloc().expect("memory");
    drop(raw);
    // SAFETY: live for good.
    unsafe { object.as_ptr().write_bytes(1, 64) };
    let raw = RawCache::new("raw", 64, 8, CacheFlags::NONE).expect("a cache").into_raw();
    // SAFETY: from `into_raw`, once.
    let raw = unsafe { RawCache::from_raw(raw) };
    assert_eq!(raw.stats().name.as_str(), "raw");
}
