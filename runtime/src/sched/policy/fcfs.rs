//! First come, first served: who came first runs until it waits, yields or ends. A long one makes all behind it late.

use super::{Arrival, Contender, Policy, Queue};

/// See the module's text.
pub(super) struct FirstCome;

impl Policy for FirstCome {
    fn name(&self) -> &str {
        "fcfs"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        // Who is interrupted (by the real-time classes) is the first still, and who comes from another cpu keeps its place.
        if !matches!(why, Arrival::Back | Arrival::Moved) {
            who.set_key(queue.now());
        }
    }
}
