//! Seals: what lies behind a block while it is in use, and in it while it is free, so that writes which should not be show.
//!
//! A block of `size` bytes lies in a *slot*: an object of a slab, a chunk, a run, an extent. The slot's last eight bytes are
//! the *trailer*, the bytes between block and trailer the *slack*:
//!
//! ```text
//! in use  | block (size) .................. | mark, 8 bytes of the slack | ... | mark, and the slack in the last 2 bytes |
//! free    | poison, 32 bytes ....................................... | ... | mark, inverted                          |
//! ```
//!
//! The *mark* is one byte eight times, a keyed hash of the block's address: other than the neighbours' mostly, so that what is
//! copied from behind one of them differs. It is never 0, so the most common overflow of all, a text's final zero, always changes
//! it. Because it is the same byte all along, the eight bytes behind the block read as the mark wherever the block ends:
//! a slack of less than eight bytes is followed by the trailer, which begins with it. (The slack has its low byte last: in
//! a slack of 1 what is read ends with the high one, which is 0.) So whatever is written directly behind the block shows, unless it
//! is what was there already: one byte in 128 is, by chance. An overflow reaches the part of the trailer that names the
//! slack last. Beyond the first eight bytes of the slack nothing is looked at up to the trailer: that memory is nobody's.
//!
//! *Poison* is one word of the process: at every free the first bytes of a block are filled with it ([`PREFIX`]), and sometimes
//! more ([`FULL`]). As a pointer it faults. With `zero_on_free` it is zero. What the trailer says when it is free (`FREED`,
//! `FREED_FULL`) is larger than any slack.
//!
//! All this is done at every malloc and free. Hence one comparison instead of several wherever there was a choice, and
//! quantities of 16 bytes, which processors compare at once.
//!
//! The keys are drawn from what the kernel gave the process at its start, and constant before the first block. They are there
//! against accidents: a program that reads memory behind its blocks can learn them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a trailer.
pub(super) const TRAILER: usize = 8;

/// The smallest slot: then the first 16 bytes and the 16 before the trailer are poisoned, whatever its size.
pub(super) const SLOT_MIN: usize = 32;

/// Bytes at the start of every freed block that are poisoned, in two halves: what programs write to after a free is mostly the
/// first fields of a structure.
pub(super) const PREFIX: usize = 32;
const HALF: usize = PREFIX / 2;

/// Bytes poisoned in one of `hardened_sample` freed blocks, so that a write anywhere in it is seen sometimes.
pub(super) const FULL: usize = 1024;

/// Largest slack a trailer can name.
pub(super) const SLACK_MAX: usize = u16::MAX as usize;

/// What the trailer of a free block says: its bytes are the mark's, inverted.
const FREED: u64 = u64::MAX;

/// The same, if [`FULL`] bytes are poisoned.
const FREED_FULL: u64 = u64::MAX - 1;

/// Repeats 16 bits four times: so the slack of a block with a guard is written, for nothing else confirms it there.
const LANES: u64 = 0x0001_0001_0001_0001;

/// Repeats a byte eight times.
const BYTES: u64 = 0x0101_0101_0101_0101;

static FACTOR: AtomicU64 = AtomicU64::new(1);
// SAFETY: any bytes are a number.
static POISON: Poison = Poison(UnsafeCell::new(unsafe { core::mem::zeroed() }));

/// As many bytes as a processor compares at once.
#[cfg(target_arch = "x86_64")]
type Half = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Half = u128;

/// The poison, twice.
struct Poison(UnsafeCell<Half>);

// SAFETY: written before the first block, only read afterwards.
unsafe impl Sync for Poison {}

impl Poison {
    #[inline(always)]
    fn half(&self) -> Half {
        // SAFETY: constant since before the first block.
        unsafe { *self.0.get() }
    }

    fn word(&self) -> u64 {
        // SAFETY: as above; any bytes are a number.
        unsafe { *self.0.get().cast::<u64>() }
    }

    fn set(&self, word: u64) {
        // SAFETY: nobody reads it yet.
        unsafe { self.0.get().cast::<[u64; 2]>().write([word; 2]) };
    }
}

/// Whether both places hold the poison. Without a jump between them: compilers make one of plain comparisons.
///
/// # Safety
/// They are readable, the first is aligned.
#[inline(always)]
unsafe fn are_poisoned(first: *const Half, second: *const Half) -> bool {
    let poison = POISON.half();
    // SAFETY: by the caller; the instructions are part of every x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use core::arch::x86_64::{_mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8};
        let same = |half: Half| _mm_cmpeq_epi8(poison, half);
        _mm_movemask_epi8(_mm_and_si128(same(first.read()), same(second.read_unaligned()))) == 0xffff
    }
    // SAFETY: by the caller.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        (first.read() ^ poison) | (second.read_unaligned() ^ poison) == 0
    }
}

