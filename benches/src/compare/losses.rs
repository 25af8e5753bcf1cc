//! Why rows are lost: the entries of `benches/LOSSES.md`, and the rows that ought to have one.
//!
//! The list is compiled in, so a report can be drawn anywhere. Its form is described at its head; a test reads it, so an entry
//! out of form does not get in.

use super::report::{Lost, Metric, Report};

/// A row this much worse than the best peer must have an entry (ratio of ours to theirs). It is above the noise of a median of
/// five on the machines that the comparison was made on (a few percent up to 15 %).
pub const MUST_BE_EXPLAINED: f64 = 1.15;

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The rows it is about.
    pub rows: Vec<String>,
    /// In what they are lost.
    pub metric: Metric,
    /// By how much and to whom, when it was last measured.
    pub ratio: String,
    /// The reason.
    pub why: String,
    /// What would help.
    pub would_help: String,
    /// What was tried, with what result.
    pub tried: String,
}

/// The entries of this version.
pub fn recorded() -> Result<Vec<Entry>, String> {
    parse(include_str!("../../LOSSES.md"))
}

/// The entry about a lost row.
pub fn entry<'a>(entries: &'a [Entry], lost: &Lost) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.metric == lost.metric && entry.rows.contains(&lost.row.workload))
}

/// Whether the rule asks for an entry about a lost row.
pub fn must_be_explained(lost: &Lost) -> bool {
    Metric::DECISIVE.contains(&lost.metric) && lost.ratio > MUST_BE_EXPLAINED
}

/// The rows that break the rule: an entry is asked for and there is none.
pub fn unexplained<'a>(report: &'a Report, entries: &[Entry]) -> Vec<Lost<'a>> {
    let lost = Metric::DECISIVE.into_iter().flat_map(|metric| report.lost(metric));
    lost.filter(|lost| must_be_explained(lost) && entry(entries, lost).is_none()).collect()
}

/// Reads the list: what follows the heading `## Entries`.
fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let (_, list) = text.split_once("\n## Entries\n").ok_or("no heading '## Entries'")?;
    list.split("\n### ").skip(1).map(section_entry).collect()
}

fn section_entry(section: &str) -> Result<Entry, String> {
    let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
    let (rows, metric) = heading.rsplit_once(": ").ok_or_else(|| format!("'{heading}' is not ROWS: METRIC"))?;
    let metric = Metric::ALL.into_iter().find(|m| m.word() == metric.trim()).ok_or_else(|| {
        let words: Vec<&str> = Metric::ALL.iter().map(|m| m.word()).collect();
        format!("'{heading}': no metric '{metric}'; allowed: {}", words.join(", "))
    })?;
    let points: Vec<String> = body.split("\n* ").map(words).collect();
    let field = |name: &str| {
        let found = points.iter().find_map(|point| point.trim_start_matches("* ").strip_prefix(name));
        found.map(|text| text.trim().to_owned()).ok_or_else(|| format!("'{heading}' has no '* {name}'"))
    };
    Ok(Entry {
        rows: rows.split(',').map(|row| row.trim().to_owned()).collect(),
        metric,
        ratio: field("Ratio:")?,
        why: field("Why:")?,
        would_help: field("Would help:")?,
        tried: field("Tried:")?,
    })
}

/// The text with line breaks and runs of spaces as single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::jobs::Job;
    use super::super::report::tests::plain;
    use super::{Metric, parse, recorded, unexplained};

    const ENTRY: &str = "# Losses\n\n## Entries\n\n### larson, larson-8: time\n\n* Ratio: 2.00 of glibc\n* Why: it\n  waits\n\
                         * Would help: less\n* Tried: nothing\n";

    #[test]
    fn an_entry_is_read_and_explains_its_row() {
        let entries = parse(ENTRY).unwrap();
        assert_eq!((entries.len(), entries[0].metric, entries[0].why.as_str()), (1, Metric::Time, "it waits"));
        assert_eq!(entries[0].rows, ["larson", "larson-8"]);
        assert!(unexplained(&plain(), &entries).is_empty());
    }

    #[test]
    fn a_row_without_an_entry_for_its_metric_is_unexplained() {
        let other = parse(&ENTRY.replace(": time", ": peak")).unwrap();
        assert_eq!(unexplained(&plain(), &other).len(), 1);
        assert_eq!(unexplained(&plain(), &[]).len(), 1);
    }

    #[test]
    fn an_entry_out_of_form_is_an_error() {
        assert!(parse(&ENTRY.replace("* Why:", "* Because:")).unwrap_err().contains("no '* Why:'"));
        assert!(parse(&ENTRY.replace(": time", ": speed")).unwrap_err().contains("no metric 'speed'"));
    }

    #[test]
    fn the_recorded_entries_are_in_form_and_about_jobs_that_exist() {
        for row in recorded().unwrap().iter().flat_map(|entry| &entry.rows) {
            // A row's name is its job's, or that with a number of threads.
            let job =
                row.rsplit_once('-').filter(|(_, n)| n.parse::<u16>().is_ok()).map_or(row.as_str(), |(job, _)| job);
            assert!(Job::named(job).is_ok(), "no job for the row {row}");
        }
    }
}
