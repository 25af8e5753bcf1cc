//! A cpu's stacks: taken and put without a lock.
//!
//! Two sheaves, as in Bonwick's magazines: with one, a task that comes and goes at a sheaf's boundary would go to the barn each
//! time. Between calls the spare is full or empty; the main one is anything.

use super::pool::{Sheaf, StackPool, free_sheaf, new_sheaf};
use super::{Stack, StackError, StackSize};
use std::mem::swap;
use std::ptr::NonNull;

/// A cpu's free stacks of one size, 64 at most; stacks of other sizes come from their pools.
///
/// Dropped, it gives its stacks to the pool.
#[derive(Debug)]
pub(crate) struct StackCache {
    pool: &'static StackPool,
    main: NonNull<Sheaf>,
    spare: NonNull<Sheaf>,
}

// SAFETY: the sheaves are its own.
unsafe impl Send for StackCache {}

impl StackCache {
    /// For the size that most tasks will have.
    ///
    /// # Errors
    /// There is no memory for the sheaves.
    pub(crate) fn new(size: StackSize) -> Result<StackCache, StackError> {
        StackCache::of_pool(StackPool::of(size))
    }

    pub(super) fn of_pool(pool: &'static StackPool) -> Result<StackCache, StackError> {
        let main = new_sheaf(pool.size())?;
        match new_sheaf(pool.size()) {
            Ok(spare) => Ok(StackCache { pool, main, spare }),
            Err(error) => {
                // SAFETY: just allocated.
                unsafe { free_sheaf(main) };
                Err(error)
            }
        }
    }

    /// A stack of a size: the one put last, if it is this cache's size.
    ///
    /// # Errors
    /// There is no memory, or no mapping for a guard.
    #[inline]
    pub(crate) fn take(&mut self, size: StackSize) -> Result<Stack, StackError> {
        if size == self.pool.size() {
            // SAFETY: ours alone.
            if let Some(top) = unsafe { self.main.as_mut() }.pop() {
                return Ok(Stack { top, pool: self.pool });
            }
        }
        self.take_slow(size)
    }

    /// Takes a stack back. Nobody runs on it, and nothing in it is needed.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        if std::ptr::eq(stack.pool, self.pool) {
            // SAFETY: ours alone.
            let main = unsafe { self.main.as_mut() };
            if !main.is_full() {
                main.push(stack.into_top());
                return;
            }
        }
        self.put_slow(stack);
    }

    #[cold]
    #[inline(never)]
    fn take_slow(&mut self, size: StackSize) -> Result<Stack, StackError> {
        if size != self.pool.size() {
            return StackPool::of(size).take();
        }
        // SAFETY: ours alone; so below.
        if unsafe { self.spare.as_ref() }.is_empty() {
            match self.pool.exchange_empty(self.main) {
                Ok(full) => self.main = full,
                Err((same, error)) => {
                    self.main = same;
                    return Err(error);
                }
            }
        } else {
            swap(&mut self.main, &mut self.spare);
        }
        // SAFETY: as above.
        let top = unsafe { self.main.as_mut() }.pop().ok_or(StackError::OutOfMemory { size })?;
        Ok(Stack { top, pool: self.pool })
    }

    #[cold]
    #[inline(never)]
    fn put_slow(&mut self, stack: Stack) {
        if !std::ptr::eq(stack.pool, self.pool) {
            return; // Its drop puts it into its pool.
        }
        // SAFETY: ours alone; so below.
        if unsafe { self.spare.as_ref() }.is_empty() {
            swap(&mut self.main, &mut self.spare);
        } else {
            self.main = self.pool.exchange_full(self.main);
        }
        // SAFETY: as above.
        unsafe { self.main.as_mut() }.push(stack.into_top());
    }
}

impl Drop for StackCache {
    fn drop(&mut self) {
        for mut sheaf in [self.main, self.spare] {
            // SAFETY: ours alone, for the last time; empty at the end.
            unsafe {
                while let Some(top) = sheaf.as_mut().pop() {
                    self.pool.put_top(top);
                }
                free_sheaf(sheaf);
            }
        }
    }
}
