//! The protocols of the wait queue and of the locks on it, in all their interleavings.

use super::wait_queue::{Wait, WaitQueue, Wake};
use super::{Barrier, Condvar, Mutex, MutexGuard, OnceLock, RwLock, Semaphore, WaitGroup};
use crate::park::cancellation::unwinds;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::{Duration, Instant};

/// Preemptions a run may have: bugs show with two or three; without a bound spin locks take for ever.
const PREEMPTIONS: usize = 3;

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(f);
}

/// In a model it may pass at any time.
fn some_time() -> Option<Instant> {
    Some(Instant::now())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

const HAPPENED: u64 = 1;

fn wait_for_it(queue: &WaitQueue, deadline: Option<Instant>) -> Wake {
    let pass_on = |message: Option<usize>| {
        if message.is_some() {
            queue.wake_one();
        }
    };
    queue.wait(Wait::until(deadline), |word, ()| word & HAPPENED == 0, pass_on)
}

#[test]
fn what_happens_while_a_waiter_lies_down_is_not_slept_through() {
    model(|| {
        let queue = Arc::new(WaitQueue::new(0, ()));
        let waiter = {
            let queue = queue.clone();
            thread::spawn(move || assert_ne!(wait_for_it(&queue, None), Wake::TimedOut))
        };
        queue.word().fetch_or(HAPPENED, Ordering::SeqCst);
        queue.wake_one();
        waiter.join().unwrap();
    });
}

/// One wake-up for two waiters of whom one may give up: if it was given, one of them got it, and the other goes.
#[test]
fn a_wake_up_goes_to_one_waiter_or_to_none() {
    model(|| {
        let queue = Arc::new(WaitQueue::new(0, ()));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || wait_for_it(&queue, some_time()))
            })
            .collect();
        let woken = queue.lock().wake_front(Some(7));
        let given = usize::from(woken.is_some());
        if let Some(unparker) = woken {
            unparker.unpark();
        }
        let wakes = waiters.into_iter().map(|waiter| waiter.join().unwrap());
        assert_eq!(wakes.filter(|&wake| wake == Wake::Woken(7)).count(), given);
        assert!(queue.word().load(Ordering::SeqCst) == 0, "nobody waits any more");
    });
}

/// The waiter that is woken may unwind; then the other is woken in its place.
#[test]
fn an_unwinding_waiter_passes_its_wake_up_on() {
    model(|| {
        let queue = Arc::new(WaitQueue::new(0, ()));
        let cancelled = {
            let queue = queue.clone();
            thread::spawn(move || _ = unwinds(|| _ = wait_for_it(&queue, some_time())))
        };
        let waiter = {
            let queue = queue.clone();
            thread::spawn(move || wait_for_it(&queue, None))
        };
        queue.word().fetch_or(HAPPENED, Ordering::SeqCst);
        queue.wake_one();
        waiter.join().unwrap();
        cancelled.join().unwrap();
    });
}

#[test]
fn all_who_wait_are_woken() {
    model(|| {
        let queue = Arc::new(WaitQueue::new(0, ()));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || wait_for_it(&queue, None))
            })
            .collect();
        queue.word().fetch_or(HAPPENED, Ordering::SeqCst);
        queue.wake_all();
        waiters.into_iter().for_each(|waiter| _ = waiter.join().unwrap());
    });
}

#[test]
fn a_mutex_excludes_and_is_passed_on() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let mutex = mutex.clone();
                thread::spawn(move || *lock(&mutex) += 1)
            })
            .collect();
        *lock(&mutex) += 1;
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(*lock(&mutex), 3);
    });
}

/// The waiter is overtaken by the other's second turn, and gets the lock from its hand.
#[test]
fn a_mutex_is_handed_to_who_was_overtaken() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let other = {
            let mutex = mutex.clone();
            thread::spawn(move || (0..2).for_each(|_| *lock(&mutex) += 1))
        };
        (0..2).for_each(|_| *lock(&mutex) += 1);
        other.join().unwrap();
        assert_eq!(*lock(&mutex), 4);
    });
}

#[test]
fn who_gives_up_a_mutex_does_not_keep_others_from_it() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let patient = {
            let mutex = mutex.clone();
            thread::spawn(move || *lock(&mutex) += 1)
        };
        let impatient = {
            let mutex = mutex.clone();
            thread::spawn(move || mutex.lock_until(Instant::now()).map(|mut value| *value += 1).is_ok())
        };
        drop(lock(&mutex));
        patient.join().unwrap();
        let got = impatient.join().unwrap();
        assert_eq!(*lock(&mutex), 1 + i32::from(got));
    });
}

#[test]
fn who_unwinds_waiting_for_a_mutex_does_not_keep_others_from_it() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let patient = {
            let mutex = mutex.clone();
            thread::spawn(move || *lock(&mutex) += 1)
        };
        let cancelled = {
            let mutex = mutex.clone();
            thread::spawn(move || unwinds(|| _ = mutex.lock_until(Instant::now()).map(|mut value| *value += 1)))
        };
        drop(lock(&mutex));
        patient.join().unwrap();
        let unwound = cancelled.join().unwrap();
        assert_eq!(*lock(&mutex), 2 - i32::from(unwound));
    });
}

