//! Models of the lock-free protocols, run by loom on the real code: `make model`, or
//! `RUSTFLAGS="--cfg loom" cargo test --release -p fairground-allocator --lib models`.
//!
//! A model shrinks the world (slabs of one to three objects, two or three threads) and tries every interleaving and every
//! value the memory model allows a load to return, within loom's bound on preemptions.

use crate::kmem::sheaf::{Home, Sheaf};
use crate::lock::Lock;
use crate::slab::cache::{Backing, Cache};
use crate::slab::slab::{Slab, State};
use core::cell::RefCell;
use loom::sync::Arc;
use loom::thread;

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // `LOOM_MAX_PREEMPTIONS` sets another bound, for longer runs.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

/// The world below a cache: slabs are boxes, and the granule table a list of those in existence, guarded by the cache's
/// lock as in the allocator.
struct World {
    cache: Cache,
    objects: u16,
    slabs: RefCell<Vec<*mut Slab>>,
    existing: RefCell<Vec<*mut Slab>>,
    /// Objects that the program has.
    in_use: RefCell<Vec<(*mut Slab, usize)>>,
    /// `slabs`, `existing` and `in_use` are std cells: loom runs one thread at a time, and what they stand for is atomic.
    _guard: (),
}

// SAFETY: see `_guard`.
unsafe impl Send for World {}
// SAFETY: see `_guard`.
unsafe impl Sync for World {}

const SIZE: usize = 16;

impl World {
    fn new(objects: u16) -> Arc<World> {
        Arc::new(World {
            cache: Cache::new(),
            objects,
            slabs: RefCell::default(),
            existing: RefCell::default(),
            in_use: RefCell::default(),
            _guard: (),
        })
    }

    /// Frees an object as `heap::give_back` does.
    fn free(&self, object: Object) {
        self.in_use.borrow_mut().retain(|&known| known != (object.slab, object.number));
        // SAFETY: an object in use keeps its slab alive until `settle`.
        let slab = unsafe { &*object.slab };
        slab.put(object.number / 64, 1 << (object.number % 64)).expect("freed twice");
        let found = slab.settle(1);
        self.cache.after_free(object.slab, found, self);
    }

    /// Objects that nobody has: free in listed slabs.
    fn listed_free(&self) -> usize {
        self.existing
            .borrow()
            .iter()
            // SAFETY: existing slabs exist.
            .filter(|&&slab| unsafe { (*slab).look() }.state == State::Partial)
            // SAFETY: as above.
            .map(|&slab| (0..self.objects as usize).filter(|&i| unsafe { (*slab).is_free(i) }).count())
            .sum()
    }

    fn nr_existing(&self) -> usize {
        self.existing.borrow().len()
    }
}

impl Backing for World {
    fn new_slab(&self) -> *mut Slab {
        let slab = Box::into_raw(Box::<Slab>::new_uninit()).cast::<Slab>();
        let base = core::ptr::without_provenance_mut((self.slabs.borrow().len() + 1) << 16);
        // SAFETY: a new box.
        unsafe { Slab::init(slab, [0; 4], base, SIZE as u32, self.objects, core::ptr::null()) };
        self.slabs.borrow_mut().push(slab);
        self.existing.borrow_mut().push(slab);
        slab
    }

    fn is_ours(&self, slab: *mut Slab) -> bool {
        self.existing.borrow().contains(&slab)
    }

    fn retire(&self, slab: *mut Slab) {
        self.existing.borrow_mut().retain(|&s| s != slab);
    }

    fn release(&self, slab: *mut Slab) {
        // SAFETY: loom checks that every touch of the slab happens before this write.
        unsafe { (*slab).alive.with_mut(|alive| *alive = false) };
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for &slab in self.slabs.borrow().iter() {
            // SAFETY: made by `new_slab`, and all threads have ended.
            drop(unsafe { Box::from_raw(slab) });
        }
    }
}

