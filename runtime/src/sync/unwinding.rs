//! Whoever unwinds while it waits, as a cancelled task does, leaves its queue and what it was woken for to others.

use super::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore, WaitGroup};
use crate::channel::{bounded, oneshot, unbounded};
use crate::park::cancellation::unwinds;
use crate::select;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(1);

#[test]
fn unwinding_out_of_a_mutex_leaves_it_as_it_was() {
    let mutex = Mutex::new(1);
    let guard = mutex.lock().unwrap();
    assert!(unwinds(|| drop(mutex.lock())));
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 1, "neither locked nor poisoned");
}

#[test]
fn unwinding_with_a_mutex_poisons_it() {
    let (mutex, semaphore) = (Mutex::new(1), Semaphore::new(0));
    assert!(unwinds(|| {
        let _guard = mutex.lock().unwrap();
        drop(semaphore.acquire());
    }));
    assert!(mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 1);
    mutex.clear_poison();
    assert!(mutex.lock().is_ok());
}

#[test]
fn unwinding_out_of_a_rwlock_lets_those_behind_pass() {
    let lock = RwLock::new(1);
    let reader = lock.read().unwrap();
    assert!(unwinds(|| drop(lock.write())));
    assert_eq!(*lock.try_read().unwrap(), 1, "no writer waits any more");
    drop(reader);
    assert_eq!(*lock.try_write().unwrap(), 1);
    assert!(!lock.is_poisoned());
}

#[test]
fn unwinding_out_of_a_semaphore_takes_no_permit() {
    let semaphore = Semaphore::new(1);
    assert!(unwinds(|| drop(semaphore.acquire_many(2))));
    assert!(semaphore.try_acquire().is_some());
    assert_eq!(semaphore.available_permits(), 1);
}

#[test]
fn unwinding_out_of_a_condvar_releases_its_mutex() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    assert!(unwinds(|| drop(condvar.wait(mutex.lock().unwrap()))));
    assert!(mutex.try_lock().is_ok());
    condvar.notify_one();
}

#[test]
fn who_unwinds_out_of_a_barrier_did_not_come() {
    let barrier = Barrier::new(2);
    assert!(unwinds(|| _ = barrier.wait()));
    assert_eq!(barrier.wait_timeout(SOON), None, "only one came");
}

#[test]
fn unwinding_out_of_a_once_or_a_group_leaves_it_to_others() {
    let (once, group) = (Once::new(), WaitGroup::new());
    assert!(unwinds(|| once.wait()));
    once.call_once(|| ());
    let part = group.clone();
    assert!(unwinds(|| group.wait()));
    assert!(part.wait_timeout(SOON));
}

#[test]
fn unwinding_out_of_channels_loses_no_message() {
    for (sender, receiver) in [unbounded(), bounded(1), bounded(0)] {
        assert!(unwinds(|| _ = receiver.recv()));
        assert!(unwinds(|| _ = select! { recv(receiver) -> message => message }));
        let sent = sender.try_send(1);
        assert_eq!(receiver.try_recv().is_ok(), sent.is_ok());
    }
    for (sender, receiver) in [bounded(1), bounded(0)] {
        let first = sender.try_send(1);
        assert!(unwinds(|| _ = sender.send(2)));
        assert!(unwinds(|| _ = select! { send(sender, 3) -> result => result }));
        assert_eq!(receiver.try_recv().is_ok(), first.is_ok());
        assert!(receiver.try_recv().is_err(), "who unwound sent nothing");
    }
    let (sender, receiver) = oneshot();
    assert!(unwinds(|| _ = receiver.recv_timeout(Duration::MAX)));
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
}
