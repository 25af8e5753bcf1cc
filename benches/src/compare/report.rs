//! From samples to figures: summaries, ratios, geometric means, and what is lost.
//!
//! A row of an allocator with a failed or wrong run has no figures: a wrong answer has no speed. Ratios are the reference's
//! median divided by the other's, so below 1 the reference (ours) is better.

use super::jobs::Job;
use super::machine::Machine;
use super::peers::{Allocator, GLIBC, Missing, Role};
use super::sample::Sample;
use super::schedule::Outcomes;
use super::statistics::{Summary, geometric_mean};
use serde::Serialize;

/// Smaller differences than this are not called differences, even if the control was quieter: on two-core virtual machines a
/// control of the same library was seen to move by 5 %.
pub const NO_DIFFERENCE: f64 = 0.06;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Wall time.
    Time,
    /// High-water mark of resident memory.
    Peak,
    /// Resident memory after everything was freed.
    After,
    /// User and system time.
    Cpu,
    /// Minor page faults.
    Faults,
}

impl Metric {
    /// All metrics in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Time, Self::Peak, Self::After, Self::Cpu, Self::Faults];

    /// Heading of the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Time => "wall time (s)",
            Self::Peak => "peak resident memory (MiB)",
            Self::After => "resident after everything was freed (MiB)",
            Self::Cpu => "user + system time (s)",
            Self::Faults => "minor page faults (thousands)",
        }
    }

    fn value(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Time => Some(sample.wall_s),
            Self::Peak => Some(sample.peak_kib as f64 / 1024.0),
            Self::After => sample.after_kib.map(|kib| kib as f64 / 1024.0),
            Self::Cpu => Some(sample.user_s + sample.system_s),
            Self::Faults => Some(sample.minor_faults as f64 / 1000.0),
        }
    }
}

/// A whole run; its JSON form is the raw data.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Threads of the workloads.
    pub threads: u16,
    /// Multiplier of the work.
    pub scale: f64,
    /// Repetitions of each run.
    pub repetitions: usize,
    /// Who took part; the reference is the first.
    pub allocators: Vec<Allocator>,
    /// Peers that were asked for and are not there.
    pub missing_peers: Vec<Missing>,
    /// Jobs that could not run, and why.
    pub missing_jobs: Vec<(String, String)>,
    /// One for each job.
    pub rows: Vec<Row>,
    /// Ratios of the reference to each allocator over all rows, in the order of `allocators`.
    pub geometric_means: Vec<Means>,
}

/// One job under all allocators.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The job's name.
    pub workload: String,
    /// What kind of program it stands for.
    pub stands_for: String,
    /// In the order of [`Report::allocators`].
    pub results: Vec<Figures>,
}

/// One job under one allocator.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// The allocator.
    pub allocator: String,
    /// Seconds of wall time.
    pub time: Option<Summary>,
    /// Peak resident MiB.
    pub peak: Option<Summary>,
    /// Resident MiB after everything was freed.
    pub after: Option<Summary>,
    /// Seconds of user and system time.
    pub cpu: Option<Summary>,
    /// Thousands of minor faults.
    pub faults: Option<Summary>,
    /// Runs that failed or gave a wrong answer.
    pub failures: Vec<String>,
    /// The raw data.
    pub samples: Vec<Sample>,
}

impl Figures {
    /// The summary of one metric.
    pub fn summary(&self, metric: Metric) -> Option<Summary> {
        match metric {
            Metric::Time => self.time,
            Metric::Peak => self.peak,
            Metric::After => self.after,
            Metric::Cpu => self.cpu,
            Metric::Faults => self.faults,
        }
    }
}

/// Geometric means of the ratios to one allocator.
#[derive(Debug, Serialize)]
pub struct Means {
    /// The allocator.
    pub allocator: String,
    /// Of wall time.
    pub time: Option<f64>,
    /// Of peak resident memory.
    pub peak: Option<f64>,
    /// Of resident memory after everything was freed.
    pub after: Option<f64>,
    /// Of user and system time.
    pub cpu: Option<f64>,
    /// Of minor faults.
    pub faults: Option<f64>,
}

impl Means {
    /// The mean of one metric.
    pub fn of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Time => self.time,
            Metric::Peak => self.peak,
            Metric::After => self.after,
            Metric::Cpu => self.cpu,
            Metric::Faults => self.faults,
        }
    }
}

