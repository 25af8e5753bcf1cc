//! The launcher's one error type.
//!
//! An error that names the value and the rule but not the way out costs the reader a search. So a refusal cannot be
//! made without one: `what` (the fact, with the value), `remedy` (what to do now) and the exit status are all required.
//! The statuses are those of env(1), nohup(1) and their kin, so that scripts which know one know the other.

use std::fmt;

/// The launcher itself failed: bad arguments, no library.
pub const LAUNCHER_FAILED: u8 = 125;
/// The program is there, but cannot be run (with Fairground).
pub const CANNOT_RUN: u8 = 126;
/// There is no such program.
pub const NOT_FOUND: u8 = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u8,
    what: String,
    remedy: String,
}

impl Refusal {
    /// The launcher cannot do its own part.
    pub fn launcher(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: LAUNCHER_FAILED, what: what.into(), remedy: remedy.into() }
    }

    /// The program exists but running it on Fairground cannot work.
    pub fn cannot_run(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: CANNOT_RUN, what: what.into(), remedy: remedy.into() }
    }

    /// The program does not exist.
    pub fn not_found(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: NOT_FOUND, what: what.into(), remedy: remedy.into() }
    }

    /// The exit status the launcher ends with.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// What happened, without the remedy: for places with one line to spare.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fairground: {}\n  what to do: {}", self.what, self.remedy)
    }
}