#[derive(Clone, Copy)]
struct Object {
    slab: *mut Slab,
    number: usize,
}

// SAFETY: stands for a pointer that the program passes between threads.
unsafe impl Send for Object {}

/// The part of a heap that holds a current slab.
struct Holder {
    world: Arc<World>,
    current: *mut Slab,
}

// SAFETY: a heap moves to its thread once.
unsafe impl Send for Holder {}

impl Holder {
    fn new(world: &Arc<World>) -> Holder {
        Holder { world: world.clone(), current: core::ptr::null_mut() }
    }

    /// As `ThreadHeap::take_from_slabs`, for one object.
    fn alloc(&mut self) -> Object {
        loop {
            if self.current.is_null() {
                self.current = self.world.cache.hold_slab(&*self.world);
            }
            let slab = self.current;
            let mut object: *mut u8 = core::ptr::null_mut();
            // SAFETY: held.
            unsafe {
                if (*slab).take((&raw mut object).add(1), 1) == 1 {
                    let number = (object.addr() & 0xffff) / SIZE;
                    self.world.in_use.borrow_mut().push((slab, number));
                    return Object { slab, number };
                }
                self.current = core::ptr::null_mut();
                if self.world.cache.exhausted(slab, &*self.world) {
                    self.current = slab;
                }
            }
        }
    }

    fn exit(self) {
        if !self.current.is_null() {
            // SAFETY: held.
            unsafe { self.world.cache.let_go(self.current, &*self.world) };
        }
    }
}

#[test]
fn an_object_freed_while_its_slab_becomes_full_is_not_lost() {
    check(|| {
        let world = World::new(1);
        let mut holder = Holder::new(&world);
        let object = holder.alloc();
        let other = world.clone();
        let freer = thread::spawn(move || other.free(object));
        // The slab has no free object, or has one again: alloc exhausts it or takes it.
        let second = holder.alloc();
        freer.join().unwrap();
        world.free(second);
        holder.exit();
        // Everything is free: in listed slabs, none of which was lost, and at most one empty slab is kept.
        assert_eq!(world.listed_free(), world.nr_existing());
        assert!(world.nr_existing() <= 1, "{} slabs kept", world.nr_existing());
    });
}

#[test]
fn two_threads_free_the_last_objects_of_a_full_slab() {
    check(|| {
        let world = World::new(2);
        let mut holder = Holder::new(&world);
        let (a, b) = (holder.alloc(), holder.alloc());
        let c = holder.alloc(); // the first slab is full now
        let (w1, w2) = (world.clone(), world.clone());
        let t1 = thread::spawn(move || w1.free(a));
        let t2 = thread::spawn(move || w2.free(b));
        t1.join().unwrap();
        t2.join().unwrap();
        world.free(c);
        holder.exit();
        assert_eq!(world.listed_free(), 2 * world.nr_existing());
        assert_eq!(world.nr_existing(), 1);
    });
}

#[test]
fn a_slab_is_taken_while_its_last_object_comes_back() {
    check(|| {
        let world = World::new(2);
        let mut holder = Holder::new(&world);
        let (a, b) = (holder.alloc(), holder.alloc());
        holder.exit();
        world.free(a); // listed, one free, one in use
        let w1 = world.clone();
        let freer = thread::spawn(move || w1.free(b));
        let w2 = world.clone();
        let taker = thread::spawn(move || {
            let mut holder = Holder::new(&w2);
            let object = holder.alloc();
            w2.free(object);
            holder.exit();
        });
        let released = world.cache.shrink(&*world);
        freer.join().unwrap();
        taker.join().unwrap();
        assert_eq!(world.listed_free(), 2 * world.nr_existing());
        assert_eq!(released + world.nr_existing(), world.slabs.borrow().len());
        world.cache.shrink(&*world);
        assert_eq!(world.nr_existing(), 0);
    });
}

