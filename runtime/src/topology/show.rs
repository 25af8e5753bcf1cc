//! A topology as a table, in the manner of `lscpu`.

use super::{Cpu, Topology, list};
use std::collections::BTreeMap;
use std::fmt;

/// "1 core", "2 cores".
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn size(bytes: usize) -> String {
    match bytes {
        0 => String::from("?"),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// The cpus by what `key` says of them, in order.
fn groups<K: Ord>(cpus: &[Cpu], key: impl Fn(&Cpu) -> K) -> BTreeMap<K, Vec<u32>> {
    let mut groups = BTreeMap::<K, Vec<u32>>::new();
    for cpu in cpus {
        groups.entry(key(cpu)).or_default().push(cpu.id.get());
    }
    groups
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: String| writeln!(f, "{name:<22}{text}");
        let cpus = self.cpus();
        let packages = groups(cpus, |cpu| cpu.package);
        let ids = list::show(cpus.iter().map(|cpu| cpu.id.get()));
        row("Usable cpus:", format!("{} ({ids})", cpus.len()))?;
        row("Cores, packages:", format!("{}, {}", counted(self.cores(), "core"), counted(packages.len(), "package")))?;
        for (capacity, cpus) in groups(cpus, |cpu| cpu.capacity).into_iter().rev() {
            row(&format!("Capacity {capacity}:"), list::show(cpus))?;
        }
        for ((cache, bytes), cpus) in groups(cpus, |cpu| (cpu.cache, cpu.cache_bytes)) {
            row(&format!("Last-level cache {cache}:"), format!("{} ({})", list::show(cpus), size(bytes)))?;
        }
        let mut on_nodes = groups(cpus, |cpu| cpu.node);
        for node in self.nodes() {
            let cpus = on_nodes.remove(&node.id).unwrap_or_default();
            let cpus = if cpus.is_empty() { String::from("none") } else { list::show(cpus) };
            let distances: Vec<_> = node.distances.iter().map(u32::to_string).collect();
            row(&format!("Node {}:", node.id), format!("{cpus}, distances {}", distances.join(" ")))?;
        }
        row("CPU quota:", self.quota().map_or_else(|| String::from("none"), |quota| quota.to_string()))?;
        row("Workers:", self.workers().to_string())?;
        for note in self.notes() {
            row("Note:", note.clone())?;
        }
        writeln!(f)?;
        writeln!(f, "{:>5} {:>5} {:>8} {:>5} {:>6} {:>9}", "CPU", "CORE", "PACKAGE", "NODE", "CACHE", "CAPACITY")?;
        for Cpu { id, core, package, node, cache, capacity, .. } in cpus {
            writeln!(f, "{id:>5} {core:>5} {package:>8} {node:>5} {cache:>6} {capacity:>9}")?;
        }
        Ok(())
    }
}
