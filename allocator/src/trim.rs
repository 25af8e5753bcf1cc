//! Giving free memory back on request: for `malloc_trim`, and when a request has found none.

use crate::direct::Strictness;
use crate::kmem::table;
use crate::memblock::MEMBLOCK;
use crate::reclaim;
use crate::slab::size_class::{Class, NR_SLAB_CLASSES};
use crate::thread;
use crate::watch;
use crate::zone::node::{SlabBacking, nodes};

/// Gives free memory back to the system, keeping about `pad` bytes of it; true if any was given back. Whole pages between
/// blocks in use go as well. What other threads hold in their sheaves stays with them.
pub fn trim(pad: usize) -> bool {
    let mut bytes = 0;
    watch::let_go();
    if let Some(heap) = thread::existing() {
        heap.give_everything_back(Strictness::Report);
    }
    table::shrink_all();
    bytes += reclaim::sweep_typed();
    // One after the other with the passes: what they have away comes back first.
    let _guard = reclaim::lock().lock();
    for node in nodes() {
        for class in 1..=NR_SLAB_CLASSES {
            let backing = SlabBacking { node, class: class as Class };
            node.caches[class].shrink(&backing);
            bytes += reclaim::sweep(&node.caches[class], &backing);
        }
        for bins in &node.bins {
            bins.trim(&node.zone);
            bytes += bins.purge(&node.zone);
        }
        bytes += node.zone.purge(pad);
    }
    bytes != 0
}

/// Gives back what is cached, so that a failed request may succeed. False if that cannot help.
#[cold]
pub(crate) fn reclaim() -> bool {
    if !MEMBLOCK.ensure_ready() {
        return false;
    }
    trim(0);
    true
}
