//! From samples to figures: summaries, ratios, geometric means, and what is lost.
//!
//! A row of an allocator with a failed or wrong run has no figures: a wrong answer has no speed. Ratios are the reference's
//! median divided by the other's, so below 1 the reference (ours) is better.

use super::machine::Machine;
use super::peers::{Allocator, GLIBC, Missing, Role};
use super::sample::Sample;
use super::schedule::{Case, Outcomes};
use super::statistics::{Summary, geometric_mean};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Smaller differences than this are not called differences, even if the control was quieter: on two-core virtual machines a
/// control of the same library was seen to move by 5 %.
pub const NO_DIFFERENCE: f64 = 0.06;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Wall time.
    Time,
    /// High-water mark of resident memory.
    Peak,
    /// Resident memory after everything was freed.
    After,
    /// Minor page faults.
    Faults,
    /// CPU time in user mode.
    User,
    /// CPU time in the kernel.
    System,
}

impl Metric {
    /// All metrics in the order of the tables.
    pub const ALL: [Self; 6] = [Self::Time, Self::Peak, Self::After, Self::Faults, Self::User, Self::System];
    /// Those in which losses are listed; the others explain them.
    pub const CONTESTED: [Self; 3] = [Self::Time, Self::Peak, Self::After];
    /// Those in which a loss must be explained. What remains after everything was freed is not among them: what is given back
    /// with a delay is still there when a short program looks.
    pub const DECISIVE: [Self; 2] = [Self::Time, Self::Peak];

    /// One word, as in the raw data and in the list of losses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Peak => "peak",
            Self::After => "after",
            Self::Faults => "faults",
            Self::User => "user",
            Self::System => "system",
        }
    }

    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "wall time",
            Self::Peak => "peak resident memory",
            Self::After => "resident after everything was freed",
            Self::Faults => "minor page faults",
            Self::User => "user time",
            Self::System => "system time",
        }
    }

    /// Its name and the unit of its figures.
    pub fn title(self) -> String {
        let unit = match self {
            Self::Time | Self::User | Self::System => "s",
            Self::Peak | Self::After => "MiB",
            Self::Faults => "thousands",
        };
        format!("{} ({unit})", self.name())
    }

    fn value(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Time => Some(sample.wall_s),
            Self::Peak => Some(sample.peak_kib as f64 / 1024.0),
            Self::After => sample.after_kib.map(|kib| kib as f64 / 1024.0),
            Self::Faults => Some(sample.minor_faults as f64 / 1000.0),
            Self::User => Some(sample.user_s),
            Self::System => Some(sample.system_s),
        }
    }
}

/// What was run, where and with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Where and when.
    pub machine: Machine,
    /// Numbers of threads that the workloads ran with.
    pub threads: Vec<u16>,
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
}

/// A whole run; its JSON form is the raw data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was run.
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether the run ended before all repetitions were done.
    pub partial: bool,
    /// One for each case.
    pub rows: Vec<Row>,
    /// Ratios of the reference to each allocator over all rows, in the order of the allocators.
    pub geometric_means: Vec<Means>,
}

/// One job with one number of threads under all allocators.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The row's name: the job's, with the number of threads unless it is the first.
    pub workload: String,
    /// Threads, where the job takes a number of them.
    pub threads: Option<u16>,
    /// What kind of program it stands for.
    pub stands_for: String,
    /// In the order of [`Setting::allocators`].
    pub results: Vec<Figures>,
}

/// One job under one allocator.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The allocator.
    pub allocator: String,
    /// Median and spread of each metric that the job has.
    pub metrics: BTreeMap<Metric, Summary>,
    /// Runs that failed or gave a wrong answer.
    pub failures: Vec<String>,
    /// The raw data.
    pub samples: Vec<Sample>,
}

/// Geometric means of the ratios to one allocator.
#[derive(Debug, Serialize, Deserialize)]
pub struct Means {
    /// The allocator.
    pub allocator: String,
    /// The mean of each metric.
    pub ratios: BTreeMap<Metric, Mean>,
}

/// A geometric mean.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Mean {
    /// The reference divided by the allocator.
    pub ratio: f64,
    /// Rows that it is the mean of.
    pub rows: usize,
}