/// Draws the keys; before the first block. Returns a number to begin random choices with.
pub(super) fn draw_keys(zero: bool) -> u64 {
    // SAFETY: the kernel leaves 16 random bytes where this says, or there are none.
    let random = unsafe {
        let bytes = libc::getauxval(libc::AT_RANDOM) as *const [u64; 2];
        if bytes.is_null() { [0x0123_4567_89ab_cdef; 2] } else { bytes.read_unaligned() }
    };
    // libc makes its own secrets of the same bytes, so ours are a hash of them.
    let mut state = random[0] ^ random[1].rotate_left(32);
    FACTOR.store(scramble(&mut state) | 1, Relaxed);
    // No address of user space or the kernel's begins like this.
    let poison = scramble(&mut state) >> 16 | 0x5afe << 48;
    POISON.set(if zero { 0 } else { poison });
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

/// Where in a slot things are.
#[derive(Clone, Copy, Default)]
pub(super) struct Shape {
    /// Bytes before the trailer.
    pub(super) room: u32,
    /// Bytes before the second half of the poison; in the smallest slot the halves overlap.
    second: u32,
}

impl Shape {
    /// That of a slot of `slot` bytes.
    #[inline]
    pub(super) fn of(slot: usize) -> Shape {
        debug_assert!(slot >= SLOT_MIN && slot <= u32::MAX as usize);
        let room = slot - TRAILER;
        Shape { room: room as u32, second: room.min(PREFIX).saturating_sub(HALF) as u32 }
    }
}

/// A block and where its trailer is.
#[derive(Clone, Copy)]
pub(super) struct Sealed {
    block: *mut u8,
    /// Bytes from the block to its trailer; of a block with a guard, -8.
    room: usize,
    /// Bytes from the block to the second half of its poison.
    second: usize,
    mark: u64,
}

impl Sealed {
    /// The block at the start of a slot of `slot` bytes.
    ///
    /// # Safety
    /// The slot is readable and writable while this is used.
    #[inline(always)]
    pub(super) unsafe fn in_slot(block: *mut u8, slot: usize) -> Sealed {
        // SAFETY: by the caller.
        unsafe { Sealed::at(block, Shape::of(slot)) }
    }

    /// The block at the start of a slot of this shape.
    ///
    /// # Safety
    /// The slot is readable and writable while this is used.
    #[inline(always)]
    pub(super) unsafe fn at(block: *mut u8, shape: Shape) -> Sealed {
        Sealed { block, room: shape.room as usize, second: shape.second as usize, mark: mark(block) }
    }

    /// A block that ends at a guard: its trailer lies before it.
    ///
    /// # Safety
    /// The eight bytes before it and the block are readable and writable while this is used.
    pub(super) unsafe fn before_guard(block: *mut u8) -> Sealed {
        Sealed { block, room: 0usize.wrapping_sub(TRAILER), second: 0, mark: mark(block) }
    }

    #[inline(always)]
    fn trailer(&self) -> *mut u64 {
        self.block.wrapping_add(self.room).cast()
    }

    /// What the trailer says: a slack, [`FREED`], [`FREED_FULL`] or nonsense.
    #[inline(always)]
    fn state(&self) -> u64 {
        // SAFETY: by the constructors' callers.
        (unsafe { self.trailer().read_unaligned() } ^ self.mark).to_be()
    }

    #[inline(always)]
    fn set_state(&self, state: u64) {
        // SAFETY: by the constructors' callers.
        unsafe { self.trailer().write_unaligned(self.mark ^ state.to_be()) }
    }

    /// Seals a block of `size` bytes.
    #[inline(always)]
    pub(super) fn seal(&self, size: usize) {
        debug_assert!(size <= self.room && self.room - size <= SLACK_MAX);
        // SAFETY: begins in the slack, and ends in it or in the trailer, which is written afterwards.
        unsafe { self.block.wrapping_add(size).cast::<u64>().write_unaligned(self.mark) };
        self.set_state((self.room - size) as u64);
    }

    /// Looks at the seal of a block that should be in use.
    #[inline(always)]
    pub(super) fn look(&self) -> Seal {
        match self.slack(self.room.min(SLACK_MAX)) {
            Some(slack) => Seal::Whole(slack),
            None if self.state() >= FREED_FULL => Seal::Freed,
            None => Seal::Broken,
        }
    }

    /// Whether a block of a slab is in use, and its seal whole.
    #[inline(always)]
    pub(super) fn is_whole(&self) -> bool {
        debug_assert!(self.room <= SLACK_MAX);
        self.slack(self.room).is_some()
    }

    /// The slack of a block in use whose seal is whole; it is `most` bytes at most, which is within the slot.
    #[inline(always)]
    fn slack(&self, most: usize) -> Option<usize> {
        let slack = self.state();
        if slack > most as u64 {
            return None;
        }
        let slack = slack as usize;
        // SAFETY: within the slot, for the slack is.
        let behind = unsafe { self.trailer().cast::<u8>().wrapping_sub(slack).cast::<u64>().read_unaligned() };
        (behind == self.mark).then_some(slack)
    }

    /// Seals a block before a guard whose last `slack` bytes are not the program's.
    pub(super) fn seal_guarded(&self, usable: usize, slack: usize) {
        self.set_state(slack as u64 * LANES);
        // SAFETY: the block's last bytes.
        unsafe { self.block.wrapping_add(usable - slack).write_bytes(self.mark as u8, slack) };
    }

    /// As `look`, for such a block.
    pub(super) fn look_guarded(&self, usable: usize) -> Seal {
        let slack = (self.state() & 0xffff) as usize;
        if self.state() != slack as u64 * LANES || slack >= usable {
            return Seal::Broken;
        }
        // SAFETY: the block's last bytes.
        let byte = |at| unsafe { self.block.wrapping_add(usable - slack + at).read() };
        if (0..slack).all(|at| byte(at) == self.mark as u8) { Seal::Whole(slack) } else { Seal::Broken }
    }

    /// The two halves of the poisoned bytes.
    #[inline(always)]
    fn halves(&self) -> [*mut Half; 2] {
        [self.block.cast(), self.block.wrapping_add(self.second).cast()]
    }

    /// Marks the block as free and poisons its first bytes.
    #[inline(always)]
    pub(super) fn free(&self) {
        let [first, second] = self.halves();
        // SAFETY: within the room.
        unsafe {
            first.write(POISON.half());
            second.write_unaligned(POISON.half());
        }
        self.set_state(FREED);
    }

    /// Poisons more of a block that [`Sealed::free`] has marked.
    #[cold]
    #[inline(never)]
    pub(super) fn poison_more(&self) {
        for at in 0..self.room().min(FULL) / 8 {
            // SAFETY: within the room.
            unsafe { self.block.cast::<u64>().wrapping_add(at).write(POISON.word()) };
        }
        self.set_state(FREED_FULL);
    }

    /// Whether nobody wrote to a free block: its first bytes and its trailer. False also if more of it is poisoned, which
    /// [`Sealed::written`] tells.
    #[inline(always)]
    pub(super) fn is_untouched(&self) -> bool {
        let [first, second] = self.halves();
        // SAFETY: within the room.
        unsafe { are_poisoned(first, second) && self.state() == FREED }
    }

    /// The place of the first byte of a free block that somebody wrote to; None if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn written(&self) -> Option<usize> {
        let state = self.state();
        let poisoned = self.room.min(if state == FREED_FULL { FULL } else { PREFIX });
        let word = (0..poisoned / 8).find_map(|at| {
            // SAFETY: within the room.
            let differs = POISON.word() ^ unsafe { self.block.cast::<u64>().wrapping_add(at).read() };
            (differs != 0).then(|| at * 8 + differs.trailing_zeros() as usize / 8)
        });
        word.or_else(|| (state < FREED_FULL).then_some(self.room))
    }

    /// Whether the trailer is that of a block in use. For reports.
    pub(super) fn in_use(&self) -> bool {
        matches!(self.look(), Seal::Whole(_))
    }

    /// Removes the mark, so that the program does not find it in memory that becomes its own.
    pub(super) fn wipe(&self) {
        // SAFETY: by the constructors' callers.
        unsafe { self.trailer().write_unaligned(0) }
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
        self.room
    }
}

