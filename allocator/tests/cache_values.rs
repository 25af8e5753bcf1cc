//! Typed caches of Rust values: what is constructed and dropped, when and where; constructors and destructors that use caches.

use fairground_allocator::{Cache, Cached};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts its drops, and holds memory that a leak checker would miss.
struct Tracked {
    dropped: &'static AtomicUsize,
    data: Vec<u8>,
    users: u32,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        assert_eq!(self.data.len(), 3, "dropped as it was left");
        self.dropped.fetch_add(1, Relaxed);
    }
}

#[test]
fn values_are_dropped_once_with_their_slab_and_keep_their_state_until_then() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::new("tracked", || {
        MADE.fetch_add(1, Relaxed);
        Tracked { dropped: &DROPPED, data: vec![1, 2, 3], users: 0 }
    })
    .expect("a cache");
    for user in 0..100 {
        let mut value = cache.alloc().expect("memory");
        assert_eq!(value.users, user, "the same value, as its last user left it");
        value.users += 1;
    }
    let values: Vec<_> = (0..20_000).map(|_| cache.alloc().expect("memory")).collect();
    assert_eq!(DROPPED.load(Relaxed), 0);
    assert_eq!(cache.stats().live, 20_000);
    drop(values);
    assert!(DROPPED.load(Relaxed) > 0, "slabs beyond a few go by themselves");
    cache.shrink();
    assert_eq!(MADE.load(Relaxed), DROPPED.load(Relaxed));
    let kept = cache.alloc_raw().expect("memory");
    let (cache, error) = cache.destroy().expect_err("a value is live");
    assert_eq!(error.to_string(), "the cache tracked has 1 live object; free it before the cache is destroyed");
    // SAFETY: live, from this cache.
    let kept = unsafe { Cached::from_raw(&cache, kept) };
    assert_eq!(kept.data, [1, 2, 3]);
    drop(kept);
    assert!(cache.destroy().is_ok());
    assert_eq!(MADE.load(Relaxed), DROPPED.load(Relaxed));
}

/// A value on its way to another thread.
struct Value(NonNull<(Tracked, [u8; 30_000])>);
// SAFETY: values of caches may be sent.
unsafe impl Send for Value {}

/// A thread's end, a trim and another cache's wants are no places for destructors.
#[test]
fn destructors_run_in_calls_on_their_cache_alone() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::new("patient", || (Tracked { dropped: &DROPPED, data: vec![1, 2, 3], users: 0 }, [0u8; 30_000]))
        .expect("a cache");
    let per_slab = cache.stats().objects_per_slab;
    // More slabs than are kept become empty when other threads end, and one when memory is trimmed.
    let slabs = 8;
    let values: Vec<_> = (0..slabs * per_slab).map(|_| cache.alloc_raw().expect("memory")).map(Value).collect();
    std::thread::scope(|scope| {
        for value in values {
            let cache = &cache;
            let give_back = move || {
                let value = value;
                // SAFETY: given back once.
                unsafe { cache.free_raw(value.0) }
            };
            scope.spawn(give_back).join().expect("no thread fails");
        }
    });
    fairground_allocator::malloc::trim(0);
    assert_eq!(DROPPED.load(Relaxed), 0);
    assert_eq!((cache.stats().slabs, cache.stats().slabs_empty), (slabs, slabs));
    assert_eq!(cache.shrink(), slabs);
    assert_eq!(DROPPED.load(Relaxed), slabs * per_slab);
}

/// A constructor and a destructor that use caches themselves, among them such as want the very place in the thread's table.
#[test]
fn constructors_and_destructors_may_use_other_caches() {
    static INNER: Mutex<Vec<Cache<u64>>> = Mutex::new(Vec::new());
    struct Outer([u64; 500]);
    impl Outer {
        fn churn(seed: u64) -> u64 {
            // Each at least as often as it takes to get the place.
            let inner = INNER.lock().expect("no thread fails");
            let mut sum = seed;
            for cache in inner.iter() {
                for _ in 0..40 {
                    let mut value = cache.alloc().expect("memory");
                    *value += 1;
                    sum += *value;
                }
            }
            sum
        }
    }
    impl Drop for Outer {
        fn drop(&mut self) {
            Outer::churn(self.0[0]);
        }
    }
    let inner: Vec<_> = (0..130).map(|n| Cache::new(&format!("inner-{n}"), || 0u64).expect("a cache")).collect();
    *INNER.lock().expect("no thread fails") = inner;
    let outer = Cache::new("outer", || Outer([Outer::churn(7); 500])).expect("a cache");
    for _ in 0..3 {
        let values: Vec<_> = (0..100).map(|_| outer.alloc().expect("memory")).collect();
        let distinct: HashSet<_> = values.iter().map(|value| std::ptr::from_ref(&**value)).collect();
        assert_eq!(distinct.len(), 100);
        assert!(values.iter().all(|value| value.0.iter().all(|&word| word == value.0[0])));
        drop(values);
        outer.shrink();
    }
    // No slab was lost on the way. Outside of the lock, which the destructor takes.
    outer.shrink();
    assert_eq!((outer.stats().live, outer.stats().slabs, outer.stats().slabs_current), (0, 0, 0));
    assert!(outer.destroy().is_ok());
    let inner = std::mem::take(&mut *INNER.lock().expect("no thread fails"));
    for cache in inner {
        cache.shrink();
        assert_eq!((cache.stats().live, cache.stats().slabs, cache.stats().slabs_current), (0, 0, 0));
        assert!(cache.destroy().is_ok());
    }
}
