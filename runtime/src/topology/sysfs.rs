//! Processors as sysfs describes them (Documentation/admin-guide/cputopology.rst, Documentation/ABI/stable/sysfs-devices-node).

use super::{CacheId, Capacity, CoreId, Cpu, CpuId, LOCAL, Node, NodeId, PackageId, REMOTE, Topology, list};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What an efficiency core counts for, where the kernel gives no `cpu_capacity` but says which cores are of that kind: about 60 % of
/// a performance core. Of use for "which is faster", not for precise shares.
const EFFICIENCY: u64 = 614;

/// Cores whose highest frequencies differ by less are alike: of one kind, some chips let a favoured core run a little faster.
const FREQUENCY_TOLERANCE_PERCENT: u64 = 10;

/// The cpus of the process's affinity mask; empty if the kernel does not say.
pub(super) fn allowed() -> Vec<CpuId> {
    // `core_affinity` knows 1,024 cpus only. The kernel refuses masks shorter than its own, so longer ones are tried.
    let mut mask = vec![0u64; 16];
    loop {
        // SAFETY: writes at most so many bytes; of this thread.
        let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, mask.len() * 8, mask.as_mut_ptr()) };
        if written > 0 {
            let bits = |(at, word): (usize, &u64)| {
                let word = *word;
                (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| CpuId(at as u32 * 64 + bit))
            };
            return mask.iter().enumerate().flat_map(bits).collect();
        }
        if mask.len() >= 1024 {
            return Vec::new();
        }
        mask.resize(mask.len() * 2, 0);
    }
}

/// Files of a tree, and the first that made no sense.
struct Files<'a> {
    root: &'a Path,
    senseless: Option<String>,
}

impl Files<'_> {
    /// What `parse` makes of a file; None if it is missing or makes no sense.
    fn read<T>(&mut self, path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| parse(text.trim()));
        if parsed.is_none() && self.senseless.is_none() {
            self.senseless = Some(format!("/{path}"));
        }
        parsed
    }

    fn list(&mut self, path: &str) -> Option<Vec<u32>> {
        self.read(path, list::parse)
    }

    fn number(&mut self, path: &str) -> Option<u64> {
        self.read(path, |text| text.parse().ok())
    }
}

/// Numbers from 0 on for what is alike.
struct Numbering<K>(BTreeMap<K, u32>);

impl<K: Ord> Numbering<K> {
    fn of(&mut self, key: K) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(key).or_insert(next)
    }
}

/// All but the quota.
pub(super) fn read(root: &Path, allowed: &[CpuId]) -> Topology {
    let mut files = Files { root, senseless: None };
    let online = files.list("sys/devices/system/cpu/online").filter(|cpus| !cpus.is_empty());
    let usable: Vec<u32> = match &online {
        Some(online) => {
            online.iter().copied().filter(|&cpu| allowed.is_empty() || allowed.contains(&CpuId(cpu))).collect()
        }
        None => Vec::new(),
    };
    // A mask and a list that have nothing in common cannot both be right; the mask is what the kernel will enforce.
    let (Some(online), false) = (online, usable.is_empty()) else {
        let flat = allowed.iter().enumerate().map(|(at, &id)| Cpu::flat(id, at)).collect();
        let mut topology = Topology::new(flat, Vec::new(), None);
        let what = if allowed.is_empty() { "one cpu" } else { "the cpus of the affinity mask, all alike" };
        topology.notes.push(format!("sysfs does not describe the cpus; taken are {what}"));
        return topology;
    };

    let nodes = read_nodes(&mut files);
    let capacities = read_capacities(&mut files, &online);
    let (mut cores, mut caches) = (Numbering(BTreeMap::new()), Numbering(BTreeMap::new()));
    let mut cpus = Vec::with_capacity(usable.len());
    // All that are online are counted, so that numbers do not depend on the mask.
    for (&id, capacity) in online.iter().zip(capacities) {
        let dir = format!("sys/devices/system/cpu/cpu{id}");
        // -1 where there are no packages.
        let package = files.read(&format!("{dir}/topology/physical_package_id"), |text| text.parse::<i32>().ok());
        let package = PackageId(package.unwrap_or(0).max(0) as u32);
        let siblings = files
            .list(&format!("{dir}/topology/thread_siblings_list"))
            .or_else(|| files.list(&format!("{dir}/topology/core_cpus_list")))
            .filter(|siblings| siblings.contains(&id));
        let core = CoreId(cores.of(siblings.and_then(|siblings| siblings.first().copied()).unwrap_or(id)));
        let (shared, cache_bytes) = match read_last_cache(&mut files, &dir).filter(|(cpus, _)| cpus.contains(&id)) {
            Some((cpus, bytes)) => ((true, cpus[0]), bytes),
            // Machines that keep quiet about caches: those of a package are taken to share one.
            None => ((false, package.get()), 0),
        };
        let cache = CacheId(caches.of(shared));
        let node = nodes.iter().find(|(_, cpus)| cpus.contains(&id)).map_or(NodeId(0), |(node, _)| node.id);
        if usable.binary_search(&id).is_ok() {
            cpus.push(Cpu { id: CpuId(id), core, package, node, cache, cache_bytes, capacity });
        }
    }
    let nodes = nodes.into_iter().map(|(node, _)| node).collect();
    let mut topology = Topology::new(cpus, nodes, None);
    topology.notes.extend(files.senseless.map(|path| format!("{path} makes no sense and was passed over")));
    topology
}

