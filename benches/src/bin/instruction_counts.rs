//! `instruction-counts`: prints how many instructions the hot calls take, for Fairground and for its peers.
//!
//! The same measurement that the test of this name holds against the budgets; see `fairground_benches::instruction_counts`.

use clap::Parser;
use fairground_benches::compare::peers::{self, Places};
use fairground_benches::instruction_counts::{self, Measured, callgrind};
use fairground_benches::workload::Kind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Count the instructions of malloc, free and their like under callgrind.
#[derive(Parser)]
#[command(name = "instruction-counts")]
struct Options {
    /// Allocators beside ours, separated by commas: names as of `fairground-compare --peers list`, NAME=PATH, or `all`.
    #[arg(long, default_value = "all")]
    peers: String,
    /// The library under test [default: libfairground.so beside this program].
    #[arg(long, env = "FAIRGROUND_LIBRARY")]
    library: Option<PathBuf>,
}

fn main() -> ExitCode {
    match print(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instruction-counts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(options: &Options) -> Result<(), String> {
    if !callgrind::available() {
        return Err("valgrind is not installed (apt-get install valgrind)".into());
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let beside = |name: &str| Some(program.with_file_name(name)).filter(|path| path.is_file());
    let driver = beside("hot_calls").ok_or("hot_calls is not beside this program; build the whole package")?;
    let scratch = std::env::temp_dir();
    let ours = options.library.clone().or_else(|| beside("libfairground.so"));
    let places = Places::of_build(program.parent().unwrap_or(Path::new(".")), ours);
    let (mut allocators, missing) = peers::resolve(&places, &options.peers)?;
    // The calls that are counted are those of C.
    allocators.retain(|allocator| allocator.serves(Kind::C));
    for missing in missing {
        eprintln!("missing: {} ({})", missing.name, missing.remedy);
    }
    let mut columns: Vec<(String, Vec<Measured>)> = Vec::new();
    for allocator in allocators {
        let measured = instruction_counts::measure_preloaded(&driver, allocator.library.as_deref(), &scratch);
        match measured {
            Ok(measured) => columns.push((allocator.name, measured)),
            Err(error) => eprintln!("{}: {error}", allocator.name),
        }
    }
    print!("{:28}{:>8}", "instructions for each call", "budget");
    columns.iter().for_each(|(name, _)| print!("{name:>12}"));
    println!();
    let lines = columns.first().map_or(0, |(_, measured)| measured.len());
    for line in 0..lines {
        let budget = columns[0].1[line].budget;
        print!("{:28}{:>8}", budget.call, budget.instructions);
        for (_, measured) in &columns {
            print!("{:>12}", measured[line].instructions.map_or_else(|| "-".into(), |count| format!("{count:.1}")));
        }
        println!();
    }
    if let Some(driver) = beside("hot_layout") {
        print!("\nRust, {}", instruction_counts::table(&instruction_counts::measure_linked(&driver, &scratch)?));
    }
    Ok(())
}
