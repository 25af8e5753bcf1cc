//! A small value that is read often and written rarely. (Linux's seqlock.)
//!
//! Writers take turns by a spin lock; a sequence number is odd while one writes. A reader copies the value between two looks
//! at the number, and again if it was odd or has changed. Readers write nothing, so they do not disturb each other, nor writers; but they
//! may have to repeat, as long as writers come.
//!
//! **The copy races with the writer's**, which in Rust is allowed for atomic accesses only; and bytes of the value that are padding
//! have no value that an atomic integer could hold. So words of [`MaybeUninit`] are copied by single instructions in inline assembly, each
//! what a relaxed atomic load or store of such a word would be. A torn copy is never looked at: it becomes a `T` only after the second look.
//! Where that assembly does not exist, readers take the writers' lock.
//!
//! Memory ordering: a reader that sees the even number written with release after a value sees all of the value; if one of its loads sees a
//! word of a later value, its second look, after an acquire fence, sees that writer's odd number, written before a release fence.

use super::SpinLock;
#[cfg(not(any(loom, fairground_portable)))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::atomic::Ordering;
use crate::atomic::{AtomicUsize, UnsafeCell};
#[cfg(not(any(loom, fairground_portable)))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::atomic::{fence, spin_loop};
use std::fmt;
use std::mem::MaybeUninit;

/// A value of some words, for many readers and few writers. Readers never keep writers waiting.
///
/// ```
/// use fairground_runtime::sync::SeqLock;
///
/// static POSITION: SeqLock<(f64, f64)> = SeqLock::new((0.0, 0.0));
/// POSITION.write((1.0, 2.0));
/// POSITION.update(|position| position.0 += 1.0);
/// assert_eq!(POSITION.read(), (2.0, 2.0));
/// ```
pub struct SeqLock<T> {
    /// Odd while a writer is at it. Where readers take the lock nobody looks.
    #[cfg_attr(any(loom, fairground_portable), allow(dead_code))]
    sequence: AtomicUsize,
    writers: SpinLock<()>,
    value: UnsafeCell<Words<T>>,
}

/// A value that can be copied in whole words.
#[repr(C, align(8))]
struct Words<T>(MaybeUninit<T>);

// SAFETY: the value is copied in and out.
unsafe impl<T: Send> Send for SeqLock<T> {}
// SAFETY: as above; no two threads share a reference to the value.
unsafe impl<T: Send> Sync for SeqLock<T> {}

impl<T: Copy> SeqLock<T> {
    const_fn! {
        /// With this value.
        pub fn new(value: T) -> SeqLock<T> {
            SeqLock {
                sequence: AtomicUsize::new(0),
                writers: SpinLock::new(()),
                value: UnsafeCell::new(Words(MaybeUninit::new(value))),
            }
        }
    }

    /// A value that was written, whole. Spins while writers are at it.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            if let Some(value) = self.try_read() {
                return value;
            }
            self.wait_slow();
        }
    }

    /// A value that was written, whole; `None` if a writer is at it or came meanwhile.
    #[inline]
    #[cfg(not(any(loom, fairground_portable)))]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn try_read(&self) -> Option<T> {
        let before = self.sequence.load(Ordering::Acquire);
        if !before.is_multiple_of(2) {
            return None;
        }
        let mut copy = Words(MaybeUninit::uninit());
        // SAFETY: both are whole words of the same number; what a writer tears is not looked at.
        self.value.with(|value| unsafe { words::load_all(value, &raw mut copy) });
        fence(Ordering::Acquire);
        // SAFETY: nobody wrote meanwhile, so it is a whole value.
        (self.sequence.load(Ordering::Relaxed) == before).then(|| unsafe { copy.0.assume_init() })
    }

    /// A value that was written; `None` if a writer or a reader is at it.
    #[cfg(any(loom, fairground_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    pub fn try_read(&self) -> Option<T> {
        let _turn = self.writers.try_lock()?;
        // SAFETY: nobody writes while the lock is held.
        Some(self.value.with(|value| unsafe { (*value).0.assume_init() }))
    }

    #[cold]
    #[inline(never)]
    fn wait_slow(&self) {
        #[cfg(not(any(loom, fairground_portable)))]
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if self.sequence.load(Ordering::Relaxed).is_multiple_of(2) {
            spin_loop();
            return;
        }
        // The kernel may have taken the core away from the writer: who spins for its lock lets others run after a while.
        drop(self.writers.lock());
    }

    /// Writes a value. Spins while other writers are at it.
    #[inline]
    pub fn write(&self, value: T) {
        let _turn = self.writers.lock();
        self.store(value);
    }

    /// Changes the value; what `f` makes of it is written after its end, so a panic changes nothing. Other writers spin meanwhile, and
    /// preemption is off.
    #[inline]
    pub fn update(&self, f: impl FnOnce(&mut T)) {
        let _turn = self.writers.lock();
        // SAFETY: only writers write, and it is our turn.
        let mut value = self.value.with(|value| unsafe { (*value).0.assume_init() });
        f(&mut value);
        self.store(value);
    }

    /// With the writers' lock held.
    fn store(&self, value: T) {
        #[cfg(not(any(loom, fairground_portable)))]
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            let new = Words(MaybeUninit::new(value));
            let sequence = self.sequence.load(Ordering::Relaxed);
            self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
            fence(Ordering::Release);
            // SAFETY: both are whole words of the same number; it is our turn to write.
            self.value.with_mut(|value| unsafe { words::store_all(&raw const new, value) });
            self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
        }
        #[cfg(any(loom, fairground_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        // SAFETY: the lock is held, which readers take too.
        self.value.with_mut(|cell| unsafe { *cell = Words(MaybeUninit::new(value)) });
    }

    /// The value, as nobody shares it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes every other access; it is always initialised.
        self.value.with_mut(|value| unsafe { (*value).0.assume_init_mut() })
    }

    /// The value, once nobody shares it.
    pub fn into_inner(self) -> T {
        // SAFETY: always initialised.
        unsafe { self.value.into_inner().0.assume_init() }
    }
}

#[cfg(not(any(loom, fairground_portable)))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod words {
    use super::Words;
    use crate::arch::{Word, load_word, store_word};

    /// Copies from memory that others may write.
    ///
    /// # Safety
    /// Both are valid; `to` is not shared.
    #[inline]
    pub(super) unsafe fn load_all<T>(from: *const Words<T>, to: *mut Words<T>) {
        for i in 0..size_of::<Words<T>>() / size_of::<Word>() {
            // SAFETY: within both, which are aligned to words and whole numbers of them.
            unsafe { *to.cast::<Word>().add(i) = load_word(from.cast::<Word>().add(i)) };
        }
    }

    /// Copies to memory that others may read.
    ///
    /// # Safety
    /// Both are valid; nobody else writes `to`.
    #[inline]
    pub(super) unsafe fn store_all<T>(from: *const Words<T>, to: *mut Words<T>) {
        for i in 0..size_of::<Words<T>>() / size_of::<Word>() {
            // SAFETY: as above.
            unsafe { store_word(to.cast::<Word>().add(i), *from.cast::<Word>().add(i)) };
        }
    }
}

impl<T: Copy + Default> Default for SeqLock<T> {
    fn default() -> SeqLock<T> {
        SeqLock::new(T::default())
    }
}

impl<T: Copy> From<T> for SeqLock<T> {
    fn from(value: T) -> SeqLock<T> {
        SeqLock::new(value)
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for SeqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeqLock").field(&self.read()).finish()
    }
}
