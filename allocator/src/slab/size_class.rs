//! Size classes: 16-byte steps to 128, then eight per doubling up to 256 KiB.
//!
//! The worst waste is 12.5 %, and all powers of two are classes, so power-of-two sizes are naturally aligned. Classes up to
//! [`SLAB_MAX`] are served by slabs, larger ones by the bins. Class 0 means 'none': it is what the granule table says of
//! memory that is not a slab.
//!
//! Everything here is a constant table or arithmetic that the compiler folds when the size is known.

/// Largest size from slabs: 8 objects and more fit a slab, so a slab is rarely kept alive by one.
pub(crate) const SLAB_MAX: usize = 8 << 10;

/// Largest size that has a class.
pub(crate) const CLASS_MAX: usize = 256 << 10;

/// Largest size looked up in the fine table, the one that lies in the heap itself.
pub(crate) const SMALL_MAX: usize = 1 << 10;

/// Steps of the two tables.
pub(crate) const SMALL_SHIFT: u32 = 4;
pub(crate) const MEDIUM_SHIFT: u32 = 7;

/// Entries of the fine table.
pub(crate) const SMALL_ENTRIES: usize = SMALL_MAX >> SMALL_SHIFT;

/// Entries of the coarse table.
pub(crate) const MEDIUM_ENTRIES: usize = CLASS_MAX >> MEDIUM_SHIFT;

/// Classes 1 to this are served by slabs.
pub(crate) const NR_SLAB_CLASSES: usize = 56;

/// Number of classes, with the unused class 0.
pub(crate) const NR_CLASSES: usize = 97;

/// A size class; 0 is none.
pub(crate) type Class = u8;

const fn sizes() -> [u32; NR_CLASSES] {
    let mut table = [0; NR_CLASSES];
    let mut class = 1;
    let mut size: u32 = 16;
    while class < NR_CLASSES {
        table[class] = size;
        let step = if size < 128 { 16 } else { (1 << (31 - size.leading_zeros())) / 8 };
        size += step;
        class += 1;
    }
    table
}

/// Bytes of each class's objects.
pub(crate) static SIZES: [u32; NR_CLASSES] = sizes();

const fn classes<const N: usize>(shift: u32) -> [u8; N] {
    let sizes = sizes();
    let mut table = [0; N];
    let (mut i, mut class) = (0, 1);
    while i < N {
        while (sizes[class] as usize) < (i + 1) << shift {
            class += 1;
        }
        table[i] = class as u8;
        i += 1;
    }
    table
}

/// Class by `(size - 1) >> SMALL_SHIFT`, up to [`SMALL_MAX`].
pub(crate) const SMALL_CLASSES: [u8; SMALL_ENTRIES] = classes(SMALL_SHIFT);

/// Class by `(size - 1) >> MEDIUM_SHIFT`, right above 1 KiB, where every class is a multiple of the step.
pub(crate) const MEDIUM_CLASSES: [u8; MEDIUM_ENTRIES] = classes(MEDIUM_SHIFT);

/// The same as a constant, for sizes known to the compiler.
pub(crate) const SIZES_CONST: [u32; NR_CLASSES] = sizes();

static SMALL: [u8; SMALL_ENTRIES] = SMALL_CLASSES;
static MEDIUM: [u8; MEDIUM_ENTRIES] = MEDIUM_CLASSES;

/// The class for a size between 1 and [`CLASS_MAX`]; a constant if the size is one.
#[inline(always)]
pub(crate) fn class_of(size: usize) -> Class {
    debug_assert!(size - 1 < CLASS_MAX);
    // The masks change nothing; they spare the bounds check.
    if size <= SMALL_MAX {
        SMALL[((size - 1) >> SMALL_SHIFT) & (SMALL_ENTRIES - 1)]
    } else {
        MEDIUM[((size - 1) >> MEDIUM_SHIFT) & (MEDIUM_ENTRIES - 1)]
    }
}

/// Bytes of a class's objects.
#[inline(always)]
pub(crate) fn size_of_class(class: Class) -> usize {
    SIZES[class as usize] as usize
}

/// The class whose objects hold `size` bytes and are all aligned to `align` (a power of two); None if such requests are
/// served by page runs. What `alloc` and a sized `dealloc` agree on.
#[inline(always)]
pub(crate) fn class_for(size: usize, align: usize) -> Option<Class> {
    if align <= 16 {
        return (size.wrapping_sub(1) < CLASS_MAX).then(|| class_of(size));
    }
    class_for_aligned(size, align)
}

/// Chunks of the bins start at multiples of this.
pub(crate) const CHUNK_ALIGN: usize = 256;

