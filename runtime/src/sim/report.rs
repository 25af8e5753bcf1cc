//! What came out of a simulation.

use super::lanes::Lane;
use std::time::Duration;

/// The figures of one simulation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// Number of cpus.
    pub cpus: usize,
    /// How long the simulated machine ran.
    pub duration: Duration,
    /// Of the random numbers.
    pub seed: u64,
    /// Number of tasks that came.
    pub tasks: usize,
    /// Jain's index of what each fair task got divided by what it should have got: 1 if all were treated alike, 1/n if one of n
    /// got all.
    pub fairness: f64,
    /// The most that a fair task ever was behind what it should have got.
    pub lag: Duration,
    /// The most that one ever was ahead of it.
    pub lead: Duration,
    /// From coming or waking up to running; for those that wait still at the end, up to there.
    pub latency: Percentiles,
    /// From coming or waking up to the end of the burst.
    pub response: Percentiles,
    /// The longest that a task waited at once, divided by the number of those that ran before it meanwhile.
    pub wait_each: Duration,
    /// Moves to another cpu.
    pub migrations: u64,
    /// Changes of the running task, cpus' idle times not counted.
    pub switches: u64,
    /// Of them, those by force.
    pub preemptions: u64,
    /// Part of the cpus' time in which nothing ran.
    pub idle: f64,
    /// What ran, divided by what could have run if no cpu had ever been idle while a task waited.
    pub throughput: f64,
    /// Bursts that ended.
    pub bursts: u64,
    /// By line of the workload.
    pub kinds: Vec<Kind>,
    /// What some tasks did, if that was asked for.
    pub lanes: Vec<Lane>,
}

/// Tasks that are alike: a line of the workload.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kind {
    /// Their name.
    pub name: String,
    /// How many came.
    pub tasks: usize,
    /// Core time that they got together.
    pub ran: Duration,
    /// Core time that the fair tasks should have got; for others what they got.
    pub ideal: Duration,
    /// The least and the most that one of them got.
    pub ran_each: (Duration, Duration),
    /// As [`Report::lag`].
    pub lag: Duration,
    /// As [`Report::lead`].
    pub lead: Duration,
    /// As [`Report::latency`].
    pub latency: Percentiles,
    /// As [`Report::response`].
    pub response: Percentiles,
    /// As [`Report::preemptions`].
    pub preemptions: u64,
    /// As [`Report::migrations`].
    pub migrations: u64,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Half were no longer.
    pub p50: Duration,
    /// 90 % were no longer.
    pub p90: Duration,
    /// 99 % were no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Percentiles {
    /// Of times in rising order.
    pub(super) fn of(sorted: &[u64]) -> Percentiles {
        // The nearest rank: the least that so many percent do not exceed.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            Duration::from_nanos(sorted.get(rank - 1).copied().unwrap_or(0))
        };
        Percentiles { count: sorted.len() as u64, p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

/// Jain's index. Nothing is fair.
pub(super) fn jain(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum, squares) = values.fold((0.0, 0.0, 0.0), |(n, sum, squares), x| (n + 1.0, sum + x, squares + x * x));
    if squares == 0.0 { 1.0 } else { sum * sum / (n * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_of_known_cases() {
        assert_eq!(jain([2.0, 2.0, 2.0].into_iter()), 1.0);
        assert_eq!(jain([1.0, 0.0, 0.0, 0.0].into_iter()), 0.25);
        assert_eq!(jain(std::iter::empty()), 1.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<u64> = (1..=200).collect();
        let of = Percentiles::of(&times);
        let ns = |time: Duration| time.as_nanos();
        assert_eq!((ns(of.p50), ns(of.p90), ns(of.p99), ns(of.max)), (100, 180, 198, 200));
        assert_eq!(ns(Percentiles::of(&[7]).p99), 7);
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
    }
}
