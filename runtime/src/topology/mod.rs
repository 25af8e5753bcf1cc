//! The machine's processors: packages, cores, siblings, capacities, caches, nodes, and how much of them this process may use.
//!
//! Plain data: [`Topology::detect`] reads it once from sysfs, the scheduler gets it as an argument, and so the scheduler's logic runs on
//! made-up machines just as well ([`Topology::new`]).
//!
//! | module | what it reads |
//! |---|---|
//! | `sysfs` | `/sys/devices/system/{cpu,node}`, `/sys/devices/cpu_{core,atom}` |
//! | `cgroup` | the CPU quota of the process's control group and all above it, versions 1 and 2 |
//! | `list` | the kernel's notation for sets of cpus |
//! | `shape` | nothing: machines that are made up |
//!
//! **Only cpus that the process may run on** are in it: those online and in its affinity mask. Cores, packages and caches are
//! told apart by them all, though: two hyper-threads are siblings whether or not the process may use both.
//!
//! **Nothing here fails.** A container without sysfs gives a flat topology: each cpu of the affinity mask a core, all alike. A file that makes no
//! sense counts as missing. Both are said in [`Topology::notes`].

mod cgroup;
mod list;
#[cfg(not(loom))]
mod near;
mod shape;
mod show;
mod sysfs;

pub use cgroup::Quota;
#[cfg(not(loom))]
pub(crate) use near::Near;
pub use shape::{Shape, ShapeError};

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

/// Numbers that name a thing, not to be mixed up.
macro_rules! number {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// By number.
            pub const fn new(number: u32) -> $name {
                $name(number)
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A logical processor (a hyper-thread, where there are such), by the kernel's number.
    CpuId
}
number! {
    /// A NUMA node, by the kernel's number.
    NodeId
}
number! {
    /// A package (socket), by the kernel's number.
    PackageId
}
number! {
    /// A physical core; counted from 0 over the whole machine.
    CoreId
}
number! {
    /// A last-level cache; counted from 0 over the whole machine.
    CacheId
}

/// How much work a core does, the fastest of the machine 1024, as the kernel has it (`cpu_capacity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capacity(u32);

impl Capacity {
    /// The fastest cores'.
    pub const FULL: Capacity = Capacity(1024);

    /// `capacity` brought into the range from 1 to 1024.
    pub fn new(capacity: u64) -> Capacity {
        Capacity(capacity.clamp(1, 1024) as u32)
    }

    /// From 1 to 1024.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A logical processor and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// Its core; cpus of the same core are siblings.
    pub core: CoreId,
    /// Its package.
    pub package: PackageId,
    /// Its NUMA node.
    pub node: NodeId,
    /// Its last-level cache.
    pub cache: CacheId,
    /// Bytes of that cache; 0 if unknown.
    pub cache_bytes: usize,
    /// How fast it is.
    pub capacity: Capacity,
}

impl Cpu {
    /// A core by itself in the first package and node.
    fn flat(id: CpuId, place: usize) -> Cpu {
        Cpu {
            id,
            core: CoreId(place as u32),
            package: PackageId(0),
            node: NodeId(0),
            cache: CacheId(0),
            cache_bytes: 0,
            capacity: Capacity::FULL,
        }
    }
}

/// How far apart nodes are, in the kernel's measure: 10 is a node's own memory, 20 takes twice as long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// To each node of the topology, in their order.
    pub distances: Vec<u32>,
}

/// A distance that nobody told: of a node to itself, and to others.
const LOCAL: u32 = 10;
const REMOTE: u32 = 20;

/// The cpus that this process may run on.
///
/// # Examples
/// ```
/// use fairground_runtime::topology::Topology;
///
/// let machine = Topology::detect();
/// println!("{machine}");
/// assert!(!machine.cpus().is_empty());
/// assert!(machine.workers().get() <= machine.cpus().len());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    cpus: Vec<Cpu>,
    nodes: Vec<Node>,
    quota: Option<Quota>,
    notes: Vec<String>,
}

impl Topology {
    /// Of this machine and process.
    pub fn detect() -> Topology {
        Topology::read(Path::new("/"), &sysfs::allowed())
    }

    /// From the files below `root`, as they are below `/`, with the cpus that are `allowed` (all that are online, if that is empty).
    pub fn read(root: &Path, allowed: &[CpuId]) -> Topology {
        let mut topology = sysfs::read(root, allowed);
        topology.quota = cgroup::quota(root);
        topology
    }

