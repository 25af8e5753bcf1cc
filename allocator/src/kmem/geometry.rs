//! Where the objects of a typed cache lie in their slabs: arithmetic without memory.
//!
//! Objects follow each other at a *stride*, the size rounded up to the alignment. What is left of the 64 KiB is *slack*. The
//! first object need not lie at the slab's start: the slack is the room in which it moves, by one step a slab (*colouring*).
//! Without it the same field of all first objects lies in the same few sets of the processor's caches, and programs that
//! walk over objects of many slabs use those sets alone.

use super::error::CacheError;
use super::sheaf::SHEAF_SLOTS;
use crate::slab::slab::SLAB_BYTES;

/// Largest object: two fit a slab.
pub(crate) const OBJECT_MAX: usize = SLAB_BYTES / 2;

/// Largest alignment: what a page has.
pub(crate) const ALIGN_MAX: usize = 4096;

/// Least distance of two objects: what the bitmap of a granule has bits for.
const STRIDE_MIN: usize = 16;

/// Every object can hold a word, as everywhere in the kernel.
const ALIGN_MIN: usize = 8;

/// Bytes of a line of the processors' caches, and so a step of the colour.
pub(crate) const LINE: usize = 64;

/// Bytes a thread's sheaf of one cache may keep: as for size classes.
const SHEAF_BYTES: usize = 32 << 10;

/// See the module's text. All constant while the cache exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// What was asked for.
    pub(crate) size: u32,
    pub(crate) align: u32,
    /// Distance of two objects.
    pub(crate) stride: u32,
    /// Objects in a slab.
    pub(crate) objects: u16,
    /// Objects in a full sheaf.
    pub(crate) capacity: u16,
    /// `ceil(2^32 / stride)`: offset to object number by one multiplication, exact below 64 KiB.
    reciprocal: u32,
    colours: u32,
    colour_step: u32,
}

impl Geometry {
    /// For objects of `size` bytes at multiples of `align`; `line` raises the alignment so that no object lies in two lines
    /// if one can hold it, and larger objects start with one.
    pub(crate) const fn new(size: usize, align: usize, colouring: bool, line: bool) -> Result<Geometry, CacheError> {
        if size == 0 || size > OBJECT_MAX {
            return Err(CacheError::Size { size });
        }
        if !align.is_power_of_two() || align > ALIGN_MAX {
            return Err(CacheError::Align { align });
        }
        let mut align = if align < ALIGN_MIN { ALIGN_MIN } else { align };
        if line {
            let own = if size < LINE { size.next_power_of_two() } else { LINE };
            align = if own > align { own } else { align };
        }
        let stride = if size < STRIDE_MIN { STRIDE_MIN } else { size }.next_multiple_of(align);
        let objects = SLAB_BYTES / stride;
        let step = if align < LINE { LINE } else { align };
        let slack = SLAB_BYTES - objects * stride;
        let in_sheaf = SHEAF_BYTES / stride;
        let in_sheaf = if in_sheaf > SHEAF_SLOTS { SHEAF_SLOTS } else { in_sheaf };
        Ok(Geometry {
            size: size as u32,
            align: align as u32,
            stride: stride as u32,
            objects: objects as u16,
            // One to hand out and one that has come back: less would not be a cache.
            capacity: if in_sheaf < 2 { 2 } else { in_sheaf as u16 },
            reciprocal: (1u64 << 32).div_ceil(stride as u64) as u32,
            colours: if colouring { (slack / step) as u32 + 1 } else { 1 },
            colour_step: step as u32,
        })
    }

    /// Bytes between the start of the n-th slab and its first object.
    pub(crate) fn colour(&self, nth: u32) -> usize {
        (nth % self.colours * self.colour_step) as usize
    }

    /// The number of the object that starts `offset` bytes behind the first; None if none starts there.
    #[inline]
    pub(crate) fn number_at(&self, offset: usize) -> Option<usize> {
        if offset >= SLAB_BYTES {
            return None;
        }
        let number = self.number_around(offset);
        (number * self.stride as usize == offset && number < self.objects as usize).then_some(number)
    }