/// A row in which a peer is better than the reference by more than noise.
#[derive(Clone, Copy)]
pub struct Lost<'a> {
    /// The row.
    pub row: &'a Row,
    /// In what.
    pub metric: Metric,
    /// The best peer.
    pub peer: &'a Allocator,
    /// The reference divided by that peer, above 1.
    pub ratio: f64,
    /// The row's noise.
    pub noise: f64,
}

impl Report {
    /// The report of a run, or of what there is of it (`partial`); `outcomes` is indexed by case, then by allocator.
    pub fn new(setting: Setting, cases: &[Case], outcomes: &[Vec<Outcomes>], partial: bool) -> Self {
        let rows =
            cases.iter().zip(outcomes).map(|(case, outcomes)| Row::new(case, &setting.allocators, outcomes)).collect();
        let mut report = Self { setting, partial, rows, geometric_means: Vec::new() };
        report.geometric_means = (0..report.setting.allocators.len()).map(|a| report.means(a)).collect();
        report
    }

    /// Who took part; the reference is the first.
    pub fn allocators(&self) -> &[Allocator] {
        &self.setting.allocators
    }

    fn means(&self, allocator: usize) -> Means {
        let ratios = Metric::ALL.into_iter().filter_map(|m| Some((m, self.pair(m, 0, allocator)?))).collect();
        Means { allocator: self.allocators()[allocator].name.clone(), ratios }
    }

    /// The geometric mean of allocator `a` divided by allocator `b` over the rows that both have.
    pub fn pair(&self, metric: Metric, a: usize, b: usize) -> Option<Mean> {
        let ratios: Vec<f64> = self.rows.iter().filter_map(|row| row.pair(metric, a, b)).collect();
        Some(Mean { ratio: geometric_mean(ratios.iter().copied())?, rows: ratios.len() })
    }

    /// Those that tables and pictures show, the reference first; the control is in them as noise. Indices.
    pub fn shown(&self) -> Vec<usize> {
        (0..self.allocators().len()).filter(|&index| self.allocators()[index].role != Role::Control).collect()
    }

    /// Index of the control.
    fn control(&self) -> Option<usize> {
        self.allocators().iter().position(|a| a.role == Role::Control)
    }

    /// How far the control is from the reference in a row: what this row cannot tell apart.
    pub fn noise(&self, row: &Row, metric: Metric) -> Option<f64> {
        Some((row.ratio(metric, self.control()?)? - 1.0).abs())
    }

    /// The noise of the geometric mean.
    pub fn mean_noise(&self, metric: Metric) -> Option<f64> {
        Some((self.geometric_means[self.control()?].ratios.get(&metric)?.ratio - 1.0).abs())
    }

