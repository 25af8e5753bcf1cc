//! The check at exit: what lies in a sheaf has been freed by the program but not yet looked at.
//!
//! A short program may end before a sheaf is flushed; this finds what a flush would have found, without changing anything.

use crate::bins;
use crate::direct::wrong_class;
use crate::memblock::{MEMBLOCK, granule};
use crate::report::{Misuse, misuse};
use crate::slab::size_class::{Class, NR_SLAB_CLASSES, RECIPROCALS, size_of_class};
use crate::slab::slab::{SLAB_BYTES, Slab};
use crate::zone::node::slab_at;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

/// A bit for each address, by a hash: only if it is set already can the address have been there before.
struct Seen([u64; 16]);

impl Seen {
    #[inline]
    fn bit(address: usize) -> (usize, u64) {
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
        (hash as usize / 64, 1 << (hash % 64))
    }

    #[inline]
    fn insert(&mut self, address: usize) -> bool {
        let (word, bit) = Seen::bit(address);
        let known = self.0[word] & bit != 0;
        self.0[word] |= bit;
        known
    }
}

/// Reports what in a sheaf is not an object in use of its class, or is there twice.
pub(crate) fn check_sheaf(class: Class, objects: &[*mut u8]) {
    let size = size_of_class(class);
    let medium = class as usize > NR_SLAB_CLASSES;
    let mut seen = Seen([0; 16]);
    let (mut granule_start, mut slab) = (0, null_mut::<Slab>());
    for (at, &object) in objects.iter().enumerate().filter(|(_, object)| !object.is_null()) {
        let address = object.addr();
        if address & !(SLAB_BYTES - 1) != granule_start || medium {
            let Some(index) = MEMBLOCK.index_of(address) else {
                misuse("free", address, Misuse::Foreign);
                continue;
            };
            let byte = MEMBLOCK.granule(index).load(Relaxed);
            if byte != class && !(medium && granule::is_bins(byte)) {
                wrong_class(address, index, size);
                continue;
            }
            if medium && bins::chunk_class(address, index) != Some(class) {
                misuse("free", address, Misuse::NotAllocated);
                continue;
            }
            (granule_start, slab) = (address & !(SLAB_BYTES - 1), slab_at(index));
        }
        if !medium {
            let offset = address - granule_start;
            let number = ((offset as u64 * RECIPROCALS[class as usize] as u64) >> 32) as usize;
            if number * size != offset {
                misuse("free", address, Misuse::Interior { start: address - offset + number * size, size });
                continue;
            }
            // SAFETY: the granule byte says that a slab is here; what lies in a sheaf counts as in use, so it stays.
            let slab = unsafe { &*slab };
            if number >= slab.objects as usize {
                misuse("free", address, Misuse::NotAllocated);
            } else if slab.is_free(number) {
                misuse("free", address, Misuse::DoubleFree { size });
            }
        }
        if seen.insert(address) && objects[..at].contains(&object) {
            misuse("free", address, Misuse::DoubleFree { size });
        }
    }
}
