//! Stands for threads that write much to small objects of their own. If the allocator gives pieces of one cache line to
//! several threads, every write moves the line between cores: *active* false sharing (`thrash`) when fresh objects share a
//! line, *passive* (`scratch`) when a thread receives an object, frees it, and is given that same piece of a shared line
//! again. After E. Berger's cache-thrash and cache-scratch from the Hoard suite (ASPLOS 2000).

use super::Load;
use std::hint::black_box;
use std::sync::Barrier;

const OBJECT: usize = 8;
const OBJECTS: usize = 16_000;
const WRITES: usize = 100_000;

/// An object handed to the thread that will free it.
struct Given(*mut u8);

// SAFETY: the address of a malloc block that only the receiving thread uses after the hand-over.
unsafe impl Send for Given {}

pub(super) fn scratch(load: &Load) -> u64 {
    work(load, true)
}

pub(super) fn thrash(load: &Load) -> u64 {
    work(load, false)
}

fn work(load: &Load, passive: bool) -> u64 {
    let objects = load.scaled(OBJECTS);
    // Neighbours: allocated one after the other by one thread.
    let given: Vec<Option<Given>> = (0..load.threads).map(|_| passive.then(|| Given(allocate()))).collect();
    let start = Barrier::new(load.threads);
    std::thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = given
            .into_iter()
            .enumerate()
            .map(|(thread, given)| {
                scope.spawn(move || {
                    start.wait();
                    if let Some(Given(object)) = given {
                        // SAFETY: allocated above by malloc, handed over to this thread alone.
                        unsafe { libc::free(object.cast()) };
                    }
                    (0..objects).fold(0_u64, |sum, i| sum.wrapping_add(write_much((thread * objects + i) as u64)))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a thread panicked")).fold(0, u64::wrapping_add)
    })
}

/// Allocates an object, writes to it many times, frees it and returns what it held at last.
fn write_much(seed: u64) -> u64 {
    let object = allocate();
    // SAFETY: the object is OBJECT bytes long, all of which are written first, and it is freed once.
    unsafe {
        object.cast::<u64>().write_unaligned(seed);
        for i in 0..WRITES {
            // Volatile: each write must reach the cache line, which is what is measured.
            let byte = object.add(i % OBJECT);
            byte.write_volatile(byte.read_volatile().wrapping_add(1));
        }
        let last = object.cast::<u64>().read_unaligned();
        libc::free(object.cast());
        last
    }
}

fn allocate() -> *mut u8 {
    // SAFETY: malloc may be called with any size.
    let object = black_box(unsafe { libc::malloc(OBJECT) });
    assert!(!object.is_null(), "no memory for {OBJECT} bytes");
    object.cast()
}
