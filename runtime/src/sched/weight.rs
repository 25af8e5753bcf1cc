//! Nice values and what they weigh.
//!
//! A nice value is a *relative* claim: each step changes the weight by about 1.25, so that one step costs a task about 10 % of
//! the time that two equal ones share, wherever on the scale it is. The table is the kernel's `sched_prio_to_weight`.
//!
//! Inside, a weight carries 10 more bits than the table (the kernel's `scale_load`): a group's weight is split over its cpus and
//! again over groups within it, and a share of 25 would be rounded by 4 %. Beside the weight stands what one nanosecond of it
//! is in virtual time, with 32 bits after the point, so that charging a task is one multiplication and no division.

use super::timeline::VRuntime;
use std::fmt;

/// A task's claim on its core, from -20 (much) to 19 (little); 0 if nothing is said.
///
/// ```
/// use fairground_runtime::sched::Nice;
/// let low = Nice::new(5)?;
/// assert_eq!(low.get(), 5);
/// let error = Nice::new(20).unwrap_err();
/// assert_eq!(error.to_string(), "nice 20: -20 to 19 are allowed");
/// # Ok::<(), fairground_runtime::sched::NiceError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nice(i8);

impl Nice {
    /// The largest claim.
    pub const MIN: Nice = Nice(-20);
    /// The smallest claim.
    pub const MAX: Nice = Nice(19);

    /// A nice value.
    ///
    /// # Errors
    /// It is not within -20 to 19.
    pub const fn new(nice: i32) -> Result<Nice, NiceError> {
        if nice < Nice::MIN.0 as i32 || nice > Nice::MAX.0 as i32 {
            return Err(NiceError(nice));
        }
        Ok(Nice(nice as i8))
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0 as i32
    }

    /// What it weighs against others.
    pub(crate) const fn weight(self) -> Weight {
        Weight(NICE_TO_WEIGHT[(self.0 - Nice::MIN.0) as usize] << Weight::SHIFT)
    }
}

impl TryFrom<i32> for Nice {
    type Error = NiceError;

    fn try_from(nice: i32) -> Result<Nice, NiceError> {
        Nice::new(nice)
    }
}

/// A number that is no nice value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NiceError(i32);

impl fmt::Display for NiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nice {}: -20 to 19 are allowed", self.0)
    }
}

impl std::error::Error for NiceError {}

/// The kernel's `sched_prio_to_weight`, from nice -20 to nice 19.
const NICE_TO_WEIGHT: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, // -20 to -11
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277, // -10 to -1
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, // 0 to 9
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15, // 10 to 19
];

/// What an entity weighs, in 1024ths of the table's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight(u32);

impl Weight {
    /// See the module's text.
    pub(crate) const SHIFT: u32 = 10;
    /// Nice 0, in whose nanoseconds virtual time is counted.
    pub(crate) const NICE_0: Weight = Weight(1024 << Weight::SHIFT);
    /// The kernel's MIN_SHARES: a group's share on a cpu is never so small that its tasks starve.
    pub(crate) const MIN: Weight = Weight(2 << Weight::SHIFT);

    /// In the table's units, as users give it to groups.
    pub(crate) const fn from_shares(shares: u32) -> Weight {
        Weight(shares << Weight::SHIFT)
    }

    /// In the inner unit; at least MIN.
    pub(crate) fn from_raw(raw: u64) -> Weight {
        Weight(u32::try_from(raw).unwrap_or(u32::MAX).max(Weight::MIN.0))
    }

    pub(crate) const fn raw(self) -> u64 {
        self.0 as u64
    }

    pub(crate) const fn rate(self) -> Rate {
        // Fits: NICE_0 is 2^20, so this is at most 2^52.
        Rate((Weight::NICE_0.raw() << 32) / self.raw())
    }
}

/// Virtual nanoseconds in a nanosecond of running, with 32 bits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(u64);

impl Rate {
    /// How far the entity's virtual time goes in `ns`.
    #[inline]
    pub(crate) fn virtual_ns(self, ns: u64) -> u64 {
        ((u128::from(ns) * u128::from(self.0)) >> 32) as u64
    }

    #[inline]
    pub(crate) fn advance(self, vruntime: VRuntime, ns: u64) -> VRuntime {
        vruntime.plus(self.virtual_ns(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_nice_is_about_a_quarter() {
        for (nice, pair) in (-20..).zip(NICE_TO_WEIGHT.windows(2)) {
            let ratio = f64::from(pair[0]) / f64::from(pair[1]);
            assert!((1.17..1.30).contains(&ratio), "from nice {nice}: {ratio}");
        }
    }

    #[test]
    fn nice_0_runs_in_real_time_and_others_by_their_weight() {
        assert_eq!(Nice::default().weight(), Weight::NICE_0);
        assert_eq!(Weight::NICE_0.rate().virtual_ns(123_456), 123_456);
        for nice in -20..=19 {
            let weight = Nice::new(nice).unwrap().weight();
            let exact = 1e9 * 1024.0 / f64::from(NICE_TO_WEIGHT[(nice + 20) as usize]);
            let got = weight.rate().virtual_ns(1_000_000_000) as f64;
            assert!((got / exact - 1.0).abs() < 1e-6, "nice {nice}: {got} against {exact}");
        }
    }

    #[test]
    fn a_nice_value_out_of_range_is_an_error_that_says_so() {
        assert!(Nice::new(-20).is_ok() && Nice::new(19).is_ok());
        assert_eq!(Nice::new(-21).unwrap_err().to_string(), "nice -21: -20 to 19 are allowed");
        assert!(Nice::try_from(20).is_err());
    }
}
