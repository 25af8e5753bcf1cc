//! Stacks of tasks: guarded, from slab-like pools, last in first out.
//!
//! A stack is an *object of a cache* in the slab layer's sense: its constructor (reserve, make writable, install the guard) runs
//! once, and afterwards the stack goes from task to task as it is, its guard in place and its upper pages warm. Stacks are never
//! unmapped. What the slab layer calls them, from the task downward:
//!
//! ```text
//! StackCache   of one cpu: two sheaves of 32 stacks, no lock; a stack that comes back is the next to go out
//! StackPool    of one size: the barn, with full sheaves (warm, cold) and empty ones, under a lock
//! Space        of one size: address space, carved into stacks 32 at a time (the constructor), under a lock of its own
//! regions      of all sizes: which addresses are stacks, for signal handlers, without a lock
//! ```
//!
//! One slot of a region:
//!
//! ```text
//!   low                                                        high = base(), next slot's low
//!   | guard, one page | size bytes, a power of two ... <- grows |
//! ```
//!
//! The guard comes on top of the size, so slots are not a power of two apart: tops of different stacks fall into different sets of
//! the TLB. Sizes are powers of two so that a few pools (17) serve all; what lies unused of one costs address space only.
//!
//! **Pages given back**: [`trim`] gives back (`MADV_DONTNEED`) the pages of the stacks that nobody needed since it was
//! last called; guards survive that, and are left out of it anyway. Full sheaves whose pages went back are *cold*; they are handed out
//! after the warm ones.
//!
//! **Lock order**: a pool's space and its barn are never held together, and nothing else is taken while one of them is, except the
//! registry's (in space). A preempted task must not hold them: the caller forbids preemption around take, put and trim.
//!
//! Rejected: a mapping and an `mprotect` guard a stack (ends at 32,753 stacks with the kernel's default limit, and costs five times the
//! guard installed by `MADV_GUARD_INSTALL`; it is the fallback before Linux 6.13); linking free stacks through their own memory (it would
//! touch cold pages); unmapping (2.6 us, and the guard's page tables would have to be made again); a pool in FIFO order, which hands
//! out the coldest stack.

mod cache;
mod pool;
mod region;
mod size;

pub(crate) use cache::StackCache;
pub(crate) use pool::{StackPool, StackStats, trim};
pub(crate) use region::{StackExtent, find};
pub use size::{StackSize, StackSizeError};

use corosensei::stack::StackPointer;
use std::fmt;
use std::mem::ManuallyDrop;

/// A guarded stack that nobody else uses. Dropped, it goes to its size's pool; [`StackCache::put`] is the quick way back.
#[derive(Debug)]
pub(crate) struct Stack {
    top: StackPointer,
    pool: &'static StackPool,
}

impl Stack {
    /// Which addresses it has.
    pub(crate) fn extent(&self) -> StackExtent {
        let size = self.pool.size().bytes();
        StackExtent { low: self.top.get() - size, size }
    }

    pub(crate) fn size(&self) -> StackSize {
        self.pool.size()
    }

    #[inline]
    fn into_top(self) -> StackPointer {
        ManuallyDrop::new(self).top
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.pool.put_top(self.top);
    }
}

// SAFETY: the space's constructor installed a guard below `size` bytes, at least 16 KiB, that are this stack's alone; both ends lie on
// page boundaries.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.top
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        let below = self.pool.size().bytes() + region::guard_bytes();
        StackPointer::new(self.top.get() - below).unwrap_or(self.top)
    }
}

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackError {
    /// The system gives no address space or no memory (a limit of the process as `ulimit -v`, or of a container, or
    /// `vm.overcommit_memory=2`).
    OutOfMemory {
        /// Of the stack.
        size: StackSize,
    },
    /// Each guard needs mappings of its own on this kernel (before Linux 6.13), and the process has all it may have.
    MappingLimit {
        /// Of the stack.
        size: StackSize,
        /// The value of `vm.max_map_count`; None if it cannot be read.
        limit: Option<usize>,
        /// How many stacks of this size there are.
        stacks: usize,
    },
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            StackError::OutOfMemory { size } => write!(
                f,
                "no memory or address space for a stack of {size}; limits of the process (ulimit -v), its container, and \
                 vm.overcommit_memory=2 lead to this"
            ),
            StackError::MappingLimit { size, limit, stacks } => {
                write!(
                    f,
                    "no mapping left for the guard of a stack of {size} after {stacks} stacks: vm.max_map_count"
                )?;
                if let Some(limit) = limit {
                    write!(f, " is {limit}")?;
                }
                write!(f, ", and before Linux 6.13 (MADV_GUARD_INSTALL) each stack needs two")
            }
        }
    }
}

impl std::error::Error for StackError {}

#[cfg(test)]
mod tests;
