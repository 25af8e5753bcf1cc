//! What the locks promise, between plain threads.

use fairground_runtime::sync::{
    Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, RwLockWriteGuard, Semaphore, SeqLock, SpinLock,
    TooManyPermits, TryLockError, WaitGroup,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const ROUNDS: usize = 20_000;

/// Runs `f` in four threads.
fn together(f: impl Fn(usize) + Sync) {
    in_threads(4, f);
}

/// Joins each: how a scope waits for them by itself is invisible to ThreadSanitizer.
fn in_threads(threads: usize, f: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        let f = &f;
        let threads: Vec<_> = (0..threads).map(|i| scope.spawn(move || f(i))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_mutex_excludes() {
    let counter = Mutex::new(0);
    together(|_| (0..ROUNDS).for_each(|_| *counter.lock().unwrap() += 1));
    assert_eq!(counter.into_inner().unwrap(), 4 * ROUNDS);
}

#[test]
fn a_mutex_that_is_held_cannot_be_taken() {
    let mut mutex = Mutex::new(1);
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    assert!(matches!(mutex.lock_timeout(SOON), Err(TryLockError::WouldBlock)));
    assert!(matches!(mutex.lock_until(Instant::now()), Err(TryLockError::WouldBlock)));
    drop(guard);
    *mutex.lock_timeout(SOON).unwrap() += 1;
    assert_eq!(*mutex.get_mut().unwrap(), 2);
}

/// One thread takes the lock again and again and hardly lets go; the other gets its turns.
#[test]
fn nobody_starves_at_a_mutex() {
    let (mutex, done) = (Mutex::new(()), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _guard = mutex.lock().unwrap();
                thread::sleep(Duration::from_micros(100));
            }
        });
        for _ in 0..20 {
            drop(mutex.lock().unwrap());
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_panic_with_a_lock_held_poisons_it() {
    let (mutex, lock) = (Mutex::new(1), RwLock::new(1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guards = (mutex.lock().unwrap(), lock.write().unwrap());
        panic!("with both held");
    }));
    assert!(panicked.is_err());
    assert!(mutex.is_poisoned() && lock.is_poisoned());
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    assert_eq!(*lock.read().unwrap_err().into_inner(), 1);
    lock.clear_poison();
    assert!(lock.write().is_ok());
    assert!(mutex.into_inner().is_err());

    let lock = RwLock::new(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock.read().unwrap();
        panic!("with a reader's share");
    }));
    assert!(panicked.is_err());
    assert!(!lock.is_poisoned(), "a reader cannot leave anything half changed");
}

#[test]
fn a_rwlock_excludes_writers_and_shares_readers() {
    let lock = RwLock::new([0; 2]);
    together(|i| {
        for round in 0..ROUNDS {
            if (round + i) % 4 == 0 {
                lock.write().unwrap().iter_mut().for_each(|n| *n += 1);
            } else {
                let value = lock.read().unwrap();
                assert_eq!(value[0], value[1]);
            }
        }
    });
    assert_eq!(lock.into_inner().unwrap(), [ROUNDS; 2]);

    let lock = RwLock::new(());
    let (one, other) = (lock.read().unwrap(), lock.try_read().unwrap());
    assert!(lock.try_write().is_err() && lock.write_timeout(SOON).is_err());
    drop((one, other));
    let writer = lock.write_until(Instant::now() + SOON).unwrap();
    assert!(lock.try_read().is_err() && lock.read_timeout(SOON).is_err());
    let reader = RwLockWriteGuard::downgrade(writer);
    assert!(lock.try_read().is_ok() && lock.try_write().is_err());
    drop(reader);
}

#[test]
fn a_writer_that_waits_goes_before_readers_that_come() {
    let lock = RwLock::new(0);
    thread::scope(|scope| {
        let reader = lock.read().unwrap();
        let writer = scope.spawn(|| *lock.write().unwrap() = 1);
        while lock.try_read().is_ok() {
            thread::yield_now();
        }
        let late = scope.spawn(|| *lock.read().unwrap());
        thread::sleep(SOON);
        drop(reader);
        writer.join().unwrap();
        assert_eq!(late.join().unwrap(), 1);
    });
}

#[test]
fn a_semaphore_has_so_many_permits() {
    let (semaphore, inside) = (Semaphore::new(2), AtomicUsize::new(0));
    together(|i| {
        for _ in 0..ROUNDS / 4 {
            let permits = 1 + i as u32 % 2;
            let permit = semaphore.acquire_many(permits);
            assert_eq!(permit.num_permits(), permits);
            let before = inside.fetch_add(permits as usize, Ordering::SeqCst);
            assert!(before + permits as usize <= 2);
            inside.fetch_sub(permits as usize, Ordering::SeqCst);
        }
    });
    assert_eq!(semaphore.available_permits(), 2);
}

