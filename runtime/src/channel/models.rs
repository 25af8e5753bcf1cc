//! The channels' protocols in all their interleavings. The ring of the bounded one is a model's (`storage.rs`); all else is the real
//! code.

use super::{RecvTimeoutError, TrySendError, bounded, oneshot, unbounded};
use crate::park::cancellation::unwinds;
use crate::select;
use loom::thread;
use std::time::Duration;

/// As in `sync::models`.
const PREEMPTIONS: usize = 3;

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(f);
}

/// In a model it may pass at any time.
const SOME_TIME: Duration = Duration::ZERO;

#[test]
fn no_message_is_slept_through() {
    model(|| {
        let (sender, receiver) = unbounded();
        let thread = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        sender.send(1).unwrap();
        thread.join().unwrap();
        drop(sender);
    });
}

#[test]
fn two_messages_wake_two_receivers() {
    model(|| {
        let (sender, receiver) = unbounded();
        let threads = [receiver.clone(), receiver].map(|receiver| thread::spawn(move || receiver.recv().unwrap()));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(threads.map(|thread| thread.join().unwrap()).iter().sum::<i32>(), 3);
        drop(sender);
    });
}

#[test]
fn the_last_sender_wakes_the_receivers_after_its_message() {
    model(|| {
        let (sender, receiver) = unbounded();
        let thread = thread::spawn(move || {
            assert_eq!(receiver.recv(), Ok(1));
            assert!(receiver.recv().is_err());
        });
        sender.send(1).unwrap();
        drop(sender);
        thread.join().unwrap();
    });
}

/// It is dropped by one side or the other: the sender is kept until both are through.
#[test]
fn a_message_that_crosses_the_end_of_the_receivers_is_not_kept() {
    model(|| {
        let (sender, receiver) = unbounded();
        let token = loom::sync::Arc::new(());
        let thread = thread::spawn(move || drop(receiver));
        _ = sender.send(token.clone());
        thread.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&token), 1);
        drop(sender);
    });
}

#[test]
fn who_waits_for_room_gets_it() {
    model(|| {
        let (sender, receiver) = bounded(1);
        let thread = thread::spawn(move || (1..=2).for_each(|n| sender.send(n).unwrap()));
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        thread.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_learns_that_the_receivers_are_gone() {
    model(|| {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        // It may find the room that they left, and not know yet.
        let thread = thread::spawn(move || _ = sender.send(2));
        drop(receiver);
        thread.join().unwrap();
    });
}

/// Two receivers, of whom one unwinds or gives up: the other gets the message, or the first did.
#[test]
fn a_message_is_not_lost_with_who_unwinds() {
    model(|| {
        let (sender, receiver) = unbounded();
        let other = receiver.clone();
        let cancelled = thread::spawn(move || {
            let mut got = None;
            unwinds(|| got = other.recv_timeout(SOME_TIME).ok());
            got
        });
        let thread = thread::spawn(move || receiver.recv().ok());
        sender.send(1).unwrap();
        let got = cancelled.join().unwrap();
        drop(sender);
        assert_eq!((got, thread.join().unwrap()), if got.is_some() { (Some(1), None) } else { (None, Some(1)) });
    });
}

#[test]
fn a_message_is_not_lost_with_who_gives_up() {
    model(|| {
        let (sender, receiver) = unbounded();
        let other = receiver.clone();
        let impatient = thread::spawn(move || other.recv_timeout(SOME_TIME).is_ok());
        let thread = thread::spawn(move || receiver.recv().is_ok());
        sender.send(1).unwrap();
        let got = impatient.join().unwrap();
        drop(sender);
        assert_eq!(thread.join().unwrap(), !got);
    });
}

#[test]
fn a_rendezvous_passes_a_message_from_hand_to_hand() {
    model(|| {
        let (sender, receiver) = bounded(0);
        let thread = thread::spawn(move || assert_eq!(receiver.recv(), Ok(1)));
        sender.send(1).unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn a_rendezvous_that_was_given_up_did_not_happen() {
    model(|| {
        let (sender, receiver) = bounded(0);
        let thread = thread::spawn(move || (receiver.recv_timeout(SOME_TIME), receiver));
        let sent = sender.try_send(1);
        match thread.join().unwrap().0 {
            Ok(message) => assert_eq!((message, sent), (1, Ok(()))),
            Err(RecvTimeoutError::Timeout) => assert_eq!(sent, Err(TrySendError::Full(1))),
            Err(RecvTimeoutError::Disconnected) => panic!("the sender is here"),
        }
    });
}

#[test]
fn a_rendezvous_ends_with_either_side() {
    model(|| {
        let (sender, receiver) = bounded::<u32>(0);
        let thread = thread::spawn(move || assert!(receiver.recv().is_err()));
        drop(sender);
        thread.join().unwrap();

        let (sender, receiver) = bounded(0);
        let thread = thread::spawn(move || assert!(sender.send(1).is_err()));
        drop(receiver);
        thread.join().unwrap();
    });
}

#[test]
fn a_oneshot_is_received_or_given_back() {
    model(|| {
        let (sender, receiver) = oneshot();
        let thread = thread::spawn(move || receiver.recv());
        sender.send(1).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1));
    });
    model(|| {
        let (sender, receiver) = oneshot::<u32>();
        let thread = thread::spawn(move || receiver.recv());
        drop(sender);
        assert!(thread.join().unwrap().is_err());
    });
    model(|| {
        let (sender, receiver) = oneshot();
        let token = loom::sync::Arc::new(());
        let thread = thread::spawn(move || drop(receiver));
        _ = sender.send(token.clone());
        thread.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&token), 1);
    });
}

#[test]
fn a_oneshot_that_was_given_up_is_still_received_later() {
    model(|| {
        let (sender, receiver) = oneshot();
        let thread = thread::spawn(move || {
            let first = receiver.recv_timeout(SOME_TIME);
            first.or_else(|_| receiver.recv().map_err(|_| ()))
        });
        sender.send(1).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1));
    });
}

