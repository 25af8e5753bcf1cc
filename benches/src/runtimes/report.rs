//! What came out: a line for each figure of each row, a cell for each runtime.

use super::programs::{OURS, Role, Runtime};
use super::rows::{Better, Row};
use super::run::Outcome;
use super::schedule::Outcomes;
use crate::compare::machine::Machine;
use crate::compare::peers::Missing;
pub use crate::compare::report::NO_DIFFERENCE;
use crate::compare::statistics::Summary;
use serde::{Deserialize, Serialize};

/// Where and how it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The machine, before the run.
    pub machine: Machine,
    /// Runs of each row under each runtime.
    pub repetitions: usize,
    /// Seconds that rows of operations measured.
    pub seconds: f64,
    /// Seconds that rows of latencies measured.
    pub latency_seconds: f64,
    /// Who took part: the reference, the control, the peers.
    pub runtimes: Vec<Runtime>,
    /// Who did not.
    pub missing: Vec<Missing>,
}

/// A run of the comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where and how.
    pub setting: Setting,
    /// The rows.
    pub rows: Vec<Measured>,
    /// Whether it ended early.
    pub partial: bool,
}

/// A row with its outcomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The row's name.
    pub name: String,
    /// What it does.
    pub does: String,
    /// Its figures.
    pub lines: Vec<Line>,
    /// Every run, by runtime.
    pub outcomes: Vec<Outcomes>,
}

/// A figure of a row, under all runtimes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What it is, with its unit.
    pub figure: String,
    /// Which way is better.
    pub better: Better,
    /// What is aimed at.
    pub aim: Option<f64>,
    /// The medians and spreads, by runtime.
    pub cells: Vec<Cell>,
}

/// A figure under one runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// It was measured.
    Measured(Summary),
    /// The runtime has no means for the row; why is in the outcomes.
    Unsupported,
    /// A run failed; figures of others do not count then.
    Failed,
    /// The run ended before.
    Absent,
}

/// A line that a peer wins by more than noise.
pub struct Lost<'a> {
    /// The row's name.
    pub row: &'a str,
    /// The line.
    pub line: &'a Line,
    /// Who wins it.
    pub peer: &'a str,
    /// Our cost divided by that peer's.
    pub ratio: f64,
    /// How far the control was off.
    pub noise: f64,
}

impl Report {
    /// The report of outcomes as [`run_all`](super::schedule::run_all) gives them.
    pub fn new(setting: Setting, rows: &[&Row], outcomes: &[Vec<Outcomes>], partial: bool) -> Self {
        let rows = rows.iter().zip(outcomes).map(|(row, outcomes)| Measured::new(row, outcomes)).collect();
        Self { setting, rows, partial }
    }

    /// Who took part.
    pub fn runtimes(&self) -> &[Runtime] {
        &self.setting.runtimes
    }

    /// Whether the reference is the runtime of this project: only then there is something to win or lose.
    pub fn ours(&self) -> bool {
        self.runtimes().first().is_some_and(|runtime| runtime.name == OURS)
    }

    /// The runtimes of the tables: all but the control.
    pub fn shown(&self) -> Vec<usize> {
        (0..self.runtimes().len()).filter(|&index| self.runtimes()[index].role != Role::Control).collect()
    }

    /// How far the control was from the reference in a line.
    pub fn noise(&self, line: &Line) -> Option<f64> {
        let control = self.runtimes().iter().position(|runtime| runtime.role == Role::Control)?;
        line.ratio(control).map(|ratio| ratio.max(1.0 / ratio) - 1.0)
    }

    /// The peer of least cost in a line, and the reference's cost divided by it.
    pub fn best_peer(&self, line: &Line) -> Option<(usize, f64)> {
        let peers = self.shown().into_iter().filter(|&index| self.runtimes()[index].role == Role::Peer);
        peers.filter_map(|index| Some((index, line.ratio(index)?))).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The lines that are lost; none if the reference is not ours.
    pub fn lost(&self) -> Vec<Lost<'_>> {
        let mut lost = Vec::new();
        for (row, line) in self.lines().filter(|_| self.ours()) {
            let noise = self.noise(line).unwrap_or(0.0);
            if let Some((peer, ratio)) = self.best_peer(line)
                && ratio > 1.0 + noise.max(NO_DIFFERENCE)
            {
                lost.push(Lost { row: &row.name, line, peer: &self.runtimes()[peer].name, ratio, noise });
            }
        }
        lost
    }

