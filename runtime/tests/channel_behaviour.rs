//! What channels promise: order, room, meeting, ends and errors.

use fairground_runtime::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError, bounded,
    oneshot, unbounded,
};
use fairground_runtime::select;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const NEVER: Duration = Duration::from_secs(3600);

fn all() -> [(Sender<u32>, Receiver<u32>); 3] {
    [unbounded(), bounded(4), bounded(0)]
}

#[test]
fn messages_of_one_sender_stay_in_order() {
    for (sender, receiver) in all() {
        let thread = thread::spawn(move || (0..1000).for_each(|n| sender.send(n).unwrap()));
        assert!(receiver.iter().eq(0..1000));
        thread.join().unwrap();
    }
}

#[test]
fn every_message_of_many_senders_reaches_one_of_many_receivers() {
    for (sender, receiver) in all() {
        let senders: Vec<_> = (0..4)
            .map(|i| {
                let sender = sender.clone();
                thread::spawn(move || (0..2000).for_each(|n| sender.send(i * 2000 + n).unwrap()))
            })
            .collect();
        drop(sender);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                thread::spawn(move || receiver.into_iter().collect::<Vec<_>>())
            })
            .collect();
        senders.into_iter().for_each(|thread| thread.join().unwrap());
        let mut received: Vec<u32> = receivers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        received.sort_unstable();
        assert!(received.into_iter().eq(0..8000));
    }
}

#[test]
fn after_the_last_sender_what_was_sent_is_received_and_then_an_error() {
    for (sender, receiver) in [unbounded(), bounded(4)] {
        let other = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        other.send(2).unwrap();
        drop(other);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(NEVER), Err(RecvTimeoutError::Disconnected));
        assert_eq!(receiver.iter().next(), None);
    }
}

#[test]
fn without_receivers_a_send_gives_its_message_back() {
    for (sender, receiver) in all() {
        drop(receiver.clone());
        assert_ne!(sender.try_send(0), Err(TrySendError::Disconnected(0)));
        drop(receiver);
        assert_eq!(sender.send(1), Err(SendError(1)));
        assert_eq!(sender.try_send(2), Err(TrySendError::Disconnected(2)));
        assert_eq!(sender.send_timeout(3, NEVER), Err(SendTimeoutError::Disconnected(3)));
    }
}

#[test]
fn who_waits_learns_that_the_other_side_is_gone() {
    for (sender, receiver) in all() {
        let thread = thread::spawn(move || receiver.recv());
        thread::sleep(SOON);
        drop(sender);
        assert_eq!(thread.join().unwrap(), Err(RecvError));
    }
    for (sender, receiver) in [bounded(1), bounded(0)] {
        _ = sender.try_send(1);
        let thread = thread::spawn(move || sender.send(2));
        thread::sleep(SOON);
        drop(receiver);
        assert_eq!(thread.join().unwrap(), Err(SendError(2)));
    }
}

#[test]
fn what_is_not_received_is_dropped_with_the_last_receiver() {
    for (sender, receiver) in [unbounded(), bounded(200)] {
        let token = Arc::new(());
        // Of several blocks, the first in part received.
        (0..200).for_each(|_| sender.send(token.clone()).unwrap());
        receiver.iter().take(10).for_each(drop);
        drop(receiver);
        assert_eq!(Arc::strong_count(&token), 1, "the sender is alive and must not keep them");
        drop(sender);
    }
}

/// Ten times as many messages as a block holds, again and again, so that blocks are kept, freed and used again.
#[test]
fn an_unbounded_channel_grows_and_shrinks() {
    let (sender, receiver) = unbounded();
    let (mut sent, mut received) = (0, 0);
    for round in 0..20 {
        (sent..sent + 300 + round).for_each(|n| sender.send(n.to_string()).unwrap());
        sent += 300 + round;
        for message in receiver.try_iter().take(290 + 2 * round) {
            assert_eq!(message, received.to_string());
            received += 1;
        }
        assert_eq!(receiver.len(), sent - received);
    }
    assert!(!receiver.is_empty(), "some are dropped with the channel");
}