    /// A made-up one. Cpus are brought into the order of their ids, a later one of the same id is left out; no cpu at all gives cpu 0.
    /// Distances that are missing are 10 and 20, nodes that have cpus but are not in the list are added.
    ///
    /// # Examples
    /// ```
    /// use fairground_runtime::topology::*;
    ///
    /// let cpu = |id, core, node| Cpu {
    ///     id: CpuId::new(id),
    ///     core: CoreId::new(core),
    ///     package: PackageId::new(node),
    ///     node: NodeId::new(node),
    ///     cache: CacheId::new(node),
    ///     cache_bytes: 32 << 20,
    ///     capacity: Capacity::FULL,
    /// };
    /// let machine = Topology::new(vec![cpu(0, 0, 0), cpu(1, 0, 0), cpu(2, 1, 1)], Vec::new(), None);
    /// assert!(machine.are_siblings(CpuId::new(0), CpuId::new(1)));
    /// assert_eq!(machine.distance(NodeId::new(0), NodeId::new(1)), 20);
    /// ```
    pub fn new(mut cpus: Vec<Cpu>, mut nodes: Vec<Node>, quota: Option<Quota>) -> Topology {
        cpus.sort_by_key(|cpu| cpu.id);
        cpus.dedup_by_key(|cpu| cpu.id);
        if cpus.is_empty() {
            cpus.push(Cpu::flat(CpuId(0), 0));
        }
        let known: BTreeSet<_> = nodes.iter().map(|node| node.id).collect();
        let used: BTreeSet<_> = cpus.iter().map(|cpu| cpu.node).collect();
        nodes.extend(used.difference(&known).map(|&id| Node { id, distances: Vec::new() }));
        let count = nodes.len();
        for (at, node) in nodes.iter_mut().enumerate() {
            let told = node.distances.len();
            node.distances.truncate(count);
            node.distances.extend((told..count).map(|to| if to == at { LOCAL } else { REMOTE }));
        }
        Topology { cpus, nodes, quota, notes: Vec::new() }
    }

    /// `cpus` cores, all alike.
    pub fn flat(cpus: NonZeroUsize) -> Topology {
        let cpus = (0..cpus.get()).map(|at| Cpu::flat(CpuId(at as u32), at)).collect();
        Topology::new(cpus, Vec::new(), None)
    }

    /// By rising id; one at least. Ids need not begin at 0 nor be without gaps.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The cpu of an id; None if there is none, or the process may not use it.
    pub fn cpu(&self, id: CpuId) -> Option<&Cpu> {
        self.cpus.binary_search_by_key(&id, |cpu| cpu.id).ok().map(|at| &self.cpus[at])
    }

    /// All that are online, by their order in the kernel, those without usable cpus (memory only) too.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How far apart two nodes are: 10 is near. Nodes that nobody knows are 20 apart.
    pub fn distance(&self, from: NodeId, to: NodeId) -> u32 {
        let place = |id| self.nodes.iter().position(|node| node.id == id);
        match (place(from), place(to)) {
            (Some(from), Some(to)) => self.nodes[from].distances[to],
            _ if from == to => LOCAL,
            _ => REMOTE,
        }
    }

    /// Whether two cpus are hyper-threads of one core.
    pub fn are_siblings(&self, one: CpuId, other: CpuId) -> bool {
        one != other && self.alike(one, other, |cpu| cpu.core)
    }

    /// Whether two cpus have the same last-level cache.
    pub fn share_cache(&self, one: CpuId, other: CpuId) -> bool {
        self.alike(one, other, |cpu| cpu.cache)
    }

    fn alike<T: PartialEq>(&self, one: CpuId, other: CpuId, what: impl Fn(&Cpu) -> T) -> bool {
        matches!((self.cpu(one), self.cpu(other)), (Some(one), Some(other)) if what(one) == what(other))
    }

    /// How many physical cores the cpus belong to.
    pub fn cores(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.core).collect::<BTreeSet<_>>().len()
    }

    /// How much CPU time the control group gives, if it limits that.
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// How many workers can be busy at once: as many as there are cpus, or as the quota pays for, rounded up (with 1.5 cpus a single
    /// worker would leave a third unused).
    pub fn workers(&self) -> NonZeroUsize {
        let most = self.quota.map_or(usize::MAX, Quota::cpus_rounded_up);
        NonZeroUsize::new(self.cpus.len().min(most)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Where so many workers are best: fast cores first, of each core one cpu before any gets a second, near to each other. With more workers than cpus
    /// it begins anew.
    pub fn placement(&self, workers: NonZeroUsize) -> Vec<CpuId> {
        let mut seen = Vec::<(CoreId, usize)>::new();
        let mut ranked: Vec<_> = self
            .cpus
            .iter()
            .map(|cpu| {
                let before = match seen.iter_mut().find(|(core, _)| *core == cpu.core) {
                    Some((_, count)) => {
                        *count += 1;
                        *count
                    }
                    None => {
                        seen.push((cpu.core, 0));
                        0
                    }
                };
                (before, std::cmp::Reverse(cpu.capacity), cpu.node, cpu.cache, cpu.id)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(.., id)| id).cycle().take(workers.get()).collect()
    }

    /// What could not be found out, in words for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests;
