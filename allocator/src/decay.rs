//! How much free memory is idle, and how fast it goes back: the policy, without clocks, locks or pointers.
//!
//! Free memory that still occupies pages is worth keeping while the program will want it again, for a page given back too
//! early costs a page fault. What tells the two apart is the past: time is cut into intervals, and what lay unused through
//! a whole one was *idle* in it. At its end that much is *owed* to the system. It is paid in steps, a quarter of it at a time,
//! so that no single request waits for a gigabyte to be unmapped. Memory that is wanted meanwhile is owed no longer.
//!
//! Three stocks follow this: dirty pages of a zone (in pages), free chunks of bins (in units), partial slabs of a cache (in
//! slabs). They differ in how a stock is used:
//! * Pages and chunks are reused last in, first out. So the lowest level in an interval is the part that nobody reached:
//!   [`Idle::fell_to`].
//! * Slabs wait in a queue, first in, first out, and those that have waited since the interval began are at its head. Each
//!   one taken is one less of them: [`Idle::took_one`].
//!
//! Besides, dirty pages are capped in bytes at any time ([`Used::cap`]): intervals know nothing of a sudden flood.

/// The part of what is owed that is paid at once: a quarter, so all of it takes four or five steps.
const STEPS: usize = 4;

/// What a pass over the stocks is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Paying more of what is owed already.
    Step,
    /// An interval is over.
    IntervalOver,
    /// No interval is to be waited for: all that is free is owed.
    AtOnce,
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// What no allocation has reached since the interval began.
    least: usize,
    owed: usize,
    step: usize,
    /// What was in stock at the end of the last interval, and not idle through all of it.
    newer: usize,
}

impl Idle {
    pub(crate) const fn new() -> Idle {
        Idle { least: 0, owed: 0, step: 0, newer: 0 }
    }

    /// An allocation has taken the stock down to `level`.
    #[inline]
    pub(crate) fn fell_to(&mut self, level: usize) {
        self.least = self.least.min(level);
        self.owed = self.owed.min(level);
    }

    /// An allocation has taken what had waited longest.
    #[inline]
    pub(crate) fn took_one(&mut self) {
        self.least = self.least.saturating_sub(1);
        self.owed = self.owed.saturating_sub(1);
    }

    /// Time has gone on, and the stock is at `level`. At the end of an interval what was idle in it is owed, if it is more
    /// than `trifle`; at least `least_step` of it goes at once.
    pub(crate) fn advance(&mut self, moment: Moment, level: usize, trifle: usize, least_step: usize) {
        let idle = match moment {
            Moment::Step => return,
            Moment::IntervalOver => self.least.min(level),
            Moment::AtOnce => level,
        };
        self.owed = if idle > trifle { idle } else { 0 };
        self.step = (self.owed / STEPS).max(least_step);
        self.least = level;
        self.newer = level - idle;
    }

    /// Whether the end of this interval may find something idle.
    pub(crate) fn may_grow(&self) -> bool {
        self.newer != 0
    }

    /// How much is to be given back now.
    pub(crate) fn due(&self) -> usize {
        self.owed.min(self.step)
    }

    /// So much of the stock has been given back.
    pub(crate) fn gave_back(&mut self, amount: usize) {
        self.least = self.least.saturating_sub(amount);
        self.owed = self.owed.saturating_sub(amount);
    }

    /// So much of what is owed has been seen to, though the stock is as large as before.
    pub(crate) fn paid(&mut self, amount: usize) {
        self.owed = self.owed.saturating_sub(amount);
    }

    /// What is still owed cannot be given back: the system refuses, or it is in pieces smaller than a page.
    pub(crate) fn forgive(&mut self) {
        self.owed = 0;
    }
}

/// Dirty pages allowed where nothing is configured: 64 MiB, or twice what the program had in use of late if that is more.
/// Wide, because a page given back too early costs a page fault (`benches/LEDGER.md`); what lies idle goes after the interval.
const CAP: usize = (64 << 20) / 4096;

/// Part of the most pages ever in use that may be dirty besides, and the least that makes: a quarter, 256 KiB.
const SLACK: usize = 4;
const LEAST_SLACK: usize = (256 << 10) / 4096;

/// How many pages are in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) now: usize,
    /// The most in this interval and in the one before.
    pub(crate) most: [usize; 2],
    /// The most ever.
    pub(crate) ever: usize,
}

impl Used {
    /// So many are in use now.
    #[inline]
    pub(crate) fn are(&mut self, now: usize) {
        self.now = now;
        self.most[0] = self.most[0].max(now);
        self.ever = self.ever.max(now);
    }

    /// An interval is over.
    pub(crate) fn interval_over(&mut self) {
        self.most = [self.now, self.most[0]];
    }

    /// Dirty pages there may be besides what the program has needed at its largest.
    pub(crate) fn slack(&self) -> usize {
        LEAST_SLACK.max(self.ever / SLACK)
    }

    /// Most dirty pages there may be, with `configured` (0 for none). A program never becomes larger than it was for the sake of
    /// pages that it may use again: in use and dirty together stay below the most that ever were in use, and some slack.
    #[inline]
    pub(crate) fn cap(&self, configured: usize) -> usize {
        if configured != 0 {
            return configured;
        }
        let of_late = CAP.max(2 * self.most[0].max(self.most[1]));
        of_late.min(self.ever - self.now + self.slack())
    }

