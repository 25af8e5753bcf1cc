//! Resident memory over time, as a workload records it of itself.
//!
//! A workload of phases prints two words more: `rss=MS:KIB,MS:KIB,...` (milliseconds since its start, resident KiB) and
//! `phases=MS:NAME,...` (when each phase begins). Their times come from the program's own clock, so that no sampling from
//! outside disturbs it.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What one run recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Milliseconds since the start, and resident KiB then; in the order of time.
    pub resident: Vec<(u64, u64)>,
    /// Milliseconds since the start at which a phase begins, and its name; in the order of time.
    pub phases: Vec<(u64, String)>,
}

impl Series {
    /// The series in a workload's output; `None` if it printed none.
    pub fn in_output(output: &str) -> Result<Option<Self>, String> {
        let word = |name: &str| output.split_ascii_whitespace().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        let Some(resident) = word("rss") else { return Ok(None) };
        let resident = pairs(resident).map_err(|e| format!("rss: {e}"))?;
        let phases = pairs(word("phases").unwrap_or("")).map_err(|e| format!("phases: {e}"))?;
        Ok(Some(Self { resident, phases }))
    }

    /// For each phase its name and the resident KiB at its end.
    pub fn at_ends(&self) -> Vec<(&str, u64)> {
        let end = |index: usize| self.phases.get(index + 1).map_or(u64::MAX, |next| next.0);
        let last_before = |end: u64| self.resident.iter().take_while(|&&(at, _)| at <= end).last();
        let phases = self.phases.iter().enumerate();
        phases.filter_map(|(index, (_, name))| Some((name.as_str(), last_before(end(index))?.1))).collect()
    }
}

/// `A:B,A:B,...`, the numbers A not falling.
fn pairs<T: FromStr>(text: &str) -> Result<Vec<(u64, T)>, String> {
    let mut pairs: Vec<(u64, T)> = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let pair = word.split_once(':').and_then(|(at, what)| Some((at.parse().ok()?, what.parse().ok()?)));
        let pair: (u64, T) = pair.ok_or_else(|| format!("'{word}' is not MILLISECONDS:VALUE"))?;
        if pairs.last().is_some_and(|last| last.0 > pair.0) {
            return Err(format!("'{word}' comes after a later moment"));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn an_output_with_a_series_is_read_and_one_without_has_none() {
        let output = "checksum=1 rss=0:100,10:900,20:300,30:200 phases=0:grow,12:free peak_kib=5\n";
        let series = Series::in_output(output).unwrap().unwrap();
        assert_eq!(series.resident, [(0, 100), (10, 900), (20, 300), (30, 200)]);
        assert_eq!(series.at_ends(), [("grow", 900), ("free", 200)]);
        assert_eq!(Series::in_output("checksum=1 peak_kib=5").unwrap(), None);
    }

    #[test]
    fn what_is_not_a_series_is_an_error_that_quotes_it() {
        for (output, quoted) in [("rss=0:1,x", "'x'"), ("rss=5:1,4:1", "'4:1'"), ("rss=0:1 phases=a:b", "'a:b'")] {
            let error = Series::in_output(output).unwrap_err();
            assert!(error.contains(quoted), "{error}");
        }
    }
}