/// What was run, with what.
pub struct Setting {
    /// Where and when.
    pub machine: Machine,
    /// Threads of the workloads.
    pub threads: u16,
    /// Multiplier of the work.
    pub scale: f64,
    /// Repetitions.
    pub repetitions: usize,
    /// Who took part.
    pub allocators: Vec<Allocator>,
    /// Peers that are not there.
    pub missing_peers: Vec<Missing>,
    /// Jobs that could not run, and why.
    pub missing_jobs: Vec<(String, String)>,
}

impl Report {
    /// The report of a run; `outcomes` is indexed by job, then by allocator.
    pub fn new(setting: Setting, jobs: &[Job], outcomes: Vec<Vec<Outcomes>>) -> Self {
        let Setting { machine, threads, scale, repetitions, allocators, missing_peers, missing_jobs } = setting;
        let rows: Vec<Row> = jobs
            .iter()
            .zip(outcomes)
            .map(|(job, outcomes)| Row::new(job.name(), job.stands_for(), &allocators, outcomes))
            .collect();
        let mut report = Self {
            machine,
            threads,
            scale,
            repetitions,
            allocators,
            missing_peers,
            missing_jobs,
            rows,
            geometric_means: Vec::new(),
        };
        report.geometric_means = (0..report.allocators.len()).map(|a| report.means(a)).collect();
        report
    }

    fn means(&self, allocator: usize) -> Means {
        let mean = |metric| geometric_mean(self.rows.iter().filter_map(|row| row.ratio(metric, allocator)));
        Means {
            allocator: self.allocators[allocator].name.clone(),
            time: mean(Metric::Time),
            peak: mean(Metric::Peak),
            after: mean(Metric::After),
            cpu: mean(Metric::Cpu),
            faults: mean(Metric::Faults),
        }
    }

    /// Index of the control.
    fn control(&self) -> Option<usize> {
        self.allocators.iter().position(|a| a.role == Role::Control)
    }

    /// How far the control is from the reference in a row: what this row cannot tell apart.
    pub fn noise(&self, row: &Row, metric: Metric) -> Option<f64> {
        Some((row.ratio(metric, self.control()?)? - 1.0).abs())
    }

    /// The noise of the geometric mean.
    pub fn mean_noise(&self, metric: Metric) -> Option<f64> {
        Some((self.geometric_means[self.control()?].of(metric)? - 1.0).abs())
    }

    /// The peer with the least median in a row, and the ratio of the reference to it.
    pub fn best_peer<'a>(&'a self, row: &Row, metric: Metric) -> Option<(&'a Allocator, f64)> {
        let peers = self.allocators.iter().enumerate().filter(|(_, a)| a.role == Role::Peer);
        let ratios = peers.filter_map(|(index, allocator)| Some((allocator, row.ratio(metric, index)?)));
        ratios.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The rows in which some peer is better than the reference by more than noise.
    pub fn lost(&self, metric: Metric) -> Vec<(&Row, &Allocator, f64)> {
        let lost = |row| {
            let (peer, ratio) = self.best_peer(row, metric)?;
            let threshold = self.noise(row, metric).unwrap_or(0.0).max(NO_DIFFERENCE);
            (ratio > 1.0 + threshold).then_some((row, peer, ratio))
        };
        self.rows.iter().filter_map(lost).collect()
    }

    /// Every failed or wrong run: workload, allocator, reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let results = self.rows.iter().flat_map(|row| row.results.iter().map(move |figures| (row, figures)));
        results.flat_map(|(row, figures)| {
            figures.failures.iter().map(|reason| (row.workload.as_str(), figures.allocator.as_str(), reason.as_str()))
        })
    }
}

impl Row {
    fn new(name: &str, stands_for: &str, allocators: &[Allocator], outcomes: Vec<Outcomes>) -> Self {
        let good = |outcomes: &Outcomes| outcomes.iter().find_map(|o| o.as_ref().ok().map(|s| s.checksum.clone()));
        let glibc = allocators.iter().position(|a| a.name == GLIBC);
        let expected = glibc.and_then(|index| good(&outcomes[index]));
        let results = allocators.iter().zip(outcomes);
        let results = results.map(|(a, outcomes)| figures(&a.name, outcomes, expected.as_deref())).collect();
        Self { workload: name.into(), stands_for: stands_for.into(), results }
    }

