//! The stacks of one size that no cpu has: the barn.
//!
//! Stacks move between cpus and the barn in *sheaves* of 32, by exchange of pointers under the lock. Putting a stack back neither
//! fails nor allocates, because there is always an empty sheaf: every sheaf's worth of stacks is constructed together with a sheaf
//! from the typed cache `stack_sheaf`, which stays; and each cpu's two sheaves, and the loose one in here, come on top of that. So, of
//! the sheaves that came with stacks, while a cpu holds two full ones of its own, not all can be full.
//!
//! | list | sheaves | order |
//! |---|---|---|
//! | `warm` | full, as they came back | last in, first out |
//! | `cold` | full, their pages given back | any |
//! | `empty` | empty | any |
//! | `loose` | one, partly filled: stacks that come and go singly | last in, first out |

use super::region::{Guards, Space, StackExtent};
use super::size::{CLASSES, StackSize};
use super::{Stack, StackError};
use crate::spin::Spin;
use crate::task::slab::Slab;
use corosensei::stack::StackPointer;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stacks that move at a time. A cpu keeps two sheaves: 64 stacks, each with its two or three warm pages. With more, less
/// would stay in the cpu's caches; with fewer, the lock is taken more often than every 32nd time.
pub(super) const SHEAF: usize = 32;

/// Warm sheaves a barn keeps at most (16,384 stacks, 64 MiB with a page each); pages of more go back at once, not by [`trim`].
const WARM_MOST: usize = 512;

/// Free stacks of one size.
#[derive(Debug)]
pub(super) struct Sheaf {
    /// In a list of the barn.
    next: Option<NonNull<Sheaf>>,
    len: usize,
    /// The first `len` are stacks' tops.
    tops: [Option<StackPointer>; SHEAF],
}

// SAFETY: a sheaf belongs to one cache, or to a barn under its lock, and so do the stacks in it.
unsafe impl Send for Sheaf {}

impl Sheaf {
    const fn new() -> Sheaf {
        Sheaf { next: None, len: 0, tops: [None; SHEAF] }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<StackPointer> {
        let at = self.len.checked_sub(1)?;
        self.len = at;
        *self.tops.get(at)?
    }

    /// False if it is full.
    #[inline]
    pub(super) fn push(&mut self, top: StackPointer) -> bool {
        let Some(place) = self.tops.get_mut(self.len) else { return false };
        *place = Some(top);
        self.len += 1;
        true
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == SHEAF
    }

    pub(super) fn room(&self) -> usize {
        SHEAF - self.len
    }

    fn fill_from(&mut self, other: &mut Sheaf) {
        while !self.is_full() {
            let Some(top) = other.pop() else { return };
            self.push(top);
        }
    }
}

/// Sheaves linked through themselves, with their number.
#[derive(Debug)]
struct List {
    first: Option<NonNull<Sheaf>>,
    len: usize,
}

impl List {
    const fn new() -> List {
        List { first: None, len: 0 }
    }

    fn push(&mut self, mut sheaf: NonNull<Sheaf>) {
        // SAFETY: the barn's: see the module's text.
        unsafe { sheaf.as_mut() }.next = self.first;
        self.first = Some(sheaf);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<Sheaf>> {
        let mut sheaf = self.first?;
        // SAFETY: as in `push`.
        self.first = unsafe { sheaf.as_mut() }.next.take();
        self.len -= 1;
        Some(sheaf)
    }
}

#[derive(Debug)]
struct Barn {
    warm: List,
    cold: List,
    empty: List,
    loose: Sheaf,
    /// The least number of warm sheaves since the last trim: that many were not needed.
    warm_least: usize,
}

// SAFETY: as for Sheaf.
unsafe impl Send for Barn {}

impl Barn {
    fn take_full(&mut self) -> Option<NonNull<Sheaf>> {
        let warm = self.warm.pop();
        self.warm_least = self.warm_least.min(self.warm.len);
        warm.or_else(|| self.cold.pop())
    }

