//! How many user-space instructions a call takes, and how many it may take.
//!
//! Times on a shared machine move by tenths; instruction counts do not move at all, so they are what a test can hold. They
//! are necessary, not sufficient (a cache miss counts nothing): `fairground-compare` has the last word on speed.
//!
//! **What is counted.** Calls in a warm state where the block that was freed last is the next to be allocated, while some others
//! of its size are alive. A count is the
//! *inclusive* cost of the callee, from its first instruction to its `ret`, both included; the caller, its `call` and a PLT
//! entry are not. It is the mean over [`CALLS`] calls, and in this state all are alike.
//!
//! **How.** A driver program calls each function from one function of its own that calls nothing else (`measured_malloc`),
//! so the callee is whatever was called from there: aliases of a symbol do not matter, nor does where a tail call ends. All
//! setting up and warming up happens elsewhere. valgrind's callgrind executes the driver and writes the cost of each call
//! arc ([`callgrind`]). Unlike memcheck it leaves malloc alone. For each count it is checked that the callee lies in the
//! library that was to be measured.
//!
//! The C calls are made by `hot_calls` under LD_PRELOAD. The Rust calls are in `hot_layout`, whose global allocator is
//! Fairground, linked with fat LTO: there the non-constant calls are whole functions, and the pair with a constant `Layout` is
//! inlined into a loop, from which the same loop without the pair is subtracted.

pub mod callgrind;

use callgrind::Profile;
use std::path::Path;

/// Calls that are counted; before them a tenth as many warm up.
pub const CALLS: u64 = 10_000;

/// A mean may be above the budget by this much: one rare event (a counter that overflows) in many calls is no regression.
pub const TOLERANCE: f64 = 0.05;

/// One line of the table of budgets.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// What is called.
    pub call: &'static str,
    /// The greatest count allowed, from the first instruction to `ret`.
    pub instructions: u32,
    source: Source,
}

/// Where a count comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// `hot_calls SIZE`: what this function of it calls.
    Preloaded { size: usize, function: &'static str },
    /// `hot_layout`: this function itself.
    Linked { function: &'static str },
    /// `hot_layout`: a loop less the same loop without the calls, for each turn.
    LinkedLoop { with: &'static str, without: &'static str },
}

const fn preloaded(call: &'static str, instructions: u32, size: usize, function: &'static str) -> Budget {
    Budget { call, instructions, source: Source::Preloaded { size, function } }
}

/// The budgets, x86-64. They are those of the architecture document: each is a few instructions above the shortest path that
/// is known for the design, so that what exceeds one has added a branch, a load or a prologue to the hot path.
pub const BUDGETS: &[Budget] = &[
    preloaded("malloc(81)", 16, 81, "measured_malloc"),
    preloaded("free, 81 bytes", 17, 81, "measured_free"),
    preloaded("operator new(81)", 16, 81, "measured_new"),
    preloaded("operator delete, 81 bytes", 17, 81, "measured_delete"),
    preloaded("malloc(5,000)", 19, 5_000, "measured_malloc"),
    preloaded("free, 5,000 bytes", 17, 5_000, "measured_free"),
    preloaded("malloc(40,000)", 19, 40_000, "measured_malloc"),
    preloaded("free, 40,000 bytes", 40, 40_000, "measured_free"),
    preloaded("free_sized, 40,000 bytes", 16, 40_000, "measured_free_sized"),
    Budget {
        call: "dealloc with a Layout, 81 bytes",
        instructions: 13,
        source: Source::Linked { function: "measured_dealloc" },
    },
    Budget {
        call: "alloc and dealloc, constant Layout, inlined",
        instructions: 18,
        source: Source::LinkedLoop { with: "loop_with_pair", without: "loop_without_pair" },
    },
];

/// A count beside its budget.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The line of the table.
    pub budget: Budget,
    /// Instructions for each call; `None` where the library has no such function.
    pub instructions: Option<f64>,
}

impl Measured {
    /// Whether the count is within the budget.
    pub fn holds(&self) -> bool {
        self.instructions.is_some_and(|count| count <= f64::from(self.budget.instructions) + TOLERANCE)
    }
}

/// The counts of the C calls of one library (`None`: the C library's own), with `hot_calls` at `driver`.
pub fn measure_preloaded(driver: &Path, library: Option<&Path>, scratch: &Path) -> Result<Vec<Measured>, String> {
    let mut measured = Vec::new();
    let mut last: Option<(usize, Profile)> = None;
    for &budget in BUDGETS {
        let Source::Preloaded { size, function } = budget.source else { continue };
        if last.as_ref().is_none_or(|(profiled, _)| *profiled != size) {
            last = Some((size, callgrind::profile(driver, &[size.to_string(), CALLS.to_string()], library, scratch)?));
        }
        let (_, profile) = last.as_ref().expect("set above");
        let instructions = match profile.callees_of(function) {
            None => None,
            Some(calls) => {
                check_object(function, &calls.object, library)?;
                Some(calls.inclusive as f64 / calls.count as f64)
            }
        };
        measured.push(Measured { budget, instructions });
    }
    Ok(measured)
}

/// The counts of the Rust calls, with `hot_layout` at `driver`.
pub fn measure_linked(driver: &Path, scratch: &Path) -> Result<Vec<Measured>, String> {
    let profile = callgrind::profile(driver, &[CALLS.to_string()], None, scratch)?;
    let calls_of =
        |function: &str| profile.calls_to(function).ok_or_else(|| format!("callgrind saw no call of {function}"));
    let count = |source| match source {
        Source::Preloaded { .. } => Ok::<_, String>(None),
        Source::Linked { function } => {
            let calls = calls_of(function)?;
            Ok(Some(calls.inclusive as f64 / calls.count as f64))
        }
        Source::LinkedLoop { with, without } => {
            let difference = calls_of(with)?.inclusive.saturating_sub(calls_of(without)?.inclusive);
            Ok(Some(difference as f64 / CALLS as f64))
        }
    };
    let mut measured = Vec::new();
    for &budget in BUDGETS {
        if let Some(instructions) = count(budget.source)? {
            measured.push(Measured { budget, instructions: Some(instructions) });
        }
    }
    Ok(measured)
}

/// A preload that failed only warns; the counts would then silently be glibc's.
fn check_object(function: &str, object: &str, library: Option<&Path>) -> Result<(), String> {
    // valgrind 3.19 cannot name the objects of some libraries (Debian's tcmalloc). What it cannot name is not the C library.
    if object == "???" && library.is_some() {
        return Ok(());
    }
    let right = match library {
        Some(library) => {
            let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            real(Path::new(object)) == real(library)
        }
        // operator new lies in the C++ library even without a preload.
        None => object.contains("/libc.so") || object.contains("/libc-") || object.contains("/libstdc++.so"),
    };
    if right { Ok(()) } else { Err(format!("{function} called into {object}, not into the library to be measured")) }
}

/// The table, measured beside budget.
pub fn table(measured: &[Measured]) -> String {
    let mut out = format!("{:46} {:>9} {:>7}\n", "instructions for each call", "measured", "budget");
    for line in measured {
        let count = line.instructions.map_or_else(|| "absent".into(), |count| format!("{count:.2}"));
        let verdict = if line.holds() { "" } else { "  ABOVE" };
        out += &format!("{:46} {count:>9} {:>7}{verdict}\n", line.budget.call, line.budget.instructions);
    }
    out
}