/// The mark of a block. Of the product the highest bits depend on all of the address.
#[inline(always)]
fn mark(block: *mut u8) -> u64 {
    ((block.addr() as u64).wrapping_mul(FACTOR.load(Relaxed)) >> 56 | 1) * BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Slot([u8; 256]);

    /// Runs `check` on a slot of each size with the keys drawn.
    fn each_slot(mut check: impl FnMut(&mut [u8; 256], usize)) {
        draw_keys(false);
        for slot in (SLOT_MIN..=256).step_by(16) {
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
                sealed.seal(size);
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
    fn nearly_all_changes_of_the_byte_before_the_next_block_show() {
        each_slot(|bytes, slot| {
            for size in 1..=slot - TRAILER {
                bytes.fill(8); // no mark: those are odd
                // SAFETY: the slot lies in the array.
                let sealed = unsafe { Sealed::in_slot(bytes.as_mut_ptr(), slot) };
                sealed.seal(size);
                let unseen = (1..=u8::MAX).filter(|change| {
                    bytes[slot - 1] ^= change;
                    let whole = sealed.is_whole();
                    bytes[slot - 1] ^= change;
                    whole
                });
                let (unseen, bound) = (unseen.count(), (slot - TRAILER - size).min(8));
                assert!(unseen <= bound, "size {size} of {slot}: {unseen} changes");
            }
        });
    }

    #[test]
    fn any_write_to_the_poisoned_bytes_shows_at_its_place() {
        each_slot(|bytes, slot| {
            // SAFETY: the slot lies in the array.
            let sealed = unsafe { Sealed::in_slot(bytes.as_mut_ptr(), slot) };
            for more in [false, true] {
                sealed.seal(slot - TRAILER);
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