/// A message that came while the last receiver went stayed in the channel as long as the senders, and who waited for an answer through it
/// waited for ever.
#[test]
fn a_message_that_crosses_the_end_of_the_receivers_is_not_kept() {
    for _ in 0..300 {
        let (sender, receiver) = unbounded();
        let (answer, answered) = oneshot::<()>();
        let thread = thread::spawn(move || drop(receiver));
        _ = sender.send(answer);
        assert_eq!(answered.recv(), Err(RecvError));
        thread.join().unwrap();
    }
}

#[test]
fn a_full_channel_takes_no_more_until_something_is_received() {
    let (sender, receiver) = bounded(2);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert!(sender.is_full());
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(sender.send_timeout(3, SOON), Err(SendTimeoutError::Timeout(3)));
    assert_eq!(sender.send_deadline(3, Instant::now()), Err(SendTimeoutError::Timeout(3)));
    let thread = thread::spawn(move || sender.send(3));
    thread::sleep(SOON);
    assert_eq!(receiver.len(), 2);
    assert!(receiver.iter().eq([1, 2, 3]));
    thread.join().unwrap().unwrap();
}

#[test]
fn a_rendezvous_holds_nothing() {
    let (sender, receiver) = bounded(0);
    assert_eq!((sender.len(), sender.capacity(), sender.is_full()), (0, Some(0), true));
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(sender.send_timeout(1, SOON), Err(SendTimeoutError::Timeout(1)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "a send that gave up leaves nothing");
    assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)), "a receive that gave up leaves nothing");
    let thread = thread::spawn(move || sender.send(2));
    assert_eq!(receiver.recv(), Ok(2));
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn an_empty_channel_times_out() {
    for (_sender, receiver) in all() {
        assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
        assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
        assert_eq!(receiver.try_iter().next(), None);
    }
}

#[test]
fn a_oneshot_carries_one_message() {
    let (sender, receiver) = oneshot();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
    let thread = thread::spawn(move || receiver.recv());
    thread::sleep(SOON);
    sender.send("message").unwrap();
    assert_eq!(thread.join().unwrap(), Ok("message"));

    let (sender, receiver) = oneshot();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn a_oneshot_tells_that_the_other_side_is_gone() {
    let (sender, receiver) = oneshot::<u32>();
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(1), Err(SendError(1)));

    let (sender, receiver) = oneshot::<u32>();
    let thread = thread::spawn(move || receiver.recv());
    thread::sleep(SOON);
    drop(sender);
    assert_eq!(thread.join().unwrap(), Err(RecvError));
}

