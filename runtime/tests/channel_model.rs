//! Channels against the obvious: a `VecDeque` with a capacity and two counts of ends.

use fairground_runtime::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, unbounded};
use fairground_runtime::select;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Step {
    Send,
    Recv,
    SelectSend,
    SelectRecv,
    CloneSender,
    DropSender,
    CloneReceiver,
    DropReceiver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let step = prop_oneof![
        8 => Just(Send), 8 => Just(Recv), 2 => Just(SelectSend), 2 => Just(SelectRecv),
        1 => Just(CloneSender), 1 => Just(DropSender), 1 => Just(CloneReceiver), 1 => Just(DropReceiver),
    ];
    // More than two blocks of the unbounded queue.
    prop::collection::vec(step, 0..200)
}

struct Model {
    messages: VecDeque<u32>,
    capacity: usize,
}

impl Model {
    fn send(&mut self, message: u32, receivers: usize) -> Result<(), TrySendError<u32>> {
        if receivers == 0 {
            return Err(TrySendError::Disconnected(message));
        }
        if self.messages.len() == self.capacity {
            return Err(TrySendError::Full(message));
        }
        self.messages.push_back(message);
        Ok(())
    }

    fn recv(&mut self, senders: usize) -> Result<u32, TryRecvError> {
        let empty = if senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty };
        self.messages.pop_front().ok_or(empty)
    }
}

proptest! {
    #[test]
    fn a_channel_is_a_queue_with_two_ends(capacity in 0_usize..6, steps in steps()) {
        let (sender, receiver): (Sender<u32>, Receiver<u32>) = if capacity == 5 { unbounded() } else { bounded(capacity) };
        let capacity = if capacity == 5 { usize::MAX } else { capacity };
        let (mut senders, mut receivers) = (vec![sender], vec![receiver]);
        let mut model = Model { messages: VecDeque::new(), capacity };
        for (n, step) in (0..).zip(steps) {
            match step {
                Step::Send => if let Some(sender) = senders.last() {
                    prop_assert_eq!(sender.try_send(n), model.send(n, receivers.len()));
                },
                Step::Recv => if let Some(receiver) = receivers.last() {
                    prop_assert_eq!(receiver.try_recv(), model.recv(senders.len()));
                },
                Step::SelectSend => if let Some(sender) = senders.last() {
                    let sent = select! {
                        send(sender, n) -> result => result.map_err(|error| TrySendError::Disconnected(error.0)),
                        default => Err(TrySendError::Full(n)),
                    };
                    prop_assert_eq!(sent, model.send(n, receivers.len()));
                },
                Step::SelectRecv => if let Some(receiver) = receivers.last() {
                    let received = select! {
                        recv(receiver) -> message => message.map_err(|_| TryRecvError::Disconnected),
                        default => Err(TryRecvError::Empty),
                    };
                    prop_assert_eq!(received, model.recv(senders.len()));
                },
                Step::CloneSender => senders.extend(senders.last().cloned()),
                Step::DropSender => drop(senders.pop()),
                Step::CloneReceiver => receivers.extend(receivers.last().cloned()),
                Step::DropReceiver => {
                    receivers.pop();
                    if receivers.is_empty() {
                        model.messages.clear();
                    }
                }
            }
            for sender in &senders {
                prop_assert_eq!(sender.len(), model.messages.len());
                prop_assert_eq!(sender.is_full(), model.messages.len() >= capacity);
            }
        }
    }
}
