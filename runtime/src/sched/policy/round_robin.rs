//! Round robin: each runs for a turn, `Tunables::rr_slice`, and goes to the end.

use super::{Arrival, Contender, Policy, Queue};

/// See the module's text.
pub(super) struct RoundRobin;

impl Policy for RoundRobin {
    fn name(&self) -> &str {
        "rr"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        let keeps = match why {
            Arrival::Back => who.ran_at_once() < queue.tunables().rr_slice,
            Arrival::Moved => true,
            Arrival::New | Arrival::Woken | Arrival::Yielded => false,
        };
        if !keeps {
            who.set_key(queue.now());
        }
    }

    fn slice(&self, _: Contender<'_>, queue: Queue<'_>) -> u64 {
        queue.tunables().rr_slice
    }
}