#[test]
fn a_oneshot_drops_what_nobody_receives_with_its_receiver() {
    let token = Arc::new(());
    let (sender, receiver) = oneshot();
    sender.send(token.clone()).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn select_does_one_operation_only() {
    let (numbers, number) = unbounded();
    let (letters, letter) = bounded(1);
    numbers.send(1).unwrap();
    letters.send('a').unwrap();
    let mut chosen = [0; 2];
    for _ in 0..100 {
        select! {
            recv(number) -> message => { chosen[0] += 1; numbers.send(message.unwrap()).unwrap() }
            recv(letter) -> message => { chosen[1] += 1; letters.send(message.unwrap()).unwrap() }
        }
        assert_eq!((number.len(), letter.len()), (1, 1));
    }
    assert!(chosen.iter().all(|&times| times > 0), "one starved: {chosen:?}");
}

#[test]
fn select_takes_the_default_only_if_nothing_can_be_done() {
    let (sender, receiver) = bounded(1);
    assert_eq!(select! { recv(receiver) -> _ => 1, default => 2 }, 2);
    assert_eq!(select! { recv(receiver) -> _ => 1, default(SOON) => 2 }, 2);
    assert_eq!(select! { recv(receiver) -> _ => 1, default(Instant::now() + SOON) => 2 }, 2);
    sender.send(0).unwrap();
    assert_eq!(select! { send(sender, 0) -> _ => 1, default => 2 }, 2);
    assert_eq!(select! { recv(receiver) -> message => message.unwrap(), default => 2 }, 0);
    drop(sender);
    assert!(select! { recv(receiver) -> message => message.is_err(), default => false });
}

#[test]
fn select_is_woken_by_any_of_its_channels() {
    for which in 0..3 {
        let channels = all();
        let senders = channels.each_ref().map(|(sender, _)| sender.clone());
        let thread = thread::spawn(move || {
            let [(_, a), (_, b), (_, c)] = &channels;
            select! {
                recv(a) -> message => (0, message.unwrap()),
                recv(b) -> message => (1, message.unwrap()),
                recv(c) -> message => (2, message.unwrap()),
            }
        });
        thread::sleep(SOON);
        senders[which].send(7).unwrap();
        assert_eq!(thread.join().unwrap(), (which, 7));
    }
}

#[test]
fn select_is_woken_by_room() {
    for (sender, receiver) in [bounded(1), bounded(0)] {
        _ = sender.try_send(1);
        let (_kept, other) = unbounded::<u32>();
        let thread = thread::spawn(move || {
            select! {
                send(sender, 2) -> result => result.unwrap(),
                recv(other) -> _ => panic!("nothing was sent"),
            }
        });
        thread::sleep(SOON);
        while receiver.recv().unwrap() != 2 {}
        thread.join().unwrap();
    }
}

#[test]
fn select_learns_that_the_other_side_is_gone() {
    for (sender, receiver) in all() {
        let thread = thread::spawn(move || select! { recv(receiver) -> message => message });
        thread::sleep(SOON);
        drop(sender);
        assert_eq!(thread.join().unwrap(), Err(RecvError));
    }
    for (sender, receiver) in [bounded(1), bounded(0)] {
        _ = sender.try_send(1);
        let thread = thread::spawn(move || select! { send(sender, 2) -> result => result });
        thread::sleep(SOON);
        drop(receiver);
        assert_eq!(thread.join().unwrap(), Err(SendError(2)));
    }
}

#[test]
fn two_selects_meet_at_a_rendezvous() {
    let (sender, receiver) = bounded(0);
    let (_kept, other) = unbounded::<u32>();
    let thread = thread::spawn(move || {
        for n in 0..500 {
            select! {
                send(sender, n) -> result => result.unwrap(),
                recv(other) -> _ => panic!("nothing was sent"),
            }
        }
    });
    let (_kept, other) = unbounded::<u32>();
    for n in 0..500 {
        select! {
            recv(receiver) -> message => assert_eq!(message, Ok(n)),
            recv(other) -> _ => panic!("nothing was sent"),
        }
    }
    thread.join().unwrap();
}

#[test]
fn a_select_that_sends_and_receives_does_not_meet_itself() {
    let (sender, receiver) = bounded(0);
    let chosen = select! {
        send(sender, 1) -> _ => "sent",
        recv(receiver) -> _ => "received",
        default(SOON) => "neither",
    };
    assert_eq!(chosen, "neither");
}

/// Four threads, each of which sends and receives whatever comes first: each message is received once.
#[test]
fn selects_lose_and_double_nothing() {
    for capacity in [0, 1, 3] {
        let (sender, receiver) = bounded::<usize>(capacity);
        let sum = Arc::new(AtomicUsize::new(0));
        let count = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|i| {
                let (sender, receiver, sum, count) = (sender.clone(), receiver.clone(), sum.clone(), count.clone());
                thread::spawn(move || {
                    let mut sent = 0;
                    // Until all of all threads are received.
                    while count.load(Ordering::SeqCst) < 4 * 500 {
                        let take = |message: usize| {
                            sum.fetch_add(message, Ordering::SeqCst);
                            count.fetch_add(1, Ordering::SeqCst);
                        };
                        if sent < 500 {
                            select! {
                                send(sender, i * 500 + sent) -> result => { result.unwrap(); sent += 1 }
                                recv(receiver) -> message => take(message.unwrap()),
                            }
                        } else {
                            select! {
                                recv(receiver) -> message => take(message.unwrap()),
                                default(Duration::from_millis(1)) => {}
                            }
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(sum.load(Ordering::SeqCst), (0..2000).sum());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }
}