    /// Every line with its row.
    pub fn lines(&self) -> impl Iterator<Item = (&Measured, &Line)> {
        self.rows.iter().flat_map(|row| row.lines.iter().map(move |line| (row, line)))
    }

    /// Row, runtime and reason of every run that failed.
    pub fn failures(&self) -> Vec<(&str, &str, &str)> {
        self.without_figures(|outcome| match outcome {
            Outcome::Failed(reason) => Some(reason),
            _ => None,
        })
    }

    /// Row, runtime and reason of what a runtime has no means for.
    pub fn unsupported(&self) -> Vec<(&str, &str, &str)> {
        self.without_figures(|outcome| match outcome {
            Outcome::Unsupported(reason) => Some(reason),
            _ => None,
        })
    }

    fn without_figures(&self, reason: impl Fn(&Outcome) -> Option<&String>) -> Vec<(&str, &str, &str)> {
        let mut found = Vec::new();
        for row in &self.rows {
            for (runtime, outcomes) in self.runtimes().iter().zip(&row.outcomes) {
                let reasons = outcomes.iter().filter_map(&reason);
                found.extend(reasons.map(|reason| (row.name.as_str(), runtime.name.as_str(), reason.as_str())));
            }
        }
        found
    }
}

impl Measured {
    fn new(row: &Row, outcomes: &[Outcomes]) -> Self {
        let line = |figure: &super::rows::Figure| Line {
            figure: figure.name.into(),
            better: figure.better,
            aim: figure.aim,
            cells: outcomes.iter().map(|outcomes| Cell::of(outcomes, figure.value)).collect(),
        };
        Self {
            name: row.name.into(),
            does: row.does.into(),
            lines: row.figures.iter().map(line).collect(),
            outcomes: outcomes.to_vec(),
        }
    }
}

impl Cell {
    fn of(outcomes: &Outcomes, value: super::rows::Value) -> Self {
        let mut values = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Measured(sample) => values.extend(value.of(sample)),
                Outcome::Unsupported(_) => return Self::Unsupported,
                Outcome::Failed(_) => return Self::Failed,
            }
        }
        Summary::of(values).map_or(Self::Absent, Self::Measured)
    }

    /// The median, if there is one.
    pub fn median(&self) -> Option<f64> {
        if let Self::Measured(summary) = self { Some(summary.median) } else { None }
    }
}

impl Line {
    /// The reference's cost divided by that of a runtime.
    pub fn ratio(&self, index: usize) -> Option<f64> {
        let (ours, theirs) = (self.cells.first()?.median()?, self.cells.get(index)?.median()?);
        let ratio = match self.better {
            Better::Less => ours / theirs,
            Better::More => theirs / ours,
        };
        // A figure of 0 (no page tables grew, say) has no ratio.
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }

    /// The runtime that is best, by index.
    pub fn best(&self, shown: &[usize]) -> Option<usize> {
        let medians = shown.iter().filter_map(|&index| Some((index, self.cells.get(index)?.median()?)));
        let cost = |value: f64| if self.better == Better::Less { value } else { -value };
        medians.min_by(|a, b| cost(a.1).total_cmp(&cost(b.1))).map(|(index, _)| index)
    }

    /// Whether a value reaches the aim, if there is one.
    pub fn reached(&self, value: f64) -> Option<bool> {
        self.aim.map(|aim| if self.better == Better::Less { value <= aim } else { value >= aim })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Cell, Report, Setting};
    use crate::compare::machine::Machine;
    use crate::runtimes::programs::{Missing, Role, Runtime};
    use crate::runtimes::rows;
    use crate::runtimes::run::{Outcome, Sample};

    fn sample(operations: f64, wall_ns: f64, cpu_ns: f64) -> Outcome {
        Outcome::Measured(Sample { operations, wall_ns, cpu_ns, further: Default::default() })
    }

