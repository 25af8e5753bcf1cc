//! Micro benches: what single patterns of calls cost, ours beside its peers in one run.
//!
//! Each group is one pattern, each line in it one allocator, so that the lines to be compared are measured within seconds of
//! each other. They show where a difference comes from; whether it matters is for `fairground-compare` to say, for in a loop
//! as tight as these every allocator has its caches warm.
//!
//! Blocks are touched (a byte each) and pass through `black_box`: otherwise the compiler removes the pair of calls.

mod peers;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fairground_benches::workload::random::Random;
use peers::with_each_peer;
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A live block. Freed by whoever holds it, with the layout it was allocated with.
#[derive(Clone, Copy)]
struct Block {
    address: *mut u8,
    layout: Layout,
}

// SAFETY: the address of a block that only its holder uses; all peers allow a free by another thread.
unsafe impl Send for Block {}

impl Block {
    #[inline(always)]
    fn new(allocator: &impl GlobalAlloc, layout: Layout) -> Self {
        // SAFETY: no layout in this file has size 0; the write is to the first byte of a block that is not null.
        let address = unsafe {
            let address = black_box(allocator.alloc(layout));
            assert!(!address.is_null(), "no memory");
            address.write(1);
            address
        };
        Self { address, layout }
    }

    #[inline(always)]
    fn free(self, allocator: &impl GlobalAlloc) {
        // SAFETY: the block is live, came from this allocator with this layout, and is given up here.
        unsafe { allocator.dealloc(self.address, self.layout) };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("sizes of this file are small")
}

/// One block allocated and freed at once: the shortest path, and the size read at run time.
fn pair(criterion: &mut Criterion) {
    for (name, size) in [
        ("pair/16 B", 16),
        ("pair/81 B", 81),
        ("pair/1000 B", 1000),
        ("pair/5000 B", 5000),
        ("pair/20 KiB", 20 << 10),
        ("pair/64 KiB", 64 << 10),
        ("pair/4 MiB", 4 << 20),
    ] {
        let mut group = criterion.benchmark_group(name);
        with_each_peer!(pair_of, &mut group, size);
        group.finish();
    }
}

fn pair_of<A: GlobalAlloc>(name: &str, allocator: &A, group: &mut Group, size: usize) {
    group.bench_function(name, |bench| bench.iter(|| Block::new(allocator, layout(black_box(size))).free(allocator)));
}

/// A thousand blocks allocated, then freed in the same order: more than any thread cache holds at first.
fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch of 1000/64 B");
    group.throughput(Throughput::Elements(1000));
    with_each_peer!(batch_of, &mut group, 64);
    group.finish();
}

fn batch_of<A: GlobalAlloc>(name: &str, allocator: &A, group: &mut Group, size: usize) {
    let mut blocks = Vec::with_capacity(1000);
    group.bench_function(name, |bench| {
        bench.iter(|| {
            blocks.extend((0..1000).map(|_| Block::new(allocator, layout(black_box(size)))));
            blocks.drain(..).for_each(|block| block.free(allocator));
        });
    });
}

/// Blocks of 16 B to 4 KiB replace each other at random among 2,000 live ones.
fn mixed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mixed/16 B to 4 KiB");
    with_each_peer!(mixed_in, &mut group);
    group.finish();
}

fn mixed_in<A: GlobalAlloc>(name: &str, allocator: &A, group: &mut Group) {
    let mut random = Random::new(1);
    let new = |random: &mut Random| Block::new(allocator, layout(random.log_uniform(4, 12)));
    let mut live: Vec<Block> = (0..2000).map(|_| new(&mut random)).collect();
    group.bench_function(name, |bench| {
        bench.iter(|| {
            let slot = random.below(live.len());
            live[slot].free(allocator);
            live[slot] = new(&mut random);
        });
    });
    live.into_iter().for_each(|block| block.free(allocator));
}

/// A buffer that grows by half until 4 MiB, and one that grows in steps of 16 KiB, as programs read input.
fn realloc_growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("realloc growth/by half to 4 MiB");
    with_each_peer!(grow_in, &mut group, |size: usize| size * 3 / 2);
    group.finish();
    let mut group = criterion.benchmark_group("realloc growth/by 16 KiB to 4 MiB");
    with_each_peer!(grow_in, &mut group, |size: usize| size + (16 << 10));
    group.finish();
}

