//! EEVDF, earliest eligible virtual deadline first, as in Linux since 6.6.
//!
//! The queue's moment is the average of all vruntimes, by weight: where all would be if the core could be divided. Who is not past it
//! is owed time, its *lag* is not negative, and it is *eligible*. It asks for a slice, and should have had it by its *deadline*:
//! its vruntime, and the slice for its weight. Of the eligible ones, that with the earliest deadline runs, until it has had its slice,
//! or until it is not eligible any more and one that comes is: the kernel's RUN_TO_PARITY.
//!
//! Who leaves and comes again has the lag it left with, within two slices, made larger by what its own coming moves the average (the
//! kernel's PLACE_LAG). So to sleep gains nothing and loses nothing; there is no credit for sleepers. New ones come with no lag, and
//! with half a slice to their first deadline (PLACE_DEADLINE_INITIAL).
//!
//! The slice is `Tunables::min_granularity`; the latency plays no part. Not taken over: slices by task, and delayed dequeueing.
//!
//! The key is the deadline. The kernel's tree knows the least vruntime below each node; this one does not, so the eligible one is
//! found by going on from the first: a few steps, but all of them if only the last deadlines are eligible.

use super::{Arrival, Contender, Policy, Queue};
use crate::sched::weight::Weight;

/// See the module's text.
pub(super) struct Eevdf;

impl Eevdf {
    fn request(who: Contender<'_>, ns: u64) {
        let entity = who.entity;
        entity.key.set(entity.vruntime.get().plus(who.virtual_ns(ns)));
    }

    fn eligible(who: Contender<'_>, queue: Queue<'_>) -> bool {
        who.entity.vruntime.get() <= queue.fair.moment()
    }

    /// It has had what it asked for.
    fn served(who: Contender<'_>) -> bool {
        who.entity.vruntime.get() >= who.entity.key.get()
    }

    /// It was set to where it has the lag it left with.
    fn place_lag(who: Contender<'_>, queue: Queue<'_>) {
        let (entity, moment) = (who.entity, queue.fair.moment());
        let weight = entity.weight.get().raw();
        let others = queue.fair.load - weight;
        let limit = who.virtual_ns(2 * queue.tunables.min_granularity) as i64;
        let lag = moment.since(entity.vruntime.get()).clamp(-limit, limit);
        let lag = if others == 0 { 0 } else { i128::from(lag) * i128::from(queue.fair.load) / i128::from(others) };
        entity.vruntime.set(moment.offset(-(lag as i64)));
    }
}

impl Policy for Eevdf {
    fn name(&self) -> &str {
        "eevdf"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        let slice = queue.tunables.min_granularity;
        match why {
            Arrival::New => Eevdf::request(who, slice / 2),
            Arrival::Woken | Arrival::Moved => {
                Eevdf::place_lag(who, queue);
                Eevdf::request(who, slice);
            }
            Arrival::Back if !Eevdf::served(who) => (),
            Arrival::Back | Arrival::Yielded => Eevdf::request(who, slice),
        }
    }

    fn slice(&self, who: Contender<'_>, _: Queue<'_>) -> u64 {
        let left = who.entity.key.get().since(who.entity.vruntime.get()).max(0) as u128;
        // Rounded up, so that it is over when that time is.
        let ns = (left * u128::from(who.entity.weight.get().raw())).div_ceil(u128::from(Weight::NICE_0.raw()));
        who.ran_at_once().saturating_add(ns as u64)
    }

    fn over(&self, running: Contender<'_>, _: Contender<'_>, _: Queue<'_>) -> bool {
        Eevdf::served(running)
    }

    fn preempts(&self, came: Contender<'_>, running: Contender<'_>, queue: Queue<'_>) -> bool {
        Eevdf::eligible(came, queue) && (!Eevdf::eligible(running, queue) || Eevdf::served(running))
    }

    fn may_run(&self, who: Contender<'_>, queue: Queue<'_>) -> bool {
        Eevdf::eligible(who, queue)
    }

    /// What is left of its request is the same time of the core.
    fn reweighted(&self, who: Contender<'_>, before: u32, _: Queue<'_>) {
        let entity = who.entity;
        let left = i128::from(entity.key.get().since(entity.vruntime.get()));
        let left = left * i128::from(before) / i128::from(who.weight().max(1));
        entity.key.set(entity.vruntime.get().offset(left as i64));
    }
}
