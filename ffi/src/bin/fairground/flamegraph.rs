//! `fairground flamegraph`: a heap profile as a picture. Each box is a function, as wide as what was allocated in it and in what
//! it called.

use crate::pprof::Profile;
use crate::refusal::Refusal;
use crate::symbols::{self, Symbols};
use clap::Args;
use inferno::flamegraph;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

pub const HELP: &str = "\
Types of a heap profile:
  inuse_space    bytes in use when the profile was written (the default)
  inuse_objects  blocks in use
  alloc_space    bytes allocated since the start, freed or not
  alloc_objects  blocks allocated

Names come from the files that were profiled; they must still be there, and the same. Programs built with debug
information show inlined functions too.

Examples:
  fairground run --heap-profile heap.pb -- ./program
  fairground flamegraph heap.pb -o heap.svg
  fairground flamegraph heap.pb -o churn.svg --type alloc_space";

#[derive(Args)]
pub struct Options {
    /// The profile: what `fairground run --heap-profile` or `fairground_profile_write` wrote
    #[arg(value_name = "PROFILE")]
    profile: PathBuf,
    /// The picture, an SVG that any browser shows
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What the widths are
    #[arg(long = "type", value_name = "TYPE", default_value = "inuse_space")]
    kind: String,
}

/// Draws the picture.
pub fn flamegraph(options: Options) -> Result<ExitCode, Refusal> {
    let shown = options.profile.display();
    let contents = fs::read(&options.profile)
        .map_err(|error| Refusal::launcher(format!("{shown}: {error}"), "name a file that --heap-profile wrote"))?;
    if contents.starts_with(&[0x1f, 0x8b]) {
        return Err(Refusal::launcher(format!("{shown} is compressed"), "decompress it: gunzip < FILE > heap.pb"));
    }
    let profile = Profile::decode(&*contents).map_err(|error| {
        Refusal::launcher(
            format!("{shown} is no profile in pprof's format: {error}"),
            "name a file that --heap-profile wrote",
        )
    })?;
    let kinds: Vec<String> = profile.sample_type.iter().map(|kind| profile.text(kind.kind)).collect();
    let Some(column) = kinds.iter().position(|kind| *kind == options.kind) else {
        return Err(Refusal::launcher(
            format!("{shown} has no values of type {}", options.kind),
            format!("choose one of its types: {}", kinds.join(", ")),
        ));
    };
    let mut symbols = Symbols::new(&profile);
    let lines = fold(&profile, column, &mut symbols);
    for why in &symbols.unreadable {
        eprintln!("fairground: warning: functions without names: {why}");
    }
    if lines.is_empty() {
        return Err(Refusal::launcher(
            format!("{shown} has no samples of type {}", options.kind),
            "choose another --type (alloc_space has what was freed as well), or sample more often: run --profile-every",
        ));
    }
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::launcher(format!("{}: {error}", options.output.display()), "name another file with -o")
    };
    let file = File::create(&options.output).map_err(|error| failed(&error))?;
    let mut picture = flamegraph::Options::default();
    picture.title = format!("Heap: {}", options.kind);
    picture.count_name = profile.text(profile.sample_type[column].unit);
    picture.colors = flamegraph::Palette::Basic(flamegraph::color::BasicPalette::Mem);
    flamegraph::from_lines(&mut picture, lines.iter().map(String::as_str), BufWriter::new(file))
        .map_err(|error| failed(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Stacks with their values, a line each: functions from the outermost on, with semicolons between, then the value.
fn fold(profile: &Profile, column: usize, symbols: &mut Symbols) -> Vec<String> {
    let names: HashMap<u64, Vec<String>> =
        profile.location.iter().map(|location| (location.id, symbols.functions(location))).collect();
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.sample {
        let value = sample.value.get(column).copied().unwrap_or(0);
        if value == 0 {
            continue;
        }
        let functions = sample.location_id.iter().rev().filter_map(|id| names.get(id)).flat_map(|f| f.iter().rev());
        let functions = functions.take_while(|name| !symbols::is_allocators(name));
        let stack: Vec<String> = functions.map(|name| name.replace([';', '\n'], ":")).collect();
        let stack = if stack.is_empty() { "[unknown]".into() } else { stack.join(";") };
        *stacks.entry(stack).or_default() += value;
    }
    stacks.into_iter().map(|(stack, value)| format!("{stack} {value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pprof::{Location, Sample};

    #[test]
    fn stacks_are_folded_from_the_outside_in_and_added_up() {
        let location = |id| Location { id, ..Location::default() };
        let sample = |ids: &[u64], value| Sample { location_id: ids.to_vec(), value: vec![value] };
        let profile = Profile {
            location: vec![location(1), location(2)],
            sample: vec![sample(&[1, 2], 5), sample(&[1, 2], 7), sample(&[2], 0), sample(&[], 1)],
            ..Profile::default()
        };
        let lines = fold(&profile, 0, &mut Symbols::new(&profile));
        assert_eq!(lines, ["[unknown] 1", "[unknown];[unknown] 12"]);
    }

    #[test]
    fn the_allocators_own_functions_are_told_by_name() {
        for own in ["fairground_allocator::watch::alloc", "<fairground_allocator::global::Fairground as X>::alloc"] {
            assert!(symbols::is_allocators(own));
        }
        assert!(symbols::is_allocators("__rustc[1234]::__rust_alloc"));
        assert!(!symbols::is_allocators("alloc::vec::Vec<T>::push"));
    }
}