    /// What is to go where there are `dirty` pages: what is beyond the cap, and half of the slack, so that the next page does not
    /// begin it anew.
    pub(crate) fn beyond(&self, dirty: usize, configured: usize) -> usize {
        let cap = self.cap(configured);
        if dirty > cap { dirty - cap + self.slack().min(cap) / 2 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pays what is due until nothing is; returns the payments.
    fn pay(idle: &mut Idle) -> Vec<usize> {
        core::iter::from_fn(|| {
            let due = idle.due();
            idle.gave_back(due);
            (due != 0).then_some(due)
        })
        .collect()
    }

    #[test]
    fn what_lay_unused_through_an_interval_is_given_back_in_a_few_steps() {
        let mut idle = Idle::new();
        idle.advance(Moment::IntervalOver, 1000, 0, 10); // nothing is known of the time before
        assert_eq!(pay(&mut idle), []);
        idle.advance(Moment::IntervalOver, 1000, 0, 10);
        assert_eq!(pay(&mut idle), [250, 250, 250, 250]);
        idle.advance(Moment::IntervalOver, 0, 0, 10);
        assert_eq!(pay(&mut idle), []);
    }

    #[test]
    fn what_is_used_in_waves_stays() {
        let mut idle = Idle::new();
        idle.advance(Moment::IntervalOver, 1000, 0, 10);
        for _ in 0..10 {
            idle.fell_to(100);
            idle.advance(Moment::IntervalOver, 1000, 0, 10);
            assert!(pay(&mut idle).iter().sum::<usize>() <= 100);
        }
    }

    #[test]
    fn what_is_wanted_again_is_no_longer_owed() {
        let mut idle = Idle::new();
        idle.advance(Moment::IntervalOver, 1000, 0, 10);
        idle.advance(Moment::IntervalOver, 1000, 0, 10);
        idle.fell_to(30);
        assert_eq!(pay(&mut idle), [30]);
    }

    #[test]
    fn a_queue_owes_what_has_waited_through_the_interval() {
        let mut idle = Idle::new();
        idle.advance(Moment::IntervalOver, 10, 0, 1);
        // Twelve come and go through the queue, whose length never changes: none has waited all the time.
        for _ in 0..12 {
            idle.took_one();
        }
        idle.advance(Moment::IntervalOver, 10, 0, 100);
        assert_eq!(pay(&mut idle), []);
        idle.took_one();
        idle.advance(Moment::IntervalOver, 10, 0, 100);
        assert_eq!(pay(&mut idle), [9]);
    }

    #[test]
    fn trifles_stay() {
        let mut idle = Idle::new();
        idle.advance(Moment::IntervalOver, 100, 100, 10);
        idle.advance(Moment::IntervalOver, 100, 100, 10);
        assert_eq!(idle.due(), 0);
        idle.advance(Moment::IntervalOver, 101, 100, 10);
        idle.advance(Moment::IntervalOver, 101, 100, 10);
        assert_ne!(idle.due(), 0);
    }

    fn used(now: usize, most: [usize; 2], ever: usize) -> Used {
        Used { now, most, ever }
    }

    #[test]
    fn the_cap_is_what_was_in_use_of_late_unless_it_is_configured() {
        assert_eq!(used(0, [0; 2], 100 * CAP).cap(0), CAP);
        assert_eq!(used(0, [CAP, 10 * CAP], 100 * CAP).cap(0), 20 * CAP);
        assert_eq!(used(0, [10 * CAP, 0], 100 * CAP).cap(0), 20 * CAP);
        assert_eq!(used(0, [CAP, CAP], 100 * CAP).cap(7), 7);
    }

    #[test]
    fn a_program_at_its_largest_has_few_dirty_pages() {
        let mut used = Used::default();
        used.are(16_000);
        assert_eq!(used.cap(0), 4000);
        assert_eq!(used.beyond(4000, 0), 0);
        assert_eq!(used.beyond(4001, 0), 2001);
        used.are(10_000);
        assert_eq!(used.cap(0), 10_000);
        used.interval_over();
        assert_eq!(used.most, [10_000, 16_000]);
    }

    proptest! {
        #[test]
        fn never_more_is_given_back_than_lay_idle_and_all_of_that_goes(
            steps in prop::collection::vec((0u8..3, 0usize..5000), 1..100)
        ) {
            let (mut idle, mut level, mut least) = (Idle::new(), 0, 0);
            for (what, amount) in steps {
                match what {
                    0 => level += amount,
                    1 => {
                        level = level.saturating_sub(amount);
                        least = level.min(least);
                        idle.fell_to(level);
                    }
                    _ => {
                        idle.advance(Moment::IntervalOver, level, 0, 16);
                        let payments = pay(&mut idle);
                        prop_assert_eq!(payments.iter().sum::<usize>(), least);
                        prop_assert!(payments.len() <= STEPS + 1);
                        level -= least;
                        least = level;
                    }
                }
            }
        }
    }
}