/// Nodes with their cpus.
fn read_nodes(files: &mut Files<'_>) -> Vec<(Node, Vec<u32>)> {
    let ids = files.list("sys/devices/system/node/online").unwrap_or_default();
    let count = ids.len();
    let mut nodes = Vec::with_capacity(count);
    for (at, id) in ids.into_iter().enumerate() {
        let dir = format!("sys/devices/system/node/node{id}");
        let distances = files.read(&format!("{dir}/distance"), |text| {
            let row: Option<Vec<u32>> = text.split_whitespace().map(|distance| distance.parse().ok()).collect();
            row.filter(|row| row.len() == count)
        });
        let guess = || (0..count).map(|to| if to == at { LOCAL } else { REMOTE }).collect();
        let node = Node { id: NodeId(id), distances: distances.unwrap_or_else(guess) };
        nodes.push((node, files.list(&format!("{dir}/cpulist")).unwrap_or_default()));
    }
    nodes
}

/// The cpus that share the last-level cache, and its bytes.
fn read_last_cache(files: &mut Files<'_>, dir: &str) -> Option<(Vec<u32>, usize)> {
    let mut last: Option<(u64, Vec<u32>, usize)> = None;
    // The kernel numbers them without gaps; eight are twice what any machine has.
    for index in 0..8 {
        let dir = format!("{dir}/cache/index{index}");
        let Some(level) = files.number(&format!("{dir}/level")) else { continue };
        let code = files.read(&format!("{dir}/type"), |kind| Some(kind == "Instruction")).unwrap_or(false);
        if code || last.as_ref().is_some_and(|&(highest, ..)| highest >= level) {
            continue;
        }
        let Some(cpus) = files.list(&format!("{dir}/shared_cpu_list")) else { continue };
        let bytes = files.read(&format!("{dir}/size"), bytes).unwrap_or(0);
        last = Some((level, cpus, bytes));
    }
    last.map(|(_, cpus, bytes)| (cpus, bytes))
}

/// `32768K`.
fn bytes(text: &str) -> Option<usize> {
    let (number, shift) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 10),
        (at, 'M') => (&text[..at], 20),
        _ => (text, 0),
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// By the kernel's own word, else by the kind of core, else by the highest frequency.
fn read_capacities(files: &mut Files<'_>, online: &[u32]) -> Vec<Capacity> {
    let mut each = |file: &str| -> Option<Vec<u64>> {
        online.iter().map(|id| files.number(&format!("sys/devices/system/cpu/cpu{id}/{file}"))).collect()
    };
    let shares = |values: Vec<u64>| {
        let most = values.iter().copied().max().unwrap_or(1).max(1);
        values.into_iter().map(move |value| u128::from(value) * 1024 / u128::from(most)).map(|share| share as u64)
    };
    if let Some(capacities) = each("cpu_capacity") {
        return shares(capacities).map(Capacity::new).collect();
    }
    let frequencies = each("cpufreq/cpuinfo_max_freq");
    let small = files.list("sys/devices/cpu_atom/cpus").unwrap_or_default();
    let large = files.list("sys/devices/cpu_core/cpus").unwrap_or_default();
    if !small.is_empty() && !large.is_empty() {
        let capacity = |id| if small.contains(id) { Capacity::new(EFFICIENCY) } else { Capacity::FULL };
        return online.iter().map(capacity).collect();
    }
    let alike = 1024 * (100 - FREQUENCY_TOLERANCE_PERCENT) / 100;
    match frequencies {
        Some(frequencies) => {
            let capacity = |share| if share >= alike { Capacity::FULL } else { Capacity::new(share) };
            shares(frequencies).map(capacity).collect()
        }
        None => vec![Capacity::FULL; online.len()],
    }
}
