//! The scheduler, and whatever else runs with preemption off, neither allocates from nor frees to the program's allocator: a preempted task may hold a lock of
//! that, and would never get to release it. Here the program's allocator looks.

use fairground_runtime::channel::{bounded, oneshot, unbounded};
use fairground_runtime::net::{TcpListener, TcpStream};
use fairground_runtime::sched::Shares;
use fairground_runtime::sync::{Condvar, Mutex, RwLock, Semaphore};
use fairground_runtime::{Builder, Group, Runtime, preempt, scope, spawn, spawn_future, time, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Looks;

static WRONG: AtomicUsize = AtomicUsize::new(0);
static LOOKED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn look() {
    LOOKED.fetch_add(1, Ordering::Relaxed);
    if !preempt::is_disabled() || INSIDE.replace(true) {
        return;
    }
    if WRONG.fetch_add(1, Ordering::Relaxed) < 3 {
        eprintln!("memory of the program's while preemption is off:\n{}", std::backtrace::Backtrace::force_capture());
    }
    INSIDE.set(false);
}

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Looks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        look();
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        look();
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looks = Looks;

fn lives() {
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            Builder::new().name(format!("task {n}")).spawn(move || {
                yield_now();
                vec![n; 1000].len() + String::from("a result that is dropped").len()
            })
        })
        .map(|task| task.expect("memory"))
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        match n % 4 {
            0 => drop(task),
            1 => task.cancel(),
            _ => assert!(task.join().is_ok()),
        }
    }
    // A closure and a result that do not fit the object.
    let large = [7_u8; 4000];
    assert_eq!(spawn(move || large).join().expect("no panic")[3999], 7);
    assert!(spawn(|| std::panic::resume_unwind(Box::new(String::from("why")))).join().is_err());
    assert_eq!(spawn_future(async { 5 }).join().expect("no panic"), 5);
}

fn talks() {
    let (to, from) = bounded(4);
    let (to_all, from_all) = unbounded();
    let (hand, other_hand) = bounded(0);
    let (one, only) = oneshot();
    scope(|scope| {
        scope.spawn(|| {
            (0..500).for_each(|n| to.send(vec![n]).expect("somebody receives"));
            (0..500).for_each(|n| to_all.send(vec![n]).expect("somebody receives"));
            (0..50).for_each(|n| hand.send(vec![n]).expect("somebody receives"));
            one.send(String::from("once")).expect("somebody receives");
        });
        scope.spawn(|| {
            (0..500).for_each(|_| drop(from.recv().expect("somebody sends")));
            (0..500).for_each(|_| drop(from_all.recv().expect("somebody sends")));
            (0..50).for_each(|_| drop(other_hand.recv().expect("somebody sends")));
            assert_eq!(only.recv().expect("somebody sends"), "once");
        });
    });
}

fn waits() {
    let all = Arc::new((Mutex::new(0), Condvar::new(), RwLock::new(0), Semaphore::new(2)));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let all = Arc::clone(&all);
            spawn(move || {
                for _ in 0..50 {
                    *all.0.lock().expect("no panic") += 1;
                    all.1.notify_all();
                    *all.2.write().expect("no panic") += n;
                    let _permit = all.3.acquire();
                    yield_now();
                }
                time::sleep(Duration::from_micros(300));
                let guard = all.0.lock().expect("no panic");
                let _ = all.1.wait_timeout(guard, Duration::from_micros(200));
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().expect("no panic"));
    let _ = time::timeout(Duration::from_millis(1), || time::sleep(Duration::from_secs(100)));
}

fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let clients: Vec<_> = (0..20)
        .map(|_| {
            spawn(move || {
                let mut stream = TcpStream::connect(address).expect("a listener");
                for _ in 0..20 {
                    stream.write_all(b"ping").expect("open");
                    let mut answer = [0; 4];
                    stream.read_exact(&mut answer).expect("open");
                }
            })
        })
        .collect();
    let servers: Vec<_> = (0..20)
        .map(|_| {
            let (mut stream, _) = listener.accept().expect("a client");
            spawn(move || {
                let mut buffer = [0; 4];
                while stream.read_exact(&mut buffer).is_ok() {
                    stream.write_all(&buffer).expect("open");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|task| task.join().expect("no panic"));
    servers.into_iter().for_each(|task| task.join().expect("no panic"));
}

fn all(runtime: &Runtime) {
    let over = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            let over = Arc::clone(&over);
            let hog = move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::black_box(vec![1; 100]);
                }
            };
            if runtime.is_preemptive() { Some(runtime.spawn(hog)) } else { None }
        })
        .collect();
    for _ in 0..3 {
        runtime.run(|| {
            lives();
            talks();
            waits();
            sockets();
        });
        let group = Group::new(runtime, "group", Shares::default());
        let tasks: Vec<_> =
            (0..20).map(|_| Builder::new().group(&group).spawn_on(runtime, yield_now).expect("memory")).collect();
        drop(group);
        tasks.into_iter().for_each(|task| task.join().expect("no panic"));
        // Plain threads that wait for tasks.
        let task = runtime.spawn(|| time::sleep(Duration::from_millis(1)));
        std::thread::spawn(move || task.join().expect("no panic")).join().expect("no panic");
    }
    over.store(true, Ordering::Relaxed);
    hogs.into_iter().flatten().for_each(|hog| hog.join().expect("no panic"));
}

#[test]
fn the_scheduler_leaves_the_programs_allocator_alone() {
    let began = Instant::now();
    all(&Runtime::builder().workers(2).build().expect("a runtime"));
    // SAFETY: nothing here keeps anything of its kernel thread over a suspension point.
    all(&unsafe { Runtime::builder().migrating() }.workers(2).build().expect("a runtime"));
    assert!(LOOKED.load(Ordering::Relaxed) > 10_000, "the allocator was in use");
    assert_eq!(WRONG.load(Ordering::Relaxed), 0, "calls of the program's allocator; {:?}", began.elapsed());
}