/// A permit that was not to be had was given back all the same, and there was one more each time.
#[test]
fn a_semaphore_that_refuses_keeps_its_count() {
    let semaphore = Semaphore::new(1);
    assert!(semaphore.try_acquire_many(2).is_none());
    assert!(semaphore.acquire_many_timeout(2, SOON).is_none());
    assert!(semaphore.acquire_many_until(2, Instant::now()).is_none());
    assert_eq!(semaphore.available_permits(), 1);
    assert!(semaphore.acquire_timeout(SOON).is_some() && semaphore.acquire_until(Instant::now()).is_some());
}

#[test]
fn a_semaphore_serves_in_order() {
    let semaphore = Semaphore::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for (i, permits) in [3, 1].into_iter().enumerate() {
            let (sender, semaphore) = (sender.clone(), &semaphore);
            scope.spawn(move || {
                semaphore.acquire_many(permits).forget();
                sender.send(i).unwrap();
            });
            thread::sleep(SOON * 4);
        }
        semaphore.add_permits(2).unwrap();
        assert!(semaphore.try_acquire().is_none(), "nobody overtakes who waits");
        assert!(receiver.recv_timeout(SOON).is_err(), "one is enough for the second, which waits behind the first");
        semaphore.add_permits(2).unwrap();
        receiver.iter().take(2).for_each(drop);
    });
    assert_eq!(semaphore.available_permits(), 0);
}

#[test]
fn a_semaphore_says_when_it_has_too_many_permits() {
    let semaphore = Semaphore::new(u32::MAX);
    assert_eq!(semaphore.add_permits(1), Err(TooManyPermits { available: u32::MAX, added: 1 }));
    let text = semaphore.add_permits(7).unwrap_err().to_string();
    assert!(text.contains('7') && text.contains("4294967295"), "{text}");
    semaphore.acquire().forget();
    assert_eq!(semaphore.add_permits(1), Ok(()));
}

#[test]
fn a_condvar_wakes_one_or_all() {
    let (turns, changed) = (Mutex::new(0), Condvar::new());
    together(|i| {
        for round in 0..500 {
            let mine = round * 4 + i;
            let mut turn = changed.wait_while(turns.lock().unwrap(), |turn| *turn != mine).unwrap();
            *turn += 1;
            changed.notify_all();
        }
    });
    assert_eq!(turns.into_inner().unwrap(), 2000);

    let (flag, changed) = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(changed.wait_while(flag.lock().unwrap(), |flag| !*flag).unwrap()));
        *flag.lock().unwrap() = true;
        changed.notify_one();
        waiter.join().unwrap();
    });
}

#[test]
fn a_condvar_times_out() {
    let (mutex, condvar) = (Mutex::new(1), Condvar::new());
    let (guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), SOON).unwrap();
    assert!(result.timed_out() && *guard == 1);
    let (guard, result) = condvar.wait_until(guard, Instant::now()).unwrap();
    assert!(result.timed_out());
    let (guard, result) = condvar.wait_timeout_while(guard, SOON, |n| *n == 1).unwrap();
    assert!(result.timed_out());
    let (_, result) = condvar.wait_timeout_while(guard, SOON, |n| *n == 2).unwrap();
    assert!(!result.timed_out());
}

#[test]
fn a_barrier_opens_for_so_many_again_and_again() {
    // More than are woken at a time.
    let threads = 40;
    let (barrier, leaders, arrived) = (Barrier::new(threads), AtomicUsize::new(0), AtomicUsize::new(0));
    in_threads(threads, |_| {
        for round in 1..=20 {
            arrived.fetch_add(1, Ordering::SeqCst);
            leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::SeqCst);
            assert!(arrived.load(Ordering::SeqCst) >= round * threads);
        }
    });
    assert_eq!(leaders.into_inner(), 20);
}

#[test]
fn who_gives_up_at_a_barrier_does_not_count() {
    let barrier = Barrier::new(2);
    assert_eq!(barrier.wait_timeout(SOON), None);
    assert_eq!(barrier.wait_until(Instant::now()), None);
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        assert_ne!(barrier.wait().is_leader(), other.join().unwrap().is_leader());
    });
    assert!(Barrier::new(0).wait().is_leader());
}