#[test]
fn what_is_given_back_inside_a_slab_is_nobodys_meanwhile() {
    check(|| {
        let world = World::new(2);
        let mut holder = Holder::new(&world);
        let (a, b) = (holder.alloc(), holder.alloc());
        holder.exit();
        world.free(a); // listed, one free, one in use
        let w1 = world.clone();
        let freer = thread::spawn(move || w1.free(b));
        let w2 = world.clone();
        let taker = thread::spawn(move || {
            let mut holder = Holder::new(&w2);
            let object = holder.alloc();
            w2.free(object);
            holder.exit();
        });
        // Pages of one object each: whatever is seen free is free until the slab is let go.
        world.cache.sweep_all(&*world, SIZE.trailing_zeros(), |slab| {
            let free: Vec<_> = (0..2).filter(|&object| slab.is_free(object)).collect();
            for _ in 0..2 {
                let slab = core::ptr::from_ref(slab).cast_mut();
                assert!(free.iter().all(|&object| !world.in_use.borrow().contains(&(slab, object))));
                thread::yield_now();
            }
        });
        freer.join().unwrap();
        taker.join().unwrap();
        assert_eq!(world.listed_free(), 2 * world.nr_existing());
        world.cache.shrink(&*world);
        assert_eq!(world.nr_existing(), 0);
    });
}

#[test]
fn a_thread_exits_while_others_free() {
    check(|| {
        let world = World::new(2);
        let mut holder = Holder::new(&world);
        let (a, b) = (holder.alloc(), holder.alloc());
        let (w1, w2) = (world.clone(), world.clone());
        let t1 = thread::spawn(move || w1.free(a));
        let t2 = thread::spawn(move || w2.free(b));
        holder.exit();
        t1.join().unwrap();
        t2.join().unwrap();
        assert_eq!(world.nr_existing(), 1);
        assert_eq!(world.listed_free(), 2);
    });
}

/// A typed cache as its sheaves see it: objects come back, and one day it is gone.
struct TypedCache {
    id: u32,
    returned: loom::sync::atomic::AtomicU32,
    /// Lets loom see whether anybody looks at the descriptor after its end.
    exists: loom::cell::UnsafeCell<bool>,
}

impl TypedCache {
    fn new(id: u32) -> TypedCache {
        TypedCache { id, returned: 0.into(), exists: loom::cell::UnsafeCell::new(true) }
    }

    fn touch(&self) {
        // SAFETY: loom itself checks the access.
        self.exists.with(|exists| assert!(unsafe { *exists }, "a cache was used after its end"));
    }

    fn returned(&self) -> u32 {
        self.returned.load(loom::sync::atomic::Ordering::Relaxed)
    }
}

impl Home for TypedCache {
    fn give_back(&self, objects: &[*mut u8]) {
        self.touch();
        assert!(objects.iter().all(|object| object.addr() as u32 / 16 == self.id), "an object of another cache");
        self.returned.fetch_add(objects.len() as u32, loom::sync::atomic::Ordering::Relaxed);
    }

    fn let_go(&self, _slab: *mut Slab) {
        self.touch();
    }
}

/// A thread's place for a sheaf, for which two caches compete.
struct Place {
    lock: Lock,
    sheaf: Sheaf,
    caches: [TypedCache; 2],
}

