//! Seals: what lies behind a block while it is in use, and in it while it is free, so that writes which should not be show.
//!
//! A block of `size` bytes lies in a *slot*: an object of a slab, a chunk, a run, an extent. The slot's last eight bytes are
//! the *trailer*, the bytes between block and trailer the *slack*:
//!
//! ```text
//! in use  | block (size) ........................ | mark, 8 bytes of the slack | ... | mark ^ slack in each 16 bits |
//! free    | poison, 32 bytes ............................................. | ... | mark ^ FREED                  |
//! ```
//!
//! The *mark* is a keyed hash of the block's address, so neither its bytes nor those of another block can be put there by
//! accident; its lowest byte is not 0, so the most common overflow of all, a text's final zero, always changes it. The slack
//! is repeated in all four parts of the trailer: no change of one byte, or of up to six in a row, makes another valid slack. A
//! shorter slack than eight bytes holds as much of the mark as there is room for. So whatever is written directly behind the
//! block shows, unless it is what was there already. Beyond the first eight bytes of the slack nothing is looked at up to
//! the trailer: that memory is nobody's.
//!
//! *Poison* is one word of the process: at every free the first bytes of a block are filled with it ([`PREFIX`]), and sometimes
//! more ([`FULL`]). As a pointer it faults. With `zero_on_free` it is zero. What the trailer says when it is free (`FREED`,
//! `FREED_FULL`) is told from every slack, for those have four equal parts.
//!
//! The keys are drawn from what the kernel gave the process at its start, and constant before the first block. They are there
//! against accidents: a program that reads memory behind its blocks can learn them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a trailer.
pub(super) const TRAILER: usize = 8;

/// Bytes at the start of every freed block that are poisoned: what programs write to after a free is mostly the first fields of
/// a structure.
pub(super) const PREFIX: usize = 32;

/// Bytes poisoned in one of `hardened_sample` freed blocks, so that a write anywhere in it is seen sometimes.
pub(super) const FULL: usize = 1024;

/// Largest slack a trailer can name.
pub(super) const SLACK_MAX: usize = u16::MAX as usize;

/// What the trailer of a free block differs from its mark by; in the byte an overflow reaches last.
const FREED: u64 = 1 << 56;

/// The same, if [`FULL`] bytes are poisoned.
const FREED_FULL: u64 = 2 << 56;

/// Repeats 16 bits four times.
const LANES: u64 = 0x0001_0001_0001_0001;

/// Which bits of a word hold the first 0 to 8 bytes.
static MASKS: [u64; 9] =
    [0, 0xff, 0xffff, 0xff_ffff, u32::MAX as u64, (1 << 40) - 1, (1 << 48) - 1, (1 << 56) - 1, u64::MAX];

static SECRET: AtomicU64 = AtomicU64::new(0);
static FACTOR: AtomicU64 = AtomicU64::new(1);
static POISON: AtomicU64 = AtomicU64::new(0);

/// Draws the keys; before the first block. Returns a number to begin random choices with.
pub(super) fn draw_keys(zero: bool) -> u64 {
    // SAFETY: the kernel leaves 16 random bytes where this says, or there are none.
    let random = unsafe {
        let bytes = libc::getauxval(libc::AT_RANDOM) as *const [u64; 2];
        if bytes.is_null() { [0x0123_4567_89ab_cdef; 2] } else { bytes.read_unaligned() }
    };
    // libc makes its own secrets of the same bytes, so ours are a hash of them.
    let mut state = random[0] ^ random[1].rotate_left(32);
    SECRET.store(scramble(&mut state), Relaxed);
    FACTOR.store(scramble(&mut state) | 1, Relaxed);
    // No address of user space or the kernel's begins like this.
    let poison = scramble(&mut state) >> 16 | 0x5afe << 48;
    POISON.store(if zero { 0 } else { poison }, Relaxed);
    scramble(&mut state)
}

/// The next number of a sequence (SplitMix64).
pub(super) fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What a seal was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// In use, with this slack.
    Whole(usize),
    /// The block is free.
    Freed,
    /// Somebody wrote behind the block.
    Broken,
}

/// A block and where its trailer is.
#[derive(Clone, Copy)]
pub(super) struct Sealed {
    block: *mut u8,
    trailer: *mut u64,
    mark: u64,
}

impl Sealed {
    /// The block at the start of a slot of `slot` bytes.
    ///
    /// # Safety
    /// The slot is readable and writable while this is used.
    #[inline(always)]
    pub(super) unsafe fn in_slot(block: *mut u8, slot: usize) -> Sealed {
        let trailer = block.wrapping_add(slot - TRAILER).cast();
        Sealed { block, trailer, mark: mark(block) }
    }

