//! How much CPU time the process's control groups give it.
//!
//! A group's quota binds all groups below it, so the least on the way from the process's own group to the root counts. In a container
//! the path that the kernel names may begin above what is mounted (version 1 without a namespace); the mount's own root is taken off it.

use std::fmt;
use std::fs;
use std::path::Path;

/// CPU time a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of CPU time that may be used in each period.
    pub quota_us: u64,
    /// Microseconds of a period; not 0.
    pub period_us: u64,
}

impl Quota {
    /// As a number of cpus: 1.5, say.
    pub fn cpus(self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }

    /// The cpus that are needed to use it up; 1 at least.
    pub fn cpus_rounded_up(self) -> usize {
        (self.quota_us.div_ceil(self.period_us.max(1)).max(1)).try_into().unwrap_or(usize::MAX)
    }

    fn is_less_than(self, other: Quota) -> bool {
        u128::from(self.quota_us) * u128::from(other.period_us)
            < u128::from(other.quota_us) * u128::from(self.period_us)
    }
}

impl fmt::Display for Quota {
    /// In cpus, to two places at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cpus", (self.cpus() * 100.0).round() / 100.0)
    }
}

/// The least of the process and all groups above it; None if there is no limit, or nothing is known of it.
pub(super) fn quota(root: &Path) -> Option<Quota> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let of_mount = |mount: Mount| {
        let group = groups.lines().find_map(|line| mount.version.path(line))?;
        // Outside of what is mounted: at least the mount's root counts.
        let below = group.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or(group).trim_start_matches('/');
        let top = root.join(mount.point.trim_start_matches('/'));
        let own = Path::new(below);
        let clean = !own.components().any(|part| part == std::path::Component::ParentDir);
        let own = if clean { top.join(own) } else { top.clone() };
        own.ancestors()
            .take_while(|group| group.starts_with(&top))
            .filter_map(|group| mount.version.limit(group))
            .reduce(least)
    };
    mounts.lines().filter_map(Mount::parse).filter_map(of_mount).reduce(least)
}

fn least(one: Quota, other: Quota) -> Quota {
    if other.is_less_than(one) { other } else { one }
}

#[derive(Clone, Copy)]
enum Version {
    /// With the controller `cpu`.
    One,
    Two,
}

impl Version {
    /// The process's group, if the line of `/proc/self/cgroup` is of this hierarchy.
    fn path(self, line: &str) -> Option<&str> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let found = match self {
            Version::One => controllers.split(',').any(|name| name == "cpu"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        found.then_some(path)
    }

    /// A group's own limit.
    fn limit(self, group: &Path) -> Option<Quota> {
        let read = |file: &str| fs::read_to_string(group.join(file)).ok();
        let (quota, period) = match self {
            Version::One => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
            Version::Two => {
                let limit = read("cpu.max")?;
                let (quota, period) = limit.trim().split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
        };
        // "max" and -1, no limit, are no such numbers.
        let (quota_us, period_us) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        (quota_us != 0 && period_us != 0).then_some(Quota { quota_us, period_us })
    }
}

struct Mount {
    version: Version,
    /// What of the hierarchy is mounted.
    root: String,
    point: String,
}

impl Mount {
    /// From a line of `/proc/self/mountinfo`, if it is one of ours.
    fn parse(line: &str) -> Option<Mount> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
        let mut system = system.split(' ');
        let (kind, _source, options) = (system.next()?, system.next()?, system.next()?);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|option| option == "cpu") => Version::One,
            _ => return None,
        };
        Some(Mount { version, root, point })
    }
}

/// Blanks and backslashes are in octal there.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}