// SAFETY: `sheaf` is touched by its protocol; loom checks its cells.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    fn new() -> Arc<Place> {
        Arc::new(Place { lock: Lock::new(), sheaf: Sheaf::new(), caches: [TypedCache::new(1), TypedCache::new(2)] })
    }

    /// Under the lock: empties the sheaf, whosever it is, as `heap_sheaves::empty` does.
    fn empty(&self) {
        if self.sheaf.id() != 0 {
            self.sheaf.empty(&self.caches[self.sheaf.id() as usize - 1]);
        }
    }

    /// The owner frees an object of a cache, as in `heap_sheaves::free`.
    fn free(&self, id: u32, number: usize) {
        let object = core::ptr::without_provenance_mut(id as usize * 16 + number);
        if self.sheaf.push(id, object) {
            return;
        }
        if self.sheaf.id() != id {
            let _guard = self.lock.lock();
            self.empty();
            self.sheaf.claim(id, 2);
        }
        assert!(self.sheaf.push(id, object));
    }

    /// The owner's thread ends.
    fn exit(&self) {
        let _guard = self.lock.lock();
        self.empty();
    }

    /// Somebody destroys a cache that nobody uses: empties its sheaf, counts, and takes the descriptor down.
    fn destroy(&self, id: u32, objects: u32) {
        let cache = &self.caches[id as usize - 1];
        {
            let _guard = self.lock.lock();
            if self.sheaf.id() == id {
                self.sheaf.empty(cache);
            }
        }
        assert_eq!(cache.returned(), objects, "the count of live objects is not exact");
        // SAFETY: loom checks that every touch of the descriptor happens before this write.
        cache.exists.with_mut(|exists| unsafe { *exists = false });
    }
}

#[test]
fn a_cache_is_destroyed_while_another_takes_its_sheaf() {
    check(|| {
        let place = Place::new();
        place.free(1, 0);
        place.free(1, 1);
        let theirs = place.clone();
        let destroyer = thread::spawn(move || theirs.destroy(1, 2));
        place.free(2, 0);
        assert_eq!(place.sheaf.pop(2).addr(), 32);
        place.free(2, 1);
        destroyer.join().unwrap();
        place.exit();
        assert_eq!(place.caches[1].returned(), 1);
    });
}

#[test]
fn a_cache_is_destroyed_while_a_thread_ends() {
    check(|| {
        let place = Place::new();
        place.free(1, 0);
        let theirs = place.clone();
        let destroyer = thread::spawn(move || theirs.destroy(1, 1));
        place.exit();
        destroyer.join().unwrap();
        assert_eq!(place.sheaf.nr(), 0);
    });
}

#[test]
fn the_number_of_a_destroyed_cache_is_used_again() {
    check(|| {
        let place = Place::new();
        place.free(1, 0);
        let theirs = place.clone();
        let destroyer = thread::spawn(move || {
            theirs.destroy(1, 1);
            // A new cache with this number; `join` stands for how the owner learns of it.
            // SAFETY: nobody looks at the descriptor now; loom checks it.
            theirs.caches[0].exists.with_mut(|exists| unsafe { *exists = true });
        });
        // Meanwhile the owner uses another cache, now and then with a place of its own.
        place.free(2, 0);
        destroyer.join().unwrap();
        place.free(1, 1);
        assert_eq!(place.sheaf.pop(1).addr(), 17, "an object of the old cache");
        assert!(place.sheaf.pop(1).is_null());
        place.exit();
        assert_eq!((place.caches[0].returned(), place.caches[1].returned()), (1, 1));
    });
}

#[test]
fn the_lock_excludes_and_wakes() {
    struct Guarded {
        lock: Lock,
        value: loom::cell::UnsafeCell<u32>,
    }
    // SAFETY: `value` is only touched under `lock`; loom checks it.
    unsafe impl Sync for Guarded {}
    // SAFETY: as above.
    unsafe impl Send for Guarded {}
    check(|| {
        let guarded = Arc::new(Guarded { lock: Lock::new(), value: loom::cell::UnsafeCell::new(0) });
        let add = |g: &Guarded| {
            let _guard = g.lock.lock();
            // SAFETY: under the lock.
            g.value.with_mut(|value| unsafe { *value += 1 });
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let g = guarded.clone();
                thread::spawn(move || add(&g))
            })
            .collect();
        add(&guarded);
        for t in threads {
            t.join().unwrap();
        }
        let _guard = guarded.lock.lock();
        // SAFETY: under the lock.
        guarded.value.with(|value| assert_eq!(unsafe { *value }, 3));
    });
}
