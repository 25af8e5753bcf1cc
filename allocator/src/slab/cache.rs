//! The slabs of one size class on one node.
//!
//! A cache hands slabs to heaps (each heap holds at most one *current* slab a class) and takes objects back from anybody. Its
//! lock guards the list of partial slabs; taking objects from a held slab and giving objects back need no lock.
//!
//! Partial slabs wait in a queue: the one that waited longest has the most free objects by now, so one visit fills a sheaf.
//! A slab whose last object comes back leaves, unless it is the only one on the list: the next allocation would make it anew.
//!
//! Slabs that waited through a whole interval (`decay.rs`) have their free pages given back, and go to the end of the queue:
//! what is taken next is in memory still. Whoever does that holds the slab, as a heap does.

use super::slab::{Found, Slab, State};
use crate::decay::{Idle, Moment};
use crate::lock::Lock;
#[cfg(not(loom))]
use crate::lock::LockGuard;
use core::cell::Cell;

/// What the cache needs from the layers below; the models bring their own.
pub(crate) trait Backing {
    /// A new slab of this class, held by the caller (state Current, pinned), its granule byte published.
    fn new_slab(&self) -> *mut Slab;
    /// Whether a slab without objects in use, one of `listed` on the list, is to go. Called under the cache's lock.
    fn goes(&self, _slab: *mut Slab, listed: u32) -> bool {
        listed > 1
    }
    /// Whether `slab` still is a slab of this class. Called under the cache's lock.
    fn is_ours(&self, slab: *mut Slab) -> bool;
    /// The slab is going: withdraw the granule byte. Called under the cache's lock.
    fn retire(&self, slab: *mut Slab);
    /// The slab is gone from everybody's sight: give its pages back. Called without the lock.
    fn release(&self, slab: *mut Slab);
}

/// Slabs gone through in one step of decay at least: some milliseconds.
const STEP: usize = 256;

/// Slabs looked at without releasing the lock: others wait for a few microseconds.
const LOOK_AT_ONCE: usize = 32;

/// See the module's text.
pub(crate) struct Cache {
    lock: Lock,
    first: Cell<*mut Slab>,
    last: Cell<*mut Slab>,
    nr_partial: Cell<u32>,
    idle: Cell<Idle>,
}

// SAFETY: the cells are only touched under `lock`.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