#[test]
fn a_once_is_done_once() {
    let (once, times) = (Once::new(), AtomicUsize::new(0));
    assert!(!once.wait_timeout(SOON) && !once.is_completed());
    together(|_| {
        once.call_once(|| {
            thread::sleep(SOON);
            times.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(times.load(Ordering::Relaxed), 1);
        once.wait();
    });
    assert!(once.is_completed() && once.wait_until(Instant::now()));
}

#[test]
fn a_once_that_panicked_is_poisoned() {
    let once = Once::new();
    assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("the first")))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| ()))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| once.wait())).is_err());
    once.call_once_force(|state| assert!(state.is_poisoned()));
    once.call_once(|| panic!("it is done"));
}

#[test]
fn a_oncelock_keeps_the_first_value() {
    let mut lock = OnceLock::<String>::new();
    assert_eq!((lock.get(), lock.wait_timeout(SOON)), (None, None));
    assert!(catch_unwind(AssertUnwindSafe(|| _ = lock.get_or_init(|| panic!("no value")))).is_err());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.wait().clone());
        lock.set("first".to_string()).unwrap();
        assert_eq!(waiter.join().unwrap(), "first");
    });
    assert_eq!(lock.set("second".to_string()), Err("second".to_string()));
    assert_eq!(lock.get_or_init(String::new), "first");
    lock.get_mut().unwrap().push('!');
    assert_eq!(lock.take().unwrap(), "first!");
    assert_eq!(lock.into_inner(), None);
    assert_eq!(OnceLock::from(1).into_inner(), Some(1));
}

#[test]
fn a_lazylock_makes_its_value_when_it_is_needed() {
    let times = AtomicUsize::new(0);
    let lazy = LazyLock::new(|| times.fetch_add(1, Ordering::Relaxed));
    assert_eq!(times.load(Ordering::Relaxed), 0);
    together(|_| assert_eq!(*lazy, 0));
    assert_eq!(times.load(Ordering::Relaxed), 1);

    let broken: LazyLock<u32> = LazyLock::new(|| panic!("no value"));
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| *broken)).is_err());
    }
}

#[test]
fn a_spin_lock_excludes_and_is_not_poisoned() {
    let lock = SpinLock::new(0);
    together(|_| (0..ROUNDS).for_each(|_| *lock.lock() += 1));
    assert!(
        catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("with the lock held");
        }))
        .is_err()
    );
    let guard = lock.try_lock().unwrap();
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert_eq!(lock.into_inner(), 4 * ROUNDS);
}

#[test]
fn a_seqlock_is_read_whole() {
    #[derive(Clone, Copy)]
    struct Padded {
        first: u8,
        words: [u64; 4],
        last: u8,
    }
    let lock = SeqLock::new(Padded { first: 0, words: [0; 4], last: 0 });
    together(|i| {
        for round in 0..ROUNDS as u64 {
            if i == 0 {
                lock.write(Padded { first: round as u8, words: [round; 4], last: round as u8 });
            } else if i == 1 && round % 2 == 0 {
                lock.update(|value| value.words.iter_mut().for_each(|word| *word += 256));
            } else {
                let value = lock.read();
                assert!(value.words.iter().all(|&word| word == value.words[0]));
                assert_eq!((value.first, value.last), (value.words[0] as u8, value.words[0] as u8));
            }
        }
    });
    assert!(catch_unwind(AssertUnwindSafe(|| lock.update(|_| panic!("halfway")))).is_err());
    assert!(lock.try_read().is_some(), "a panic does not leave it odd");
}

#[test]
fn a_seqlock_of_nothing_and_of_bytes() {
    let mut nothing = SeqLock::new(());
    nothing.write(());
    *nothing.get_mut() = ();
    assert_eq!(nothing.read(), ());
    let bytes = SeqLock::new([1u8; 3]);
    bytes.write([4, 5, 6]);
    assert_eq!(bytes.into_inner(), [4, 5, 6]);
}

#[test]
fn a_wait_group_waits_for_all_its_parts() {
    let (group, done) = (WaitGroup::new(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (part, done) = (group.clone(), &done);
            scope.spawn(move || {
                thread::sleep(SOON);
                done.fetch_add(1, Ordering::Relaxed);
                drop(part);
            });
        }
        group.wait();
        assert_eq!(done.load(Ordering::Relaxed), 4);
    });
    let group = WaitGroup::new();
    let part = group.clone();
    assert!(!group.clone().wait_timeout(SOON));
    assert!(!group.wait_until(Instant::now()));
    assert!(part.wait_timeout(SOON));
}
