//! How far a runtime's cpus are apart, by their processors' places in the machine: what balancing asks for.

use super::{CpuId, Topology};
use crate::sched::balance::{Distance, Distances};

/// The distances between all pairs of cpus, looked up by their indices.
pub(crate) struct Near {
    cpus: usize,
    distances: Box<[Distance]>,
}

impl Topology {
    /// Of cpus that are at these places, in this order.
    pub(crate) fn near(&self, places: &[CpuId]) -> Near {
        let cpus: Vec<_> = places.iter().map(|place| self.cpu(*place)).collect();
        let same = |a: usize, b: usize| a == b || places[a] == places[b];
        let distance = |a: usize, b: usize| match (cpus[a], cpus[b]) {
            _ if same(a, b) => Distance::Same,
            (Some(a), Some(b)) if a.core == b.core => Distance::Sibling,
            (Some(a), Some(b)) if a.cache == b.cache => Distance::Cache,
            (Some(a), Some(b)) if a.node != b.node => Distance::Far,
            (Some(_), None) | (None, Some(_)) => Distance::Far,
            _ => Distance::Node,
        };
        let distances = (0..cpus.len()).flat_map(|a| (0..cpus.len()).map(move |b| distance(a, b))).collect();
        Near { cpus: places.len(), distances }
    }
}

impl Distances for Near {
    fn distance(&self, a: usize, b: usize) -> Distance {
        self.distances[a * self.cpus + b]
    }
}