    fn take_empty(&mut self) -> NonNull<Sheaf> {
        match self.empty.pop() {
            Some(sheaf) => sheaf,
            None => unreachable!("there are more sheaves than full ones"),
        }
    }
}

/// The stacks of one size that no cpu has.
#[derive(Debug)]
pub(crate) struct StackPool {
    size: StackSize,
    barn: Spin<Barn>,
    space: Mutex<Space>,
}

static POOLS: [StackPool; CLASSES] = {
    let mut pools = [const { StackPool::new(StackSize::MIN, Guards::Install) }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        pools[class].size = StackSize::of_class(class);
        class += 1;
    }
    pools
};

static SHEAVES: Slab<Sheaf> = Slab::new("stack_sheaf", Sheaf::new);

/// A sheaf without stacks.
pub(super) fn new_sheaf(size: StackSize) -> Result<NonNull<Sheaf>, StackError> {
    SHEAVES.alloc().ok_or(StackError::OutOfMemory { size })
}

/// # Safety
/// From [`new_sheaf`], empty, and nobody uses it any more.
pub(super) unsafe fn free_sheaf(sheaf: NonNull<Sheaf>) {
    // SAFETY: by the caller.
    unsafe { SHEAVES.free(sheaf) };
}

/// Counts of stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackStats {
    /// Constructed so far, all sizes. Those that are not free here are with cpus or in use.
    pub(crate) made: usize,
    /// Free in pools, as they came back.
    pub(crate) warm: usize,
    /// Free in pools, their pages given back.
    pub(crate) cold: usize,
}

impl StackStats {
    /// Of all sizes.
    pub(crate) fn now() -> StackStats {
        POOLS.iter().fold(StackStats::default(), |sum, pool| {
            let one = pool.stats();
            StackStats { made: sum.made + one.made, warm: sum.warm + one.warm, cold: sum.cold + one.cold }
        })
    }
}

/// Gives back the pages of free stacks in pools that nobody needed since the last call: called once in a while (about once a second,
/// by a cpu with nothing else to do), it gives memory back in time without taking what is about to be used. Returns the number
/// of stacks. At most `most` sheaves of 32, at about 40 us each.
pub(crate) fn trim(most: usize) -> usize {
    let mut left = most;
    POOLS.iter().map(|pool| pool.trim(&mut left)).sum()
}

impl StackPool {
    pub(super) const fn new(size: StackSize, guards: Guards) -> StackPool {
        let barn =
            Barn { warm: List::new(), cold: List::new(), empty: List::new(), loose: Sheaf::new(), warm_least: 0 };
        StackPool { size, barn: Spin::new(barn), space: Mutex::new(Space::new(guards)) }
    }

    /// The process's.
    pub(crate) fn of(size: StackSize) -> &'static StackPool {
        &POOLS[size.class()]
    }

    #[inline]
    pub(crate) fn size(&self) -> StackSize {
        self.size
    }

    /// Constructing stacks means system calls: a lock to sleep at.
    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn guards(&self) -> Guards {
        self.space().guards()
    }

    /// A stack, for who has no cache of this size.
    ///
    /// # Errors
    /// There is no memory, or no mapping for a guard.
    pub(crate) fn take(&'static self) -> Result<Stack, StackError> {
        let mut barn = self.barn.lock();
        if barn.loose.is_empty()
            && let Some(mut full) = barn.take_full()
        {
            // SAFETY: full ones in here are the barn's, whose lock is held.
            barn.loose.fill_from(unsafe { full.as_mut() });
            barn.empty.push(full);
        }
        if let Some(top) = barn.loose.pop() {
            return Ok(Stack { top, pool: self });
        }
        drop(barn);
        let mut fresh = self.construct()?;
        // SAFETY: ours until the barn has it.
        let sheaf = unsafe { fresh.as_mut() };
        let top = sheaf.pop().ok_or(StackError::OutOfMemory { size: self.size })?;
        while let Some(rest) = sheaf.pop() {
            self.put_top(rest);
        }
        self.barn.lock().empty.push(fresh);
        Ok(Stack { top, pool: self })
    }