#[inline]
fn class_for_aligned(size: usize, align: usize) -> Option<Class> {
    let rounded = size.max(1).checked_next_multiple_of(align)?;
    if align <= SLAB_MAX && rounded <= SLAB_MAX {
        let mut class = class_of(rounded);
        while !size_of_class(class).is_multiple_of(align) {
            class += 1;
        }
        return Some(class);
    }
    (align <= CHUNK_ALIGN && size <= CLASS_MAX).then(|| class_of(rounded))
}

/// Bytes a heap may keep of one slab class, and of one class of the bins: the price of a fast path is memory that idle
/// threads sit on, so the cap is in bytes.
const SHEAF_BYTES: usize = 8 << 10;
const CHUNK_SHEAF_BYTES: usize = 64 << 10;

/// Objects a sheaf holds at most. 62 and the empty slot below them are 504 bytes, eight lines.
pub(crate) const SHEAF_MAX: usize = 62;

const fn capacities() -> [u16; NR_CLASSES] {
    let mut table = [0; NR_CLASSES];
    let mut class = 1;
    while class < NR_CLASSES {
        let size = SIZES_CONST[class] as usize;
        let (bytes, most, least) =
            if size <= SLAB_MAX { (SHEAF_BYTES, SHEAF_MAX, 4) } else { (CHUNK_SHEAF_BYTES, 4, 1) };
        let fits = bytes / size;
        let fits = if fits > most { most } else { fits };
        table[class] = (if fits < least { least } else { fits }) as u16;
        class += 1;
    }
    table
}

/// Objects in a full sheaf of each class.
pub(crate) static CAPACITIES: [u16; NR_CLASSES] = capacities();

const fn offsets() -> [u16; NR_CLASSES + 1] {
    let capacities = capacities();
    let mut table = [0; NR_CLASSES + 1];
    let mut class = 1;
    while class < NR_CLASSES {
        // One slot that stays empty lies below every sheaf: popping from an empty sheaf reads null.
        table[class + 1] = table[class] + capacities[class] + 1;
        class += 1;
    }
    table
}

const OFFSETS_CONST: [u16; NR_CLASSES + 1] = offsets();

/// Slot in the heap's array of the empty slot below each sheaf.
pub(crate) static OFFSETS: [u16; NR_CLASSES + 1] = OFFSETS_CONST;

/// Slots all sheaves of a heap take.
pub(crate) const NR_SLOTS: usize = OFFSETS_CONST[NR_CLASSES] as usize;

/// `ceil(2^32 / size)`: offset in slab to object number by one multiplication, exact below 64 KiB.
pub(crate) static RECIPROCALS: [u32; NR_SLAB_CLASSES + 1] = {
    let mut table = [0; NR_SLAB_CLASSES + 1];
    let mut class = 1;
    while class <= NR_SLAB_CLASSES {
        table[class] = (1u64 << 32).div_ceil(SIZES_CONST[class] as u64) as u32;
        class += 1;
    }
    table
};

const _: () = assert!(SIZES_CONST[NR_SLAB_CLASSES] as usize == SLAB_MAX);
const _: () = assert!(SIZES_CONST[NR_CLASSES - 1] as usize == CLASS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for size in 1..=CLASS_MAX {
            let class = class_of(size) as usize;
            assert!(SIZES[class] as usize >= size, "class {class} is too small for {size}");
            assert!(class == 1 || (SIZES[class - 1] as usize) < size, "class {class} is too large for {size}");
        }
    }

    #[test]
    fn waste_is_at_most_an_eighth_beyond_128_bytes() {
        for size in 129..=CLASS_MAX {
            let waste = size_of_class(class_of(size)) - size;
            assert!(waste * 8 <= size, "{waste} bytes wasted for {size}");
        }
    }

    #[test]
    fn aligned_classes_hold_the_size_and_keep_the_alignment() {
        for shift in 0..=16 {
            let align = 1usize << shift;
            for size in (1..9000).step_by(7).chain([8192, 12_000, 200_000, CLASS_MAX]) {
                let Some(class) = class_for(size, align) else {
                    assert!(align > CHUNK_ALIGN, "no class for {size} at {align}");
                    continue;
                };
                assert!(size_of_class(class) >= size);
                if class as usize <= NR_SLAB_CLASSES {
                    assert!(size_of_class(class).is_multiple_of(align.max(16)), "class {class} at {align}");
                } else {
                    assert!(align <= CHUNK_ALIGN);
                }
            }
        }
    }

    #[test]
    fn zero_and_huge_have_no_class() {
        assert_eq!(class_for(0, 8), None);
        assert_eq!(class_for(CLASS_MAX + 1, 8), None);
        assert_eq!(class_for(usize::MAX, 64), None);
    }

    #[test]
    fn reciprocals_are_exact() {
        for class in 1..=NR_SLAB_CLASSES {
            for offset in 0..65536u64 {
                let by_multiplication = (offset * RECIPROCALS[class] as u64) >> 32;
                assert_eq!(by_multiplication, offset / SIZES[class] as u64);
            }
        }
    }
}