    /// The peer with the least median in a row, and the ratio of the reference to it.
    pub fn best_peer<'a>(&'a self, row: &Row, metric: Metric) -> Option<(&'a Allocator, f64)> {
        let peers = self.allocators().iter().enumerate().filter(|(_, a)| a.role == Role::Peer);
        let ratios = peers.filter_map(|(index, allocator)| Some((allocator, row.ratio(metric, index)?)));
        ratios.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The rows in which some peer is better than the reference by more than noise.
    pub fn lost(&self, metric: Metric) -> Vec<Lost<'_>> {
        let lost = |row| {
            let (peer, ratio) = self.best_peer(row, metric)?;
            let noise = self.noise(row, metric).unwrap_or(0.0);
            (ratio > 1.0 + noise.max(NO_DIFFERENCE)).then_some(Lost { row, metric, peer, ratio, noise })
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
    fn new(case: &Case, allocators: &[Allocator], outcomes: &[Outcomes]) -> Self {
        let good = |outcomes: &Outcomes| outcomes.iter().find_map(|o| o.as_ref().ok().map(|s| s.checksum.clone()));
        let glibc = allocators.iter().position(|a| a.name == GLIBC);
        let expected = match glibc.map(|index| (outcomes[index].is_empty(), good(&outcomes[index]))) {
            Some((_, Some(checksum))) => Expected::Checksum(checksum),
            Some((true, None)) => Expected::NotYetKnown,
            _ => Expected::Unknown,
        };
        let results =
            allocators.iter().zip(outcomes).map(|(a, outcomes)| figures(&a.name, outcomes, &expected)).collect();
        let (workload, stands_for) = (case.name(), case.job.stands_for().into());
        Self { workload, threads: case.job.threaded().then_some(case.threads), stands_for, results }
    }

    /// The reference's median divided by that of `allocator` (an index).
    pub fn ratio(&self, metric: Metric, allocator: usize) -> Option<f64> {
        self.pair(metric, 0, allocator)
    }

    /// The median of `a` divided by that of `b`.
    fn pair(&self, metric: Metric, a: usize, b: usize) -> Option<f64> {
        let median = |index: usize| self.results.get(index)?.metrics.get(&metric).map(|summary| summary.median);
        let (a, b) = (median(a)?, median(b)?);
        (a > 0.0 && b > 0.0).then(|| a / b)
    }
}

/// The checksum of the run under glibc.
enum Expected {
    Checksum(String),
    /// A run that was interrupted before glibc's turn has nothing to compare with.
    NotYetKnown,
    /// Glibc failed.
    Unknown,
}

fn figures(allocator: &str, outcomes: &Outcomes, expected: &Expected) -> Figures {
    let mut failures = Vec::new();
    let mut samples = Vec::new();
    for outcome in outcomes {
        match outcome {
            Err(error) => failures.push(error.clone()),
            Ok(sample) => {
                let wrong = |than: &str| format!("wrong answer: checksum {} instead of {than}", sample.checksum);
                match expected {
                    Expected::Checksum(expected) if *expected != sample.checksum => failures.push(wrong(expected)),
                    Expected::Unknown => failures.push(wrong("that of a run under glibc, which failed")),
                    Expected::Checksum(_) | Expected::NotYetKnown => {}
                }
                samples.push(sample.clone());
            }
        }
    }
    let summary = |metric: Metric| Summary::of(samples.iter().filter_map(|sample| metric.value(sample)));
    let metrics = if failures.is_empty() {
        Metric::ALL.into_iter().filter_map(|metric| Some((metric, summary(metric)?))).collect()
    } else {
        BTreeMap::new()
    };
    Figures { allocator: allocator.into(), metrics, failures, samples }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Machine, Metric, Report, Row, Setting};
    use crate::compare::jobs::Job;
    use crate::compare::peers::{Allocator, CONTROL, GLIBC, OURS, Role};
    use crate::compare::sample::Sample;
    use crate::compare::schedule::{Case, Outcomes, cases};
    use crate::compare::series::Series;

    pub(in crate::compare) fn sample(wall_s: f64, peak_kib: u64, checksum: &str) -> Result<Sample, String> {
        Ok(Sample {
            wall_s,
            user_s: wall_s,
            system_s: 0.0,
            minor_faults: 5,
            peak_kib,
            after_kib: None,
            checksum: checksum.to_owned(),
            series: None,
        })
    }

    fn timed(wall_s: f64) -> Result<Sample, String> {
        sample(wall_s, 2048, "a")
    }

    fn allocators(peers: &[&str]) -> Vec<Allocator> {
        let allocator = |name: &str, role| Allocator::new(name, role, "1");
        let mut all = vec![allocator(OURS, Role::Reference), allocator(CONTROL, Role::Control)];
        all.extend(peers.iter().map(|name| allocator(name, Role::Peer)));
        all
    }

    pub(in crate::compare) fn setting(peers: &[&str], threads: &[u16]) -> Setting {
        Setting {
            machine: Machine::here(),
            threads: threads.to_vec(),
            scale: 1.0,
            repetitions: 1,
            allocators: allocators(peers),
            missing_peers: Vec::new(),
            missing_jobs: Vec::new(),
        }
    }

    fn larson() -> Vec<Case> {
        cases(&Job::named("larson").unwrap(), &[2])
    }

    fn report(outcomes: Vec<Outcomes>) -> Report {
        Report::new(setting(&[GLIBC], &[2]), &larson(), &[outcomes], false)
    }

    /// One row, in which glibc takes half of our time.
    pub(in crate::compare) fn plain() -> Report {
        report(vec![vec![timed(2.0)], vec![timed(2.1)], vec![timed(1.0)]])
    }

    /// Several peers, numbers of threads and a program of phases, with figures that only look like real ones.
    pub(in crate::compare) fn made_up() -> Report {
        let peers = [GLIBC, "jemalloc", "mimalloc", "mimalloc-3", "snmalloc", "rpmalloc", "tcmalloc", "talc"];
        let jobs = Job::named("larson,xmalloc,mstress,collections,realloc-growth,medium,large,true").unwrap();
        let cases = cases(&jobs, &[2, 8]);
        let run = |case: usize, allocator: usize| {
            // Ours and the control nearly alike; the others spread over about a factor of ten.
            let spread = |seed: usize| (seed * (allocator + 1) * (case + 3) * 7919 % 101) as f64 / 101.0;
            let factor = if allocator < 2 { 1.0 + 0.03 * spread(1) } else { 10_f64.powf(spread(3) - 0.3) };
            let memory = if allocator < 2 { 1.0 } else { 4_f64.powf(spread(5) - 0.4) };
            let mut sample = sample(factor, (40_000.0 * memory) as u64, "a")?;
            if case == 2 {
                let level = |ms: u64| match ms {
                    0..1000 => ms,
                    1000..1500 => 1000 - (ms - 1000) * 2 * (allocator as u64 % 4) / 4,
                    1500..3000 => 1000 - 250 * (allocator as u64 % 4),
                    _ => (ms - 3000).max(1000 - 250 * (allocator as u64 % 4)),
                };
                let resident =
                    (0..160).map(|i| (i * 25, 4000 + 300 * allocator as u64 + 100 * level(i * 25))).collect();
                let phases = [(0, "grow"), (1000, "free"), (1500, "idle"), (3000, "grow-again")];
                sample.series = Some(Series { resident, phases: phases.map(|(ms, name)| (ms, name.into())).to_vec() });
            }
            Ok(sample)
        };
        let setting = setting(&peers, &[2, 8]);
        let allocators = setting.allocators.len();
        let outcomes = (0..cases.len()).map(|c| (0..allocators).map(|a| vec![run(c, a)]).collect::<Vec<_>>());
        Report::new(setting, &cases, &outcomes.collect::<Vec<_>>(), false)
    }

    #[test]
    fn ratio_is_ours_by_theirs_and_a_slower_row_is_lost() {
        let report = plain();
        assert_eq!(report.rows[0].ratio(Metric::Time, 2), Some(2.0));
        assert!((report.geometric_means[2].ratios[&Metric::Time].ratio - 2.0).abs() < 1e-12);
        assert!((report.pair(Metric::Time, 2, 0).unwrap().ratio - 0.5).abs() < 1e-12);
        assert_eq!(report.lost(Metric::Time).len(), 1);
        assert!(report.lost(Metric::Peak).is_empty());
        assert!(report.failures().next().is_none());
        assert!(!report.partial);
    }

    #[test]
    fn a_difference_within_the_controls_noise_is_not_a_loss() {
        let report = report(vec![vec![timed(1.2)], vec![timed(1.0)], vec![timed(1.05)]]);
        assert!(report.lost(Metric::Time).is_empty());
    }

    #[test]
    fn a_wrong_answer_has_no_figures() {
        let outcomes = vec![vec![sample(1.0, 1, "b")], vec![Err("crashed".into())], vec![timed(1.0)]];
        let row = Row::new(&larson()[0], &allocators(&[GLIBC]), &outcomes);
        assert!(row.results[0].metrics.is_empty() && row.results[1].metrics.is_empty());
        assert!(row.results[0].failures[0].contains("wrong answer"));
        assert_eq!(row.results[1].failures, ["crashed"]);
        assert!(row.results[2].metrics.contains_key(&Metric::Time));
    }

    #[test]
    fn a_run_that_ended_early_is_partial_and_not_called_wrong() {
        let outcomes = [vec![vec![timed(1.0)], vec![timed(1.1)], vec![]]];
        let report = Report::new(setting(&[GLIBC], &[2]), &larson(), &outcomes, true);
        assert!(report.partial);
        assert!(report.failures().next().is_none());
        assert_eq!(report.rows[0].ratio(Metric::Time, 2), None);
    }

    #[test]
    fn raw_data_are_read_back_as_they_were_written() {
        let report = plain();
        let json = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
        assert_eq!(again.lost(Metric::Time).len(), 1);
    }
}