#[test]
fn a_semaphore_lets_in_as_many_as_it_has_permits() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let enter = |semaphore: &Semaphore, inside: &AtomicUsize| {
            let permit = semaphore.acquire();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (semaphore, inside) = (semaphore.clone(), inside.clone());
                thread::spawn(move || enter(&semaphore, &inside))
            })
            .collect();
        enter(&semaphore, &inside);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// Who wants two gives up while who wants one waits behind it.
#[test]
fn who_gives_up_a_semaphore_lets_those_behind_it_pass() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let greedy = {
            let semaphore = semaphore.clone();
            thread::spawn(move || assert!(semaphore.acquire_many_until(2, Instant::now()).is_none()))
        };
        semaphore.acquire().forget();
        let modest = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.acquire().forget())
        };
        semaphore.add_permits(1).unwrap();
        greedy.join().unwrap();
        modest.join().unwrap();
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn permits_of_who_unwinds_are_not_lost() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let cancelled = {
            let semaphore = semaphore.clone();
            thread::spawn(move || _ = unwinds(|| drop(semaphore.acquire_until(Instant::now()))))
        };
        let other = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(semaphore.acquire()))
        };
        semaphore.add_permits(1).unwrap();
        cancelled.join().unwrap();
        other.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_notification_after_the_condition_is_not_missed() {
    model(|| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let waiter = {
            let pair = pair.clone();
            thread::spawn(move || drop(pair.1.wait_while(pair.0.lock().unwrap(), |ready| !*ready).unwrap()))
        };
        *pair.0.lock().unwrap() = true;
        pair.1.notify_one();
        waiter.join().unwrap();
    });
}

/// One notification, two waiters, of whom one unwinds: the other gets it.
#[test]
fn a_notification_is_not_lost_with_who_unwinds() {
    model(|| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let cancelled = {
            let pair = pair.clone();
            thread::spawn(move || {
                let guard = pair.0.lock().unwrap();
                if !*guard {
                    assert!(unwinds(|| drop(pair.1.wait_timeout(guard, Duration::ZERO))));
                }
            })
        };
        let waiter = {
            let pair = pair.clone();
            thread::spawn(move || drop(pair.1.wait_while(pair.0.lock().unwrap(), |ready| !*ready).unwrap()))
        };
        *pair.0.lock().unwrap() = true;
        pair.1.notify_one();
        cancelled.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn a_condition_waited_for_until_some_time_leaves_nobody_behind() {
    model(|| {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let waiter = {
            let pair = pair.clone();
            thread::spawn(move || {
                let (guard, _) = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::ZERO).unwrap();
                drop(guard);
            })
        };
        pair.1.notify_all();
        waiter.join().unwrap();
        assert_eq!(*pair.0.lock().unwrap(), 0);
    });
}

#[test]
fn a_rwlock_excludes_writers_and_hands_over() {
    model(|| {
        let lock = Arc::new(RwLock::new(0));
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || *lock.write().unwrap() += 1)
        };
        let reader = {
            let lock = lock.clone();
            thread::spawn(move || *lock.read().unwrap())
        };
        *lock.write().unwrap() += 1;
        assert!(reader.join().unwrap() <= 2);
        writer.join().unwrap();
        assert_eq!(*lock.read().unwrap(), 2);
    });
}

/// The writer that may give up or unwind stands between two readers.
#[test]
fn a_writer_that_gives_up_does_not_keep_readers_from_a_rwlock() {
    for unwinding in [false, true] {
        model(move || {
            let lock = Arc::new(RwLock::new(0));
            let writer = {
                let lock = lock.clone();
                let write = move || lock.write_until(Instant::now()).map(|mut value| *value += 1).is_ok();
                thread::spawn(move || if unwinding { unwinds(|| _ = write()) } else { write() })
            };
            let reader = {
                let lock = lock.clone();
                thread::spawn(move || drop(lock.read().unwrap()))
            };
            drop(lock.read().unwrap());
            reader.join().unwrap();
            writer.join().unwrap();
            assert!(lock.try_write().is_ok());
        });
    }
}

#[test]
fn a_barrier_opens_for_two_or_for_nobody() {
    model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let impatient = {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait_until(Instant::now()))
        };
        let one = barrier.wait_until(Instant::now());
        let other = impatient.join().unwrap();
        let leaders = [one, other].iter().flatten().filter(|result| result.is_leader()).count();
        assert_eq!((one.is_some(), leaders), (other.is_some(), usize::from(one.is_some())));
    });
}

#[test]
fn a_once_is_done_once_and_seen_by_all() {
    model(|| {
        let lock = Arc::new(OnceLock::new());
        let others: Vec<_> = (1..3)
            .map(|n| {
                let lock = lock.clone();
                thread::spawn(move || *lock.get_or_init(|| n))
            })
            .collect();
        let seen = *lock.wait();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), seen));
    });
}

#[test]
fn a_group_is_waited_for() {
    model(|| {
        let (group, done) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        let part = {
            let (part, done) = (group.clone(), done.clone());
            thread::spawn(move || {
                done.store(1, Ordering::Relaxed);
                drop(part);
            })
        };
        group.wait();
        assert_eq!(done.load(Ordering::Relaxed), 1);
        part.join().unwrap();
    });
}
