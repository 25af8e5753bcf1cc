//! Which bin a free chunk belongs to.
//!
//! *Small bins* (below 32 KiB) hold exactly one size; *large bins* an eighth of a doubling, like the size classes, so that
//! for a request of a class size every chunk of its bin is large enough.

/// Units (of 256 bytes) below which bins are exact: 32 KiB.
pub(crate) const SMALL_UNITS: u32 = 128;

/// Largest chunk: a region of 4 MiB.
pub(crate) const MAX_UNITS: u32 = 16_384;

/// Number of bins: exact ones, and eight for each doubling from 32 KiB to 4 MiB.
pub(crate) const NR_BINS: usize = SMALL_UNITS as usize + 7 * 8 + 1;

/// The bin for a free chunk of this many units.
#[inline]
pub(crate) fn bin_of(units: u32) -> usize {
    debug_assert!(units != 0 && units <= MAX_UNITS);
    if units < SMALL_UNITS {
        return units as usize;
    }
    let doubling = 31 - units.leading_zeros();
    let eighth = units >> (doubling - 3) & 7;
    SMALL_UNITS as usize + ((doubling - 7) * 8 + eighth) as usize
}

/// Which bins are not empty: a bit each.
#[derive(Debug, Default)]
pub(crate) struct BinMap([u64; NR_BINS.div_ceil(64)]);

impl BinMap {
    pub(crate) const fn new() -> BinMap {
        BinMap([0; NR_BINS.div_ceil(64)])
    }

    pub(crate) fn set(&mut self, bin: usize) {
        self.0[bin / 64] |= 1 << (bin % 64);
    }

    pub(crate) fn clear(&mut self, bin: usize) {
        self.0[bin / 64] &= !(1 << (bin % 64));
    }

    /// The first bin from `from` on that is not empty.
    pub(crate) fn first_from(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.0.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_ordered_by_size_and_cover_all() {
        let mut last = 0;
        for units in 1..=MAX_UNITS {
            let bin = bin_of(units);
            assert!(bin == last || bin == last + 1, "bin {bin} after {last} at {units} units");
            assert!(bin < NR_BINS);
            last = bin;
        }
        assert_eq!(last, NR_BINS - 1);
    }

    #[test]
    fn every_chunk_in_the_bin_of_a_class_size_is_large_enough() {
        use crate::slab::size_class::{NR_SLAB_CLASSES, SIZES};
        for (class, size) in SIZES.iter().enumerate().skip(NR_SLAB_CLASSES + 1) {
            let units = size / 256;
            let smallest_in_bin = (1..=MAX_UNITS).find(|&u| bin_of(u) == bin_of(units)).unwrap();
            assert_eq!(smallest_in_bin, units, "class {class}");
        }
    }

    #[test]
    fn the_map_finds_the_next_bin() {
        let mut map = BinMap::new();
        assert_eq!(map.first_from(0), None);
        for bin in [3, 64, 130, NR_BINS - 1] {
            map.set(bin);
        }
        assert_eq!(map.first_from(0), Some(3));
        assert_eq!(map.first_from(4), Some(64));
        assert_eq!(map.first_from(64), Some(64));
        assert_eq!(map.first_from(131), Some(NR_BINS - 1));
        map.clear(NR_BINS - 1);
        assert_eq!(map.first_from(131), None);
    }
}
