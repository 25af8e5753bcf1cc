//! Something that comes again and again.
//!
//! The ways to go on after missed ticks are tokio's.

use super::sleep_until;
use std::fmt;
use std::time::{Duration, Instant};

/// Ticks, the first at once and then after each period.
///
/// # Errors
/// The period is 0.
///
/// # Examples
/// ```
/// use fairground_runtime::time::{Duration, Instant, interval};
///
/// let before = Instant::now();
/// let mut ticks = interval(Duration::from_millis(1))?;
/// for _ in 0..3 {
///     ticks.tick();
/// }
/// assert!(before.elapsed() >= Duration::from_millis(2));
/// # Ok::<(), fairground_runtime::time::NoPeriod>(())
/// ```
pub fn interval(period: Duration) -> Result<Interval, NoPeriod> {
    interval_at(Instant::now(), period)
}

/// Ticks, the first at `start` and then after each period.
///
/// # Errors
/// The period is 0.
pub fn interval_at(start: Instant, period: Duration) -> Result<Interval, NoPeriod> {
    if period.is_zero() {
        return Err(NoPeriod(()));
    }
    Ok(Interval { next: Some(start), period, missed: MissedTicks::default() })
}

/// See [`interval`].
#[derive(Clone, Debug)]
pub struct Interval {
    /// None: beyond all clocks.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTicks,
}

/// How an [`Interval`] goes on if a tick is asked for when further ones are due already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTicks {
    /// The missed ticks come at once, one after the other, until all have.
    #[default]
    Burst,
    /// The next one comes a period after this one; from then on the ticks have moved.
    Delay,
    /// The missed ticks never come, and those to come are where they were.
    Skip,
}

impl Interval {
    /// How it goes on after missed ticks.
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Interval {
        self.missed = missed;
        self
    }

    /// The time between ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick. Returns when it was due.
    pub fn tick(&mut self) -> Instant {
        let Some(due) = self.next else {
            loop {
                super::sleep(Duration::MAX);
            }
        };
        sleep_until(due);
        self.next = self.after(due, Instant::now());
        due
    }

    /// The tick after the one that was due at `due` and came at `now`.
    fn after(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        if next > now {
            return Some(next);
        }
        match self.missed {
            MissedTicks::Burst => Some(next),
            MissedTicks::Delay => now.checked_add(self.period),
            MissedTicks::Skip => {
                let late = now.saturating_duration_since(next).as_nanos() % self.period.as_nanos();
                let period = self.period.as_nanos();
                // At most a period, which has come from a `Duration`; one of centuries is not missed.
                let wait = u64::try_from(period - late).unwrap_or(u64::MAX);
                now.checked_add(Duration::from_nanos(wait))
            }
        }
    }

    /// The next tick comes a period from now.
    pub fn reset(&mut self) {
        self.next = Instant::now().checked_add(self.period);
    }
}

/// A period of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPeriod(());

impl fmt::Display for NoPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a period of 0: allowed are 1 ns and more")
    }
}

impl std::error::Error for NoPeriod {}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn every(period: u32, missed: MissedTicks) -> Interval {
        interval(MS * period).expect("a period").missed_ticks(missed)
    }

    #[test]
    fn ticks_in_time_are_a_period_apart_in_all_ways() {
        let due = Instant::now();
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            let interval = every(10, missed);
            assert_eq!(interval.after(due, due), Some(due + 10 * MS));
            assert_eq!(interval.after(due, due + 9 * MS), Some(due + 10 * MS));
        }
    }

    #[test]
    fn missed_ticks_come_at_once_or_move_the_rest_or_are_left_out() {
        let due = Instant::now();
        let now = due + 35 * MS;
        assert_eq!(every(10, MissedTicks::Burst).after(due, now), Some(due + 10 * MS));
        assert_eq!(every(10, MissedTicks::Delay).after(due, now), Some(now + 10 * MS));
        assert_eq!(every(10, MissedTicks::Skip).after(due, now), Some(due + 40 * MS));
        // Just in time for a tick counts as having missed it: the one after.
        assert_eq!(every(10, MissedTicks::Skip).after(due, due + 30 * MS), Some(due + 40 * MS));
    }

    #[test]
    fn times_beyond_all_clocks_never_come() {
        let interval = interval(Duration::MAX).expect("a period");
        assert_eq!(interval.after(Instant::now(), Instant::now()), None);
    }
}
