//! Policies by name.

use super::eevdf::Eevdf;
use super::fcfs::FirstCome;
use super::priority::Priority;
use super::round_robin::RoundRobin;
use super::sjf::ShortestJob;
use super::{Cfs, Policy};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A policy: one of the [names](PolicyRef::NAMES), or [your own](PolicyRef::new). Clones are the same one.
///
/// # Examples
/// ```
/// use fairground_runtime::sched::policy::PolicyRef;
///
/// let policy: PolicyRef = "eevdf".parse()?;
/// assert_eq!(policy.name(), "eevdf");
/// let error = "efd".parse::<PolicyRef>().unwrap_err();
/// assert_eq!(error.to_string(), "policy 'efd': cfs, eevdf, rr, fcfs, sjf and priority are allowed");
/// # Ok::<(), fairground_runtime::sched::policy::PolicyError>(())
/// ```
#[derive(Clone, Default)]
pub struct PolicyRef(pub(in crate::sched) Kind);

/// CFS is known by its place, so that it can be called directly.
#[derive(Clone, Default)]
pub(in crate::sched) enum Kind {
    #[default]
    Cfs,
    Other(Arc<dyn Policy>),
}

impl PolicyRef {
    /// The names there are.
    pub const NAMES: [&str; 6] = [Cfs::NAME, "eevdf", "rr", "fcfs", "sjf", "priority"];

    /// One of your own.
    pub fn new(policy: impl Policy) -> PolicyRef {
        PolicyRef(Kind::Other(Arc::new(policy)))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Cfs => Cfs.name(),
            Kind::Other(policy) => policy.name(),
        }
    }

    #[inline]
    pub(in crate::sched) fn other(&self) -> Option<&dyn Policy> {
        match &self.0 {
            Kind::Cfs => None,
            Kind::Other(policy) => Some(&**policy),
        }
    }
}

impl FromStr for PolicyRef {
    type Err = PolicyError;

    fn from_str(name: &str) -> Result<PolicyRef, PolicyError> {
        match name {
            Cfs::NAME => Ok(PolicyRef(Kind::Cfs)),
            "eevdf" => Ok(PolicyRef::new(Eevdf)),
            "rr" => Ok(PolicyRef::new(RoundRobin)),
            "fcfs" => Ok(PolicyRef::new(FirstCome)),
            "sjf" => Ok(PolicyRef::new(ShortestJob)),
            "priority" => Ok(PolicyRef::new(Priority)),
            _ => Err(PolicyError(name.into())),
        }
    }
}

impl fmt::Debug for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyRef").field(&self.name()).finish()
    }
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError(Box<str>);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [most @ .., last] = PolicyRef::NAMES;
        write!(f, "policy '{}': {} and {last} are allowed", self.0, most.join(", "))
    }
}

impl std::error::Error for PolicyError {}