    /// Ours, its control, and two peers, in the rows yield and mpsc; the second peer fails in the one and has no means for the
    /// other.
    pub fn plain(first: &str) -> Report {
        let names = [(first, Role::Reference), ("control", Role::Control), ("go", Role::Peer), ("threads", Role::Peer)];
        let runtime = |(name, role): (&str, Role)| Runtime {
            name: name.into(),
            role,
            version: "1".into(),
            source: "a test".into(),
            program: "/nonexistent".into(),
        };
        let setting = Setting {
            machine: Machine::here(),
            repetitions: 3,
            seconds: 1.0,
            latency_seconds: 3.0,
            runtimes: names.map(runtime).into(),
            missing: vec![Missing { name: "may".into(), remedy: "build it".into() }],
        };
        let yields = vec![
            vec![sample(1e6, 42e6, 41e6), sample(1e6, 41e6, 40e6), sample(1e6, 49e6, 46e6)],
            vec![sample(1e6, 43e6, 42e6)],
            vec![sample(1e6, 90e6, 82e6)],
            vec![sample(1e6, 90e6, 82e6), Outcome::Failed("killed after 60 s".into())],
        ];
        let mpsc = vec![
            vec![sample(1e6, 50e6, 60e6)],
            vec![sample(1e6, 50e6, 60e6)],
            vec![sample(1e6, 25e6, 30e6)],
            vec![Outcome::Unsupported("no channel".into())],
        ];
        Report::new(setting, &rows::named("yield,mpsc").unwrap(), &[yields, mpsc], false)
    }

    #[test]
    fn figures_are_medians_with_the_extremes_and_a_failure_leaves_none() {
        let report = plain("fairground");
        let Cell::Measured(summary) = &report.rows[0].lines[0].cells[0] else { panic!("not measured") };
        assert_eq!((summary.min, summary.median, summary.max), (40.0, 41.0, 46.0));
        assert_eq!(report.rows[0].lines[0].cells[3], Cell::Failed);
        assert_eq!(report.rows[1].lines[0].cells[3], Cell::Unsupported);
        assert_eq!(report.failures(), [("yield", "threads", "killed after 60 s")]);
        assert_eq!(report.unsupported(), [("mpsc", "threads", "no channel")]);
    }

    #[test]
    fn speeds_are_compared_as_costs_and_lost_rows_are_found() {
        let report = plain("fairground");
        let lost = report.lost();
        let named: Vec<_> =
            lost.iter().map(|lost| (lost.row, lost.line.figure.as_str(), lost.peer, lost.ratio)).collect();
        assert_eq!(
            named,
            [("mpsc", "million messages/s", "go", 2.0), ("mpsc", "ns of CPU a message", "go", 2.0)],
            "20 against 40 million a second, 60 against 30 ns"
        );
        assert_eq!(report.best_peer(&report.rows[0].lines[0]), Some((2, 0.5)));
    }

    #[test]
    fn without_our_runtime_nothing_is_lost() {
        assert!(plain("go").lost().is_empty());
    }

    #[test]
    fn noise_is_how_far_the_control_is_off_either_way() {
        let report = plain("fairground");
        let noise = report.noise(&report.rows[0].lines[0]).unwrap();
        assert!((noise - (42.0 / 41.0 - 1.0)).abs() < 1e-12, "{noise}");
    }

    #[test]
    fn aims_and_the_best_know_which_way_is_better() {
        let report = plain("fairground");
        let (yields, mpsc) = (&report.rows[0].lines[0], &report.rows[1].lines[0]);
        assert_eq!((yields.best(&report.shown()), mpsc.best(&report.shown())), (Some(0), Some(2)));
        assert_eq!((yields.reached(34.0), yields.reached(36.0)), (Some(true), Some(false)));
        assert_eq!((mpsc.reached(34.0), mpsc.reached(36.0)), (Some(false), Some(true)));
        assert_eq!(report.rows[0].lines[1].reached(1.0), None);
    }

    #[test]
    fn raw_data_can_be_read_back() {
        let report = plain("fairground");
        let json = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }
}