#[test]
fn a_select_is_woken_by_one_and_leaves_the_other() {
    model(|| {
        let (one, first) = unbounded();
        let (two, second) = unbounded();
        let thread = thread::spawn(move || {
            let got = select! {
                recv(first) -> message => message.unwrap(),
                recv(second) -> message => message.unwrap(),
            };
            got + first.iter().sum::<i32>() + second.iter().sum::<i32>()
        });
        one.send(1).unwrap();
        two.send(2).unwrap();
        drop((one, two));
        assert_eq!(thread.join().unwrap(), 3);
    });
}

#[test]
fn a_select_meets_a_send_at_a_rendezvous() {
    model(|| {
        let (sender, receiver) = bounded(0);
        let (kept, other) = unbounded::<i32>();
        let thread = thread::spawn(move || {
            select! {
                recv(other) -> message => message.unwrap(),
                recv(receiver) -> message => message.unwrap(),
            }
        });
        sender.send(1).unwrap();
        assert_eq!(thread.join().unwrap(), 1);
        drop(kept);
    });
}

#[test]
fn two_selects_meet_at_a_rendezvous() {
    model(|| {
        let (sender, receiver) = bounded(0);
        let thread = thread::spawn(move || select! { recv(receiver) -> message => message.unwrap() });
        select! { send(sender, 1) -> result => result.unwrap() }
        assert_eq!(thread.join().unwrap(), 1);
    });
}

/// Three messages are more than a block holds in a model.
#[test]
fn messages_pass_from_block_to_block_in_order() {
    model(|| {
        let (sender, receiver) = unbounded();
        let thread = thread::spawn(move || (1..=4).for_each(|n| sender.send(n).unwrap()));
        let mut last = 0;
        while let Ok(n) = receiver.try_recv() {
            assert_eq!(n, last + 1);
            last = n;
        }
        thread.join().unwrap();
        assert!(receiver.iter().eq(last + 1..=4));
    });
}

#[test]
fn two_receivers_share_the_messages_of_two_senders() {
    model(|| {
        let (sender, receiver) = unbounded();
        let threads = [1, 2].map(|n| {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            thread::spawn(move || {
                sender.send(n).unwrap();
                receiver.try_recv().unwrap_or(0)
            })
        });
        drop(sender);
        let got: i32 = threads.map(|thread| thread.join().unwrap()).iter().sum();
        assert_eq!(got + receiver.iter().sum::<i32>(), 3);
    });
}