    pub(super) fn put_top(&self, top: StackPointer) {
        let mut barn = self.barn.lock();
        if barn.loose.push(top) {
            return;
        }
        let mut full = barn.take_empty();
        // SAFETY: an empty one of the barn, whose lock is held.
        unsafe { full.as_mut() }.fill_from(&mut barn.loose);
        barn.loose.push(top);
        barn.warm.push(full);
    }

    /// A sheaf with stacks for an empty one.
    pub(super) fn exchange_empty(
        &self,
        mut sheaf: NonNull<Sheaf>,
    ) -> Result<NonNull<Sheaf>, (NonNull<Sheaf>, StackError)> {
        let mut barn = self.barn.lock();
        if let Some(full) = barn.take_full() {
            barn.empty.push(sheaf);
            return Ok(full);
        }
        if !barn.loose.is_empty() {
            // SAFETY: the caller's, who gives it for a moment.
            unsafe { sheaf.as_mut() }.fill_from(&mut barn.loose);
            return Ok(sheaf);
        }
        drop(barn);
        let fresh = self.construct().map_err(|error| (sheaf, error))?;
        self.barn.lock().empty.push(sheaf);
        Ok(fresh)
    }

    /// An empty sheaf for a full one.
    pub(super) fn exchange_full(&self, sheaf: NonNull<Sheaf>) -> NonNull<Sheaf> {
        let mut barn = self.barn.lock();
        let empty = barn.take_empty();
        if barn.warm.len < WARM_MOST {
            barn.warm.push(sheaf);
            return empty;
        }
        drop(barn);
        self.cool(sheaf);
        empty
    }

    /// Gives back what lies idle; `left` sheaves at most, from which it takes those.
    pub(super) fn trim(&self, left: &mut usize) -> usize {
        let mut idle = std::mem::take(&mut self.barn.lock().warm_least).min(*left);
        let mut trimmed = 0;
        while idle != 0 {
            let Some(sheaf) = self.barn.lock().warm.pop() else { break };
            self.cool(sheaf);
            (idle, trimmed) = (idle - 1, trimmed + SHEAF);
            *left -= 1;
        }
        let mut barn = self.barn.lock();
        barn.warm_least = barn.warm.len;
        trimmed
    }

    /// Pages back without the lock, then to the cold ones. Meanwhile the sheaf is full and nobody's.
    fn cool(&self, sheaf: NonNull<Sheaf>) {
        let size = self.size.bytes();
        // SAFETY: the caller took it out of the barn; nobody else has it.
        for top in unsafe { sheaf.as_ref() }.tops.iter().flatten() {
            // SAFETY: a free stack.
            unsafe { StackExtent { low: top.get() - size, size }.give_back() };
        }
        self.barn.lock().cold.push(sheaf);
    }

    /// A new sheaf with newly constructed stacks: the slow path of slow paths.
    #[cold]
    fn construct(&self) -> Result<NonNull<Sheaf>, StackError> {
        let mut sheaf = new_sheaf(self.size)?;
        // SAFETY: just allocated.
        let made = self.space().carve(self.size, unsafe { sheaf.as_mut() });
        made.map(|()| sheaf).inspect_err(|_| {
            // SAFETY: still empty, and nobody else knows it.
            unsafe { free_sheaf(sheaf) };
        })
    }

    /// Counts of this size.
    pub(crate) fn stats(&self) -> StackStats {
        let made = self.space().made();
        let barn = self.barn.lock();
        StackStats { made, warm: barn.warm.len * SHEAF + barn.loose.len, cold: barn.cold.len * SHEAF }
    }
}