fn grow_in<A: GlobalAlloc>(name: &str, allocator: &A, group: &mut Group, next: impl Fn(usize) -> usize) {
    group.bench_function(name, |bench| {
        bench.iter(|| {
            let mut block = Block::new(allocator, layout(64));
            while block.layout.size() < 4 << 20 {
                let size = next(block.layout.size());
                // SAFETY: the block is live and replaced by the result, which is not null; its last byte is in bounds.
                unsafe {
                    let address = black_box(allocator.realloc(block.address, block.layout, size));
                    assert!(!address.is_null(), "no memory");
                    address.add(size - 1).write(1);
                    block = Block { address, layout: layout(size) };
                }
            }
            block.free(allocator);
        });
    });
}

/// Zeroed blocks: one that is cleared anyway, one that may come zeroed from the system.
fn calloc(criterion: &mut Criterion) {
    for (name, size) in [("calloc/200 B", 200), ("calloc/64 KiB", 64 << 10)] {
        let mut group = criterion.benchmark_group(name);
        with_each_peer!(calloc_in, &mut group, size);
        group.finish();
    }
}

fn calloc_in<A: GlobalAlloc>(name: &str, allocator: &A, group: &mut Group, size: usize) {
    group.bench_function(name, |bench| {
        bench.iter(|| {
            let layout = layout(black_box(size));
            // SAFETY: the size is not 0.
            let address = black_box(unsafe { allocator.alloc_zeroed(layout) });
            assert!(!address.is_null(), "no memory");
            Block { address, layout }.free(allocator);
        });
    });
}

/// Blocks allocated by one thread and freed by another, 500 at a time. The time is that of both, for each block.
fn cross_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross-thread free/64 B");
    with_each_peer!(cross_thread_in, &mut group);
    group.finish();
}

fn cross_thread_in<A: GlobalAlloc + Sync>(name: &str, allocator: &A, group: &mut Group) {
    const BATCH: u64 = 500;
    group.bench_function(name, |bench| {
        bench.iter_custom(|blocks| {
            let batches = blocks.div_ceil(BATCH);
            let (send, receive) = sync_channel::<Vec<Block>>(8);
            // Containers go back to the producer, so that only blocks are allocated in the time.
            let (give_back, again) = sync_channel::<Vec<Block>>(16);
            let elapsed = std::thread::scope(|scope| {
                scope.spawn(move || {
                    for mut batch in receive {
                        batch.drain(..).for_each(|block: Block| block.free(allocator));
                        // At the end the producer is gone and wants none back.
                        let _ = give_back.try_send(batch);
                    }
                });
                let begin = Instant::now();
                for _ in 0..batches {
                    let mut batch = again.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH as usize));
                    batch.extend((0..BATCH).map(|_| Block::new(allocator, layout(black_box(64)))));
                    send.send(batch).expect("the consumer runs until the producer is done");
                }
                drop(send);
                // The consumer is waited for by way of its end of the channel: all blocks are freed when it hangs up.
                while again.recv().is_ok() {}
                begin.elapsed()
            });
            elapsed.mul_f64(blocks as f64 / (batches * BATCH) as f64)
        });
    });
}

/// The first block of a fresh thread: what an allocator sets up for each thread.
fn thread_start(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first block of a thread");
    with_each_peer!(thread_start_in, &mut group);
    group.finish();
}

fn thread_start_in<A: GlobalAlloc + Sync>(name: &str, allocator: &A, group: &mut Group) {
    group.bench_function(name, |bench| {
        bench.iter(|| {
            std::thread::scope(|scope| scope.spawn(|| Block::new(allocator, layout(64)).free(allocator)).join())
        });
    });
}

/// Short: 64 lines of about a second each. The long, careful measurement is `fairground-compare`.
fn configuration() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(5_000)
}

criterion_group! {
    name = benches;
    config = configuration();
    targets = pair, batch, mixed, realloc_growth, calloc, cross_thread, thread_start
}
criterion_main!(benches);
