//! Slabs and bins without a cache in between: for what leaves a sheaf, and for threads that have no heap any more.
//!
//! This is where the pointers a program freed meet the metadata, so where a wrong one shows at the latest.

use crate::bins::{self, BadChunk};
use crate::kmem;
use crate::memblock::{MEMBLOCK, NodeId, granule};
use crate::page::PageIndex;
use crate::pressure::{self, Pressure};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, NR_CLASSES, NR_SLAB_CLASSES, RECIPROCALS, size_of_class};
use crate::slab::slab::{SLAB_BYTES, Slab};
use crate::zone::node::{SlabBacking, bins_of, node, node_of, slab_at};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

/// What to do about an object in a sheaf that is free already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The program freed it twice: report it. It is skipped, should the process go on.
    Report,
    /// The sheaf was caught in the middle of a step by fork: skip it.
    Tolerate,
}

/// Allocates one object without a heap: for threads that have none any more.
pub(crate) fn alloc_direct(class: Class) -> *mut u8 {
    let Some(node) = node(NodeId(0)) else { return null_mut() };
    if class as usize > NR_SLAB_CLASSES {
        let mut found = null_mut();
        node.bins[0].alloc(&node.zone, class, 1, |chunk| found = chunk.address);
        return found;
    }
    let cache = &node.caches[class as usize];
    let backing = SlabBacking { node, class };
    loop {
        let slab = cache.hold_slab(&backing);
        if slab.is_null() {
            return null_mut();
        }
        let mut object: *mut u8 = null_mut();
        // SAFETY: held here, and let go of here.
        unsafe {
            if (*slab).take((&raw mut object).add(1), 1) != 0 {
                cache.let_go(slab, &backing);
                return object;
            }
            if cache.exhausted(slab, &backing) {
                cache.let_go(slab, &backing);
            }
        }
    }
}

/// Returns objects that were in a sheaf to their slabs or to the bins. This is where a wrong pointer shows at the latest.
pub(crate) fn give_back(class: Class, objects: &[*mut u8], strictness: Strictness) {
    if class as usize > NR_SLAB_CLASSES {
        for &chunk in objects.iter().filter(|chunk| !chunk.is_null()) {
            give_back_chunk(chunk, class, strictness);
        }
        return;
    }
    let size = size_of_class(class);
    let reciprocal = RECIPROCALS[class as usize] as u64;
    // Objects of one slab often follow each other: their bits are set word by word, their count subtracted once.
    let mut run = Run { slab: null_mut(), page: PageIndex::NONE, word: 0, mask: 0, count: 0 };
    for &object in objects {
        let address = object.addr();
        if object.is_null() {
            continue; // a sized free of null
        }
        let Some(index) = MEMBLOCK.index_of(address) else {
            misuse("free", address, Misuse::Foreign);
            continue;
        };
        if MEMBLOCK.granule(index).load(Relaxed) != class {
            // Otherwise it was named twice, and its slab went with the last object.
            if strictness == Strictness::Report {
                wrong_class(address, index, size);
            }
            continue;
        }
        let offset = address % SLAB_BYTES;
        let number = ((offset as u64 * reciprocal) >> 32) as usize;
        if number * size != offset {
            misuse("free", address, Misuse::Interior { start: address - offset + number * size, size });
            continue;
        }
        let slab = slab_at(index);
        if !core::ptr::eq(run.slab, slab) {
            run.end(class, strictness);
            run = Run { slab, page: index, word: number / 64, mask: 0, count: 0 };
        } else if run.word != number / 64 {
            run.put(class, strictness);
            run.word = number / 64;
        }
        let bit = 1 << (number % 64);
        if run.mask & bit != 0 && strictness == Strictness::Report {
            misuse("free", address, Misuse::DoubleFree { size });
        }
        run.mask |= bit;
    }
    run.end(class, strictness);
    pressure::raise(Pressure::Pending);
}

/// Objects of one slab on their way back.
struct Run {
    slab: *mut Slab,
    page: PageIndex,
    word: usize,
    mask: u64,
    count: u32,
}

impl Run {
    /// Sets the bits collected for one word.
    fn put(&mut self, class: Class, strictness: Strictness) {
        if self.mask == 0 {
            return;
        }
        // SAFETY: the objects count as in use until `settle`, so the slab exists.
        let slab = unsafe { &*self.slab };
        if self.word * 64 + (63 - self.mask.leading_zeros() as usize) >= slab.objects as usize {
            // The address of the highest: that one surely lies behind the last object.
            let number = self.word * 64 + (63 - self.mask.leading_zeros() as usize);
            misuse("free", slab.base().addr() + number * size_of_class(class), Misuse::NotAllocated);
            self.mask &= slab.objects_in(self.word);
            if self.mask == 0 {
                return;
            }
        }
        let mut newly = self.mask;
        if let Err(double) = slab.put(self.word, self.mask) {
            if strictness == Strictness::Report {
                let number = self.word * 64 + double.bits.trailing_zeros() as usize;
                let size = size_of_class(class);
                misuse("free", slab.base().addr() + number * size, Misuse::DoubleFree { size });
            }
            newly &= !double.bits;
        }
        self.count += newly.count_ones();
        self.mask = 0;
    }

    /// Sets the last bits and subtracts the objects; the slab may be gone afterwards.
    fn end(&mut self, class: Class, strictness: Strictness) {
        self.put(class, strictness);
        if self.count == 0 {
            return;
        }
        // SAFETY: as in `put`.
        let found = unsafe { (*self.slab).settle(self.count) };
        let node = node_of(self.page);
        node.caches[class as usize].after_free(self.slab, found, &SlabBacking { node, class });
    }
}

/// Reports a pointer whose granule is not of the class it was freed as.
#[cold]
pub(crate) fn wrong_class(address: usize, index: PageIndex, claimed: usize) {
    let class = MEMBLOCK.granule(index).load(Relaxed);
    let what = match class {
        granule::NONE => Misuse::NotAllocated,
        byte if granule::is_bins(byte) => Misuse::WrongSize { size: bins::chunk_size(index), claimed },
        granule::CACHE => Misuse::OfCache { name: kmem::cache::name_at(index) },
        _ if (class as usize) < NR_CLASSES => Misuse::WrongSize { size: size_of_class(class), claimed },
        _ => Misuse::NotAllocated,
    };
    misuse("free", address, what);
}

fn give_back_chunk(chunk: *mut u8, class: Class, strictness: Strictness) {
    let address = chunk.addr();
    let Some(index) = MEMBLOCK.index_of(address) else { return misuse("free", address, Misuse::Foreign) };
    if !granule::is_bins(MEMBLOCK.granule(index).load(Relaxed)) {
        // Otherwise as in `give_back`.
        if strictness == Strictness::Report {
            wrong_class(address, index, size_of_class(class));
        }
        return;
    }
    let node = node_of(index);
    match bins_of(index).free(&node.zone, address, index) {
        Ok(()) => {}
        Err(_) if strictness == Strictness::Tolerate => {}
        Err(BadChunk::Free) => misuse("free", address, Misuse::DoubleFree { size: size_of_class(class) }),
        Err(BadChunk::Inside) => misuse("free", address, Misuse::NotAllocated),
    }
}