    /// The reference's median divided by that of `allocator` (an index).
    pub fn ratio(&self, metric: Metric, allocator: usize) -> Option<f64> {
        let reference = self.results.first()?.summary(metric)?.median;
        let other = self.results.get(allocator)?.summary(metric)?.median;
        (reference > 0.0 && other > 0.0).then(|| reference / other)
    }
}

fn figures(allocator: &str, outcomes: Outcomes, expected: Option<&str>) -> Figures {
    let mut failures = Vec::new();
    let mut samples = Vec::new();
    for outcome in outcomes {
        match outcome {
            Err(error) => failures.push(error),
            Ok(sample) => {
                if expected.is_none_or(|expected| expected != sample.checksum) {
                    let expected = expected.unwrap_or("that of a run under glibc, which failed");
                    failures.push(format!("wrong answer: checksum {} instead of {expected}", sample.checksum));
                }
                samples.push(sample);
            }
        }
    }
    let summary = |metric: Metric| {
        let values: Vec<f64> = samples.iter().filter_map(|sample| metric.value(sample)).collect();
        if failures.is_empty() { Summary::of(values) } else { None }
    };
    Figures {
        allocator: allocator.into(),
        time: summary(Metric::Time),
        peak: summary(Metric::Peak),
        after: summary(Metric::After),
        cpu: summary(Metric::Cpu),
        faults: summary(Metric::Faults),
        failures,
        samples,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Machine, Metric, Report, Row, Setting};
    use crate::compare::jobs::Job;
    use crate::compare::peers::{Allocator, CONTROL, GLIBC, OURS, Role};
    use crate::compare::sample::Sample;
    use crate::compare::schedule::Outcomes;

    fn sample(wall_s: f64, checksum: &str) -> Result<Sample, String> {
        let checksum = checksum.to_owned();
        Ok(Sample { wall_s, user_s: wall_s, system_s: 0.0, minor_faults: 5, peak_kib: 2048, after_kib: None, checksum })
    }

    fn allocators() -> Vec<Allocator> {
        let allocator = |name: &str, role| Allocator::new(name, role, "1");
        vec![allocator(OURS, Role::Reference), allocator(CONTROL, Role::Control), allocator(GLIBC, Role::Peer)]
    }

    pub(in crate::compare) fn report(outcomes: Vec<Outcomes>) -> Report {
        let setting = Setting {
            machine: Machine::here(),
            threads: 2,
            scale: 1.0,
            repetitions: 1,
            allocators: allocators(),
            missing_peers: Vec::new(),
            missing_jobs: Vec::new(),
        };
        Report::new(setting, &Job::named("larson").unwrap(), vec![outcomes])
    }

    pub(in crate::compare) fn plain() -> Report {
        report(vec![vec![sample(2.0, "a")], vec![sample(2.1, "a")], vec![sample(1.0, "a")]])
    }

    #[test]
    fn ratio_is_ours_by_theirs_and_a_slower_row_is_lost() {
        let report = plain();
        assert_eq!(report.rows[0].ratio(Metric::Time, 2), Some(2.0));
        assert!((report.geometric_means[2].time.unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(report.lost(Metric::Time).len(), 1);
        assert!(report.lost(Metric::Peak).is_empty());
        assert!(report.failures().next().is_none());
    }

    #[test]
    fn a_difference_within_the_controls_noise_is_not_a_loss() {
        let report = report(vec![vec![sample(1.2, "a")], vec![sample(1.0, "a")], vec![sample(1.05, "a")]]);
        assert!(report.lost(Metric::Time).is_empty());
    }

    #[test]
    fn a_wrong_answer_has_no_figures() {
        let outcomes = vec![vec![sample(1.0, "b")], vec![Err("crashed".into())], vec![sample(1.0, "a")]];
        let row = Row::new("larson", "", &allocators(), outcomes);
        assert!(row.results[0].time.is_none() && row.results[1].time.is_none());
        assert!(row.results[0].failures[0].contains("wrong answer"));
        assert_eq!(row.results[1].failures, ["crashed"]);
        assert!(row.results[2].time.is_some());
    }
}