    /// A block that ends at a guard: its trailer lies before it.
    ///
    /// # Safety
    /// The eight bytes before it and the block are readable and writable while this is used.
    pub(super) unsafe fn before_guard(block: *mut u8) -> Sealed {
        Sealed { block, trailer: block.wrapping_sub(TRAILER).cast(), mark: mark(block) }
    }

    #[inline(always)]
    fn read(&self) -> u64 {
        // SAFETY: by the constructors' callers.
        unsafe { self.trailer.read_unaligned() }
    }

    #[inline(always)]
    fn write(&self, value: u64) {
        // SAFETY: by the constructors' callers.
        unsafe { self.trailer.write_unaligned(value) }
    }

    /// Seals a block in use whose last `slack` bytes before the trailer are not the program's.
    #[inline(always)]
    pub(super) fn seal(&self, slack: usize) {
        debug_assert!(slack <= SLACK_MAX);
        // SAFETY: begins in the slack, and ends in it or in the trailer, which is written afterwards.
        unsafe { self.trailer.cast::<u8>().wrapping_sub(slack).cast::<u64>().write_unaligned(self.mark) };
        self.write(self.mark ^ (slack as u64).wrapping_mul(LANES));
    }

    /// Looks at the seal of a block that should be in use.
    #[inline(always)]
    pub(super) fn look(&self) -> Seal {
        let found = self.read() ^ self.mark;
        let slack = found & 0xffff;
        // Four equal parts.
        if found != found.rotate_left(16) {
            return if found & !(FREED | FREED_FULL) == 0 { Seal::Freed } else { Seal::Broken };
        }
        // SAFETY: as in `seal`; the trailer is valid, so the slack is what was written then.
        let behind = unsafe { self.trailer.cast::<u8>().wrapping_sub(slack as usize).cast::<u64>().read_unaligned() };
        if (behind ^ self.mark) & MASKS[(slack as usize).min(8)] != 0 {
            Seal::Broken
        } else {
            Seal::Whole(slack as usize)
        }
    }

    /// Seals a block before a guard whose last `slack` bytes are not the program's.
    pub(super) fn seal_guarded(&self, usable: usize, slack: usize) {
        self.write(self.mark ^ (slack as u64).wrapping_mul(LANES));
        for at in 0..slack {
            // SAFETY: the block's last bytes.
            unsafe { self.block.wrapping_add(usable - slack + at).write(self.byte(at)) };
        }
    }

    /// As `look`, for such a block.
    pub(super) fn look_guarded(&self, usable: usize) -> Seal {
        let found = self.read() ^ self.mark;
        let slack = (found & 0xffff) as usize;
        if found != (slack as u64).wrapping_mul(LANES) || slack >= usable {
            return Seal::Broken;
        }
        // SAFETY: the block's last bytes.
        let whole =
            (0..slack).all(|at| unsafe { self.block.wrapping_add(usable - slack + at).read() } == self.byte(at));
        if whole { Seal::Whole(slack) } else { Seal::Broken }
    }

    fn byte(&self, at: usize) -> u8 {
        self.mark.to_le_bytes()[at % 8]
    }

    /// Marks the block as free and poisons its first bytes.
    #[inline(always)]
    pub(super) fn free(&self) {
        let poison = POISON.load(Relaxed);
        let (room, words) = (self.room(), self.block.cast::<u64>());
        // SAFETY: within the room, which is 8 bytes more than a multiple of 16 or at least PREFIX.
        unsafe {
            if room >= PREFIX {
                words.cast::<[u64; PREFIX / 8]>().write_unaligned([poison; PREFIX / 8]);
            } else {
                words.write(poison);
                if room > 8 {
                    words.add(1).cast::<[u64; 2]>().write_unaligned([poison; 2]);
                }
            }
        }
        self.write(self.mark ^ FREED);
    }

    /// Poisons more of a block that [`Sealed::free`] has marked.
    #[cold]
    #[inline(never)]
    pub(super) fn poison_more(&self) {
        let poison = POISON.load(Relaxed);
        for at in 0..self.room().min(FULL) / 8 {
            // SAFETY: within the room.
            unsafe { self.block.cast::<u64>().wrapping_add(at).write(poison) };
        }
        self.write(self.mark ^ FREED_FULL);
    }