impl Cache {
    /// A cache with nothing in it.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Cache {
        Cache {
            lock: Lock::new(),
            first: Cell::new(core::ptr::null_mut()),
            last: Cell::new(core::ptr::null_mut()),
            nr_partial: Cell::new(0),
            idle: Cell::new(Idle::new()),
        }
    }

    /// A cache with nothing in it.
    #[cfg(loom)]
    pub(crate) fn new() -> Cache {
        Cache {
            lock: Lock::new(),
            first: Cell::new(core::ptr::null_mut()),
            last: Cell::new(core::ptr::null_mut()),
            nr_partial: Cell::new(0),
            idle: Cell::new(Idle::new()),
        }
    }

    /// The lock, for `fork.rs`.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// State and count of a slab; None if it is not one of this class any more. Under the lock, whose guard shows that.
    #[cfg(not(loom))]
    pub(crate) fn look(&self, _guard: &LockGuard, slab: *mut Slab, backing: &impl Backing) -> Option<(Found, u16)> {
        // SAFETY: under the lock a slab of this class stays one, and its record is readable.
        backing.is_ours(slab).then(|| unsafe { ((*slab).look(), (*slab).objects) })
    }

    /// A slab for the caller to hold, from the list or new; null if there is no memory.
    pub(crate) fn hold_slab(&self, backing: &impl Backing) -> *mut Slab {
        {
            let _guard = self.lock.lock();
            let slab = self.first.get();
            if !slab.is_null() {
                self.hold(slab);
                // SAFETY: a slab on the list exists.
                unsafe { (*slab).swept.set(0) };
                self.update_idle(Idle::took_one);
                return slab;
            }
        }
        backing.new_slab()
    }

    /// Takes a listed slab for the caller to hold. Under the lock.
    fn hold(&self, slab: *mut Slab) {
        self.unlink(slab);
        // SAFETY: a slab on the list exists.
        let slab_ref = unsafe { &*slab };
        slab_ref.pin();
        slab_ref.change(State::Partial, State::Current);
    }

    /// The holder found nothing free in its slab: lets go of it. True if it turned out to have something and is held still.
    ///
    /// # Safety
    /// The caller holds `slab`.
    pub(crate) unsafe fn exhausted(&self, slab: *mut Slab, backing: &impl Backing) -> bool {
        // SAFETY: held, and pinned until `settle` below.
        let slab_ref = unsafe { &*slab };
        if slab_ref.become_full() {
            let _guard = self.lock.lock();
            // Pinned, so it exists; a freer may have listed it meanwhile, then it is no longer ours.
            if slab_ref.look().state == State::Full {
                slab_ref.change(State::Full, State::Current);
                return true;
            }
        }
        self.unpin(slab, backing);
        false
    }

    /// Drops the holder's pin. A full slab stays off the list: nothing was freed by this. If all its objects are back by
    /// now, the thread that freed the last of them saw Full and is on its way here.
    fn unpin(&self, slab: *mut Slab, backing: &impl Backing) {
        // SAFETY: pinned until this very step.
        let found = unsafe { (*slab).settle(1) };
        if found.state == State::Partial {
            self.after_free(slab, found, backing);
        }
    }

    /// The holder gives its slab back, with whatever is free in it (thread exit).
    ///
    /// # Safety
    /// The caller holds `slab`.
    pub(crate) unsafe fn let_go(&self, slab: *mut Slab, backing: &impl Backing) {
        // SAFETY: held, and pinned until `settle`.
        let slab_ref = unsafe { &*slab };
        {
            let _guard = self.lock.lock();
            slab_ref.change(State::Current, State::Partial);
            self.push(slab);
        }
        self.unpin(slab, backing);
    }

    /// What [`Slab::settle`] found may call for a change of lists. `slab` may be gone already.
    #[inline]
    pub(crate) fn after_free(&self, slab: *mut Slab, found: Found, backing: &impl Backing) {
        match found {
            Found { state: State::Current, .. } => {}
            Found { state: State::Partial, in_use } if in_use != 0 => {}
            _ => self.after_free_slow(slab, backing),
        }
    }

    #[cold]
    #[inline(never)]
    fn after_free_slow(&self, slab: *mut Slab, backing: &impl Backing) {
        let gone = {
            let _guard = self.lock.lock();
            if !backing.is_ours(slab) {
                return; // another thread was faster, and the granule is something else by now
            }
            // SAFETY: under the lock a slab of this class stays one.
            let slab_ref = unsafe { &*slab };
            if slab_ref.look().state == State::Full {
                slab_ref.change(State::Full, State::Partial);
                self.push(slab);
            }
            self.retire_if_empty(slab, |listed| backing.goes(slab, listed), backing)
        };
        if gone {
            backing.release(slab);
        }
    }

    /// Takes a listed slab without objects in use off the list, if it is to go. Under the lock.
    fn retire_if_empty(&self, slab: *mut Slab, goes: impl FnOnce(u32) -> bool, backing: &impl Backing) -> bool {
        // SAFETY: under the lock and ours.
        let found = unsafe { &*slab }.look();
        let goes = found == Found { state: State::Partial, in_use: 0 } && goes(self.nr_partial.get());
        if goes {
            self.unlink(slab);
            backing.retire(slab);
        }
        goes
    }

    /// Releases every empty slab. Returns how many.
    pub(crate) fn shrink(&self, backing: &impl Backing) -> usize {
        let mut released = 0;
        loop {
            let gone = {
                let _guard = self.lock.lock();
                let mut slab = self.first.get();
                while !slab.is_null() && !self.retire_if_empty(slab, |_| true, backing) {
                    // SAFETY: slabs on the list exist.
                    slab = unsafe { (*slab).next.get() };
                }
                slab
            };
            if gone.is_null() {
                return released;
            }
            backing.release(gone);
            released += 1;
        }
    }

    /// Has the free pages inside slabs given back that nobody needed: of the slabs that have waited longest, as many as are
    /// owed. `give_back` gets a slab that nobody takes objects from meanwhile. Returns whether something is still owed, and
    /// whether there may be more at the end of this interval.
    pub(crate) fn decay(
        &self,
        moment: Moment,
        backing: &impl Backing,
        shift: u32,
        give_back: impl Fn(&Slab),
    ) -> (bool, bool) {
        let due = {
            let _guard = self.lock.lock();
            self.update_idle(|idle| idle.advance(moment, self.nr_partial.get() as usize, 0, STEP));
            self.idle.get().due()
        };
        self.sweep(due, backing, shift, give_back);
        let _guard = self.lock.lock();
        // What was swept is still on the list, but owed no longer.
        self.update_idle(|idle| idle.paid(due));
        (self.idle.get().due() != 0, self.idle.get().may_grow())
    }

    /// As [`Cache::decay`], for all partial slabs there are now.
    pub(crate) fn sweep_all(&self, backing: &impl Backing, shift: u32, give_back: impl Fn(&Slab)) {
        let all = {
            let _guard = self.lock.lock();
            self.nr_partial.get()
        };
        self.sweep(all as usize, backing, shift, give_back);
    }

    /// Goes through the first `count` slabs of the list, moving them to its end.
    fn sweep(&self, count: usize, backing: &impl Backing, shift: u32, give_back: impl Fn(&Slab)) {
        let mut left = count;
        while left != 0 {
            let slab = {
                let _guard = self.lock.lock();
                match self.next_to_sweep(&mut left, shift) {
                    Some(slab) => slab,
                    None => continue,
                }
            };
            // SAFETY: held by this very call.
            unsafe {
                give_back(&*slab);
                self.let_go(slab, backing);
            }
        }
    }

    /// Takes the first slab that may have free pages which were not given back yet, moving others to the end of the list.
    /// None, with `left` zero, at the end; or for a while, with the lock released in between.
    fn next_to_sweep(&self, left: &mut usize, shift: u32) -> Option<*mut Slab> {
        for _ in 0..LOOK_AT_ONCE {
            let slab = self.first.get();
            if slab.is_null() {
                *left = 0;
            }
            if *left == 0 {
                return None;
            }
            *left -= 1;
            // SAFETY: a slab on the list exists.
            let slab_ref = unsafe { &*slab };
            // Counted before the bits are looked at: what is freed after that is found next time.
            let in_use = slab_ref.look().in_use;
            let seen = in_use as u16 + 1;
            if slab_ref.swept.get() != seen && !slab_ref.is_dense(in_use, shift) {
                slab_ref.swept.set(seen);
                self.hold(slab);
                return Some(slab);
            }
            self.unlink(slab);
            self.push(slab);
        }
        None
    }

    fn update_idle(&self, change: impl FnOnce(&mut Idle)) {
        let mut idle = self.idle.get();
        change(&mut idle);
        self.idle.set(idle);
    }

    /// Slabs on the list, and how many of them have no object in use.
    pub(crate) fn count(&self) -> (u32, u32) {
        let _guard = self.lock.lock();
        let (mut slab, mut empty) = (self.first.get(), 0);
        while !slab.is_null() {
            // SAFETY: slabs on the list exist.
            let slab_ref = unsafe { &*slab };
            empty += u32::from(slab_ref.look().in_use == 0);
            slab = slab_ref.next.get();
        }
        (self.nr_partial.get(), empty)
    }

    fn push(&self, slab: *mut Slab) {
        let last = self.last.get();
        // SAFETY: under the lock; both exist.
        unsafe {
            (*slab).next.set(core::ptr::null_mut());
            (*slab).prev.set(last);
            if last.is_null() {
                self.first.set(slab);
            } else {
                (*last).next.set(slab);
            }
        }
        self.last.set(slab);
        self.nr_partial.set(self.nr_partial.get() + 1);
    }

    fn unlink(&self, slab: *mut Slab) {
        // SAFETY: under the lock; the slab is on the list, so its neighbours are slabs too.
        unsafe {
            let (next, prev) = ((*slab).next.get(), (*slab).prev.get());
            if prev.is_null() {
                self.first.set(next);
            } else {
                (*prev).next.set(next);
            }
            if next.is_null() {
                self.last.set(prev);
            } else {
                (*next).prev.set(prev);
            }
        }
        self.nr_partial.set(self.nr_partial.get() - 1);
    }
}
