//! `fairground`: the launcher.
//!
//! Preloading fails quietly. The dynamic loader ignores `LD_PRELOAD` for a setuid program, a static program has no
//! loader to read it, and a typing error in the path costs one line on stderr that scrolls away; the program then
//! runs on the old allocator and nobody notices. So the launcher looks before it leaps: it reads the headers of what
//! it is asked to run and says no, with the reason and a way out, when the preload could not take effect.
//!
//! | module | concern |
//! |---|---|
//! | `refusal` | the one error type: what happened, what to do, which exit status |
//! | `library` | where libfairground.so is |
//! | `program` | which file a command name means, through PATH, `#!` lines and `env` |
//! | `elf` | what the headers of a file say |
//! | `run` | the checks in order, then exec |
//! | `settings` | the allocator's configuration as the program gets it |
//! | `conf`, `heap_profile` | options of `run` that stand for settings: any, statistics, a profile; the list of all keys |
//! | `flamegraph`, `symbols`, `pprof` | a profile as a picture; names of functions; the format |
//! | `demo` | real programs on both allocators, measured side by side |
//! | `sim` | the runtime's scheduler in virtual time |
//!
//! Invariant: nothing here is linked into the library. The library is `no_std` and free of dependencies; the launcher
//! shares only the package with it.

mod conf;
mod demo;
mod elf;
mod flamegraph;
mod heap_profile;
mod library;
mod pprof;
mod program;
mod refusal;
mod run;
mod settings;
mod sim;
mod symbols;

use clap::{Parser, Subcommand};
use refusal::{LAUNCHER_FAILED, Refusal};
use std::process::ExitCode;

const ABOUT: &str = "Run programs on the Fairground memory allocator";

const EXAMPLES: &str = "\
Examples:
  fairground run -- python3 script.py          run a program on Fairground
  fairground run --library ./lib.so -- ls -l   preload another library
  env $(fairground run --print-env) make       the setting alone, for other tools
  fairground run --leaks -- ./program          report what it never frees
  fairground run --stats -- ./program          print tables of its heap at exit
  fairground conf                              list what can be configured, for run --conf
  fairground demo                              measure real programs on both allocators
  fairground demo --quick --json demo.json     one round, and the figures as JSON
  fairground sim --cpus 64 --workload tenants  the scheduler of green threads, in virtual time

Exit status:
  of `run`, the program's own; otherwise
  125  the launcher itself failed (bad arguments, library not found or not usable)
  126  the program was found but cannot be run on Fairground (the reason is printed)
  127  the program was not found
  of `demo`, 0 if all answers agree, 1 if any differs or a program failed, 125 as above

Environment:
  FAIRGROUND_LIBRARY  path of libfairground.so, where --library is not given
  FAIRGROUND_CONF     the allocator's configuration (see `fairground conf`); what options of `run` stand for is
                      added to it, and has the last word
  LD_PRELOAD          libraries already listed are kept, after Fairground";

#[derive(Parser)]
#[command(name = "fairground", version, about = ABOUT, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with libfairground.so preloaded
    #[command(after_help = run::HELP)]
    Run(run::Options),
    /// List the keys of the allocator's configuration, with defaults and allowed values
    #[command(after_help = conf::HELP)]
    Conf(conf::ListOptions),
    /// Run real programs on the system's allocator and on Fairground, side by side
    #[command(after_help = demo::HELP)]
    Demo(demo::Options),
    /// Draw a heap profile as a flame graph
    #[command(after_help = flamegraph::HELP)]
    Flamegraph(flamegraph::Options),
    /// Simulate the runtime's scheduler on a machine of any size, and compare policies
    #[command(after_help = sim::HELP)]
    Sim(sim::Options),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // --help and --version arrive here too; they are no failure. clap's own status for bad usage would be 2,
            // which a caller could not tell from the program's.
            let status = if error.use_stderr() { LAUNCHER_FAILED } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let result = match arguments.action {
        Action::Run(options) => run::run(options),
        Action::Conf(options) => conf::list(options),
        Action::Demo(options) => demo::demo(options),
        Action::Flamegraph(options) => flamegraph::flamegraph(options),
        Action::Sim(options) => sim::sim(options),
    };
    result.unwrap_or_else(|refusal: Refusal| {
        eprintln!("{refusal}");
        ExitCode::from(refusal.status())
    })
}