    /// The number of the object a byte of the slab lies in.
    pub(crate) fn number_around(&self, offset: usize) -> usize {
        ((offset as u64 * self.reciprocal as u64) >> 32) as usize
    }

    /// Objects that enter or leave a sheaf at once: half of it.
    pub(crate) fn batch(&self) -> usize {
        self.capacity.div_ceil(2) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memblock::GRANULE_BITMAP;

    fn some_sizes() -> impl Iterator<Item = usize> {
        (1..=300).chain((301..OBJECT_MAX).step_by(97)).chain([OBJECT_MAX - 1, OBJECT_MAX])
    }

    #[test]
    fn all_objects_of_every_colour_lie_in_the_slab_and_are_aligned() {
        for size in some_sizes() {
            for align in (0..=12).map(|shift| 1 << shift) {
                for (colouring, line) in [(true, false), (true, true), (false, false), (false, true)] {
                    let g = Geometry::new(size, align, colouring, line).expect("allowed");
                    assert!(g.stride as usize >= size && (g.stride as usize).is_multiple_of(align));
                    assert!(g.objects >= 2 && g.objects as usize <= GRANULE_BITMAP * 8);
                    assert!((2..=SHEAF_SLOTS).contains(&(g.capacity as usize)));
                    assert!(g.capacity as usize * g.stride as usize <= 2 * SHEAF_BYTES);
                    for nth in [0, 1, g.colours - 1, g.colours] {
                        let first = g.colour(nth);
                        assert!(first.is_multiple_of(align.max(8)), "colour {first} at {align}");
                        assert!(first + g.objects as usize * g.stride as usize <= SLAB_BYTES);
                    }
                    assert!(colouring || g.colour(1) == 0);
                }
            }
        }
    }

    #[test]
    fn colours_go_through_the_slack_by_lines_and_begin_again() {
        let g = Geometry::new(700, 8, true, false).expect("allowed");
        let slack = SLAB_BYTES - 93 * 704;
        assert_eq!(g.objects, 93);
        let colours = slack / LINE + 1;
        for nth in 0..3 * colours {
            assert_eq!(g.colour(nth as u32), nth % colours * LINE);
        }
    }

    #[test]
    fn an_offset_is_an_object_exactly_where_one_starts() {
        for size in some_sizes().step_by(7) {
            let g = Geometry::new(size, 8, true, false).expect("allowed");
            for offset in 0..SLAB_BYTES {
                let (number, rest) = (offset / g.stride as usize, offset % g.stride as usize);
                assert_eq!(g.number_around(offset), number);
                let expected = (rest == 0 && number < g.objects as usize).then_some(number);
                assert_eq!(g.number_at(offset), expected);
            }
            assert_eq!(g.number_at(SLAB_BYTES), None);
            assert_eq!(g.number_at(usize::MAX), None);
        }
    }

    #[test]
    fn with_line_alignment_no_small_object_lies_in_two_lines() {
        for size in 1..=LINE {
            let g = Geometry::new(size, 1, true, true).expect("allowed");
            for number in 0..g.objects as usize {
                let start = number * g.stride as usize;
                assert_eq!(start / LINE, (start + size - 1) / LINE, "object {number} of {size} bytes");
            }
        }
        for size in [LINE + 1, 100, 1000] {
            assert!(Geometry::new(size, 1, true, true).expect("allowed").align as usize == LINE);
        }
    }

    #[test]
    fn other_sizes_and_alignments_are_refused_with_their_value() {
        for size in [0, OBJECT_MAX + 1, usize::MAX] {
            assert_eq!(Geometry::new(size, 8, true, false).err(), Some(CacheError::Size { size }));
        }
        for align in [0, 3, 24, 8192, 1 << 63] {
            assert_eq!(Geometry::new(8, align, true, false).err(), Some(CacheError::Align { align }));
        }
    }
}