    /// Whether nobody wrote to a free block: its first bytes and its trailer. False also if more of it is poisoned, which
    /// [`Sealed::written`] tells.
    #[inline(always)]
    pub(super) fn is_untouched(&self) -> bool {
        let poison = POISON.load(Relaxed);
        let (room, words) = (self.room(), self.block.cast::<u64>());
        if self.read() ^ self.mark != FREED {
            return false;
        }
        // SAFETY: as in `free`.
        unsafe {
            if room >= PREFIX {
                return (0..PREFIX / 8).all(|at| words.add(at).read_unaligned() == poison);
            }
            words.read() == poison && (room <= 8 || words.add(1).read() == poison && words.add(2).read() == poison)
        }
    }

    /// The place of the first byte of a free block that somebody wrote to; None if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn written(&self) -> Option<usize> {
        let state = self.read() ^ self.mark;
        let poison = POISON.load(Relaxed);
        let poisoned = self.room().min(if state == FREED_FULL { FULL } else { PREFIX });
        let word = (0..poisoned / 8).find_map(|at| {
            // SAFETY: within the room.
            let differs = poison ^ unsafe { self.block.cast::<u64>().wrapping_add(at).read() };
            (differs != 0).then(|| at * 8 + differs.trailing_zeros() as usize / 8)
        });
        let trailer = state != FREED && state != FREED_FULL;
        word.or_else(|| trailer.then(|| self.trailer.addr() - self.block.addr()))
    }

    /// Whether the trailer is that of a block in use. For reports.
    pub(super) fn in_use(&self) -> bool {
        matches!(self.look(), Seal::Whole(_))
    }

    /// Removes the mark, so that the program does not find it in memory that becomes its own.
    pub(super) fn wipe(&self) {
        self.write(0);
    }

    pub(super) fn block(&self) -> *mut u8 {
        self.block
    }

    /// The block's address.
    pub(super) fn address(&self) -> usize {
        self.block.addr()
    }

    /// Bytes of the slot before the trailer.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        self.trailer.addr() - self.block.addr()
    }
}

/// The keyed hash of an address. The bytes are turned around, for the product's highest depend on all of the address.
#[inline(always)]
fn mark(block: *mut u8) -> u64 {
    (block.addr() as u64 ^ SECRET.load(Relaxed)).wrapping_mul(FACTOR.load(Relaxed)).swap_bytes() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Slot([u8; 256]);

    /// Runs `check` on a slot of each size with the keys drawn.
    fn each_slot(mut check: impl FnMut(&mut [u8; 256], usize)) {
        draw_keys(false);
        for slot in (16..=256).step_by(16) {
            check(&mut Slot([7; 256]).0, slot);
        }
    }

    #[test]
    fn any_change_of_up_to_six_bytes_behind_the_block_shows() {
        each_slot(|bytes, slot| {
            // SAFETY: the slot lies in the array.
            let sealed = unsafe { Sealed::in_slot(bytes.as_mut_ptr(), slot) };
            for size in slot.saturating_sub(24).max(1)..=slot - TRAILER {
                let slack = slot - TRAILER - size;
                sealed.seal(slack);
                assert_eq!(sealed.look(), Seal::Whole(slack));
                for change in [1u8, 0x80, 0xff] {
                    for len in 1..=6 {
                        bytes[size..size + len].iter_mut().for_each(|byte| *byte ^= change);
                        assert_ne!(sealed.look(), Seal::Whole(slack), "size {size} of {slot}, {len} bytes by {change}");
                        assert!(!sealed.in_use());
                        bytes[size..size + len].iter_mut().for_each(|byte| *byte ^= change);
                    }
                }
                let last = core::mem::replace(&mut bytes[size], 0);
                assert_ne!(last, 0);
                assert_eq!(sealed.look(), Seal::Broken, "a final zero");
                bytes[size] = last;
            }
        });
    }

    #[test]
    fn any_write_to_the_poisoned_bytes_shows_at_its_place() {
        each_slot(|bytes, slot| {
            // SAFETY: the slot lies in the array.
            let sealed = unsafe { Sealed::in_slot(bytes.as_mut_ptr(), slot) };
            for more in [false, true] {
                sealed.seal(0);
                sealed.free();
                if more {
                    sealed.poison_more();
                }
                assert_eq!(sealed.look(), Seal::Freed);
                assert_eq!((sealed.is_untouched(), sealed.written()), (!more, None));
                let poisoned = if more { slot - TRAILER } else { (slot - TRAILER).min(PREFIX) };
                for at in (0..poisoned).chain(slot - TRAILER..slot - 1) {
                    bytes[at] ^= 0x10;
                    assert!(!sealed.is_untouched(), "byte {at} of {slot}");
                    assert_eq!(sealed.written(), Some(at.min(slot - TRAILER)), "of {slot}");
                    bytes[at] ^= 0x10;
                }
            }
        });
    }
}
