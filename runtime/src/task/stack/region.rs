//! Where stacks lie: address space carved into guarded slots, and a registry of it that signal handlers can read.
//!
//! A region is reserved without access, becomes writable a step at a time ([`Space::carve`]), and stays for good. So the registry
//! is an array that only grows: entries are written under a lock, then published by its length (release); readers take the length
//! (acquire) and see entries that never change again. Each region is as large as all before it together, so that few suffice and at
//! most half of the address space taken lies idle; where the system refuses that much, half of it is tried, down to a single stack.

use super::size::StackSize;
use super::{StackError, pool::Sheaf};
use corosensei::stack::{StackPointer, valgrind::ValgrindStackRegistration};
use fairground_allocator::page_size;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of the first region of a size: of the default size's stacks 252, so a runtime with a few tasks has one region.
const FIRST_REGION: usize = 64 << 20;

/// Regions that the registry has room for: doubling, 17 sizes use up 47 bits of address space with 357; the rest is for processes at
/// their limit of address space, where regions are small.
const REGIONS: usize = 1024;

/// Not in libc for Linux (include/uapi/asm-generic/mman-common.h, since 6.13).
const MADV_GUARD_INSTALL: i32 = 102;

/// Bytes of the guard. One page: compiled Rust touches each page of a large frame in turn.
pub(super) fn guard_bytes() -> usize {
    page_size()
}

struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Bytes of a stack without its guard.
    size: AtomicUsize,
}

static ENTRIES: [Entry; REGIONS] =
    [const { Entry { start: AtomicUsize::new(0), end: AtomicUsize::new(0), size: AtomicUsize::new(0) } }; REGIONS];
static PUBLISHED: AtomicUsize = AtomicUsize::new(0);
static WRITER: Mutex<()> = Mutex::new(());

/// False if there is no room.
fn publish(start: usize, end: usize, size: usize) -> bool {
    let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let at = PUBLISHED.load(Ordering::Relaxed);
    let Some(entry) = ENTRIES.get(at) else { return false };
    entry.start.store(start, Ordering::Relaxed);
    entry.end.store(end, Ordering::Relaxed);
    entry.size.store(size, Ordering::Relaxed);
    PUBLISHED.store(at + 1, Ordering::Release);
    true
}

/// The stack that an address lies in, or in the guard of. May be called in a signal handler.
pub(crate) fn find(address: usize) -> Option<StackExtent> {
    let published = PUBLISHED.load(Ordering::Acquire);
    ENTRIES[..published.min(REGIONS)].iter().find_map(|entry| {
        let start = entry.start.load(Ordering::Relaxed);
        if address < start || address >= entry.end.load(Ordering::Relaxed) {
            return None;
        }
        let size = entry.size.load(Ordering::Relaxed);
        let stride = size + guard_bytes();
        Some(StackExtent { low: start + (address - start) / stride * stride + guard_bytes(), size })
    })
}

/// The addresses of a stack, without its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackExtent {
    pub(super) low: usize,
    pub(super) size: usize,
}

impl StackExtent {
    /// The lowest usable address; the guard ends here.
    pub(crate) fn low(self) -> usize {
        self.low
    }

    /// One behind the highest.
    pub(crate) fn high(self) -> usize {
        self.low + self.size
    }

    /// Bytes between them.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// Whether an address lies in the guard below the stack.
    pub(crate) fn guards(self, address: usize) -> bool {
        address < self.low && address >= self.low - guard_bytes()
    }

    /// The high-water mark: how many bytes, in whole pages from the top, were touched since the stack's pages were last given back
    /// (by this user or an earlier one). Pages that are swapped out may not count. None if the kernel does not say.
    pub(crate) fn touched(self) -> Option<usize> {
        /// Pages asked for at a time; the answer, a byte each, lies on the asker's stack.
        const PAGES: usize = 256;
        let mut resident = [0u8; PAGES];
        let mut at = self.low;
        while at < self.high() {
            let len = (self.high() - at).min(PAGES * page_size());
            // SAFETY: of addresses reserved for good, the kernel says which pages are there; the array has a byte for each.
            if unsafe { libc::mincore(without_provenance_mut(at), len, resident.as_mut_ptr().cast()) } != 0 {
                return None;
            }
            if let Some(first) = resident[..len / page_size()].iter().position(|page| page & 1 != 0) {
                return Some(self.high() - at - first * page_size());
            }
            at += len;
        }
        Some(0)
    }

    /// Gives the pages back, not the guard.
    ///
    /// # Safety
    /// Nobody uses the stack.
    pub(super) unsafe fn give_back(self) {
        // SAFETY: by the caller, what is in there is not needed. A refusal changes nothing for the next user.
        unsafe { libc::madvise(without_provenance_mut(self.low), self.size, libc::MADV_DONTNEED) };
    }
}

/// How guards are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guards {
    /// Marks in the page table, without mappings of their own.
    Install,
    /// Pages without access, two mappings a stack: the kernel does not know the other way, or refuses it (locked memory).
    Protect,
}

/// The address space of one size's stacks.
#[derive(Debug)]
pub(super) struct Space {
    /// Of the latest region, what is not carved yet.
    at: usize,
    end: usize,
    /// Stacks carved.
    made: usize,
    guards: Guards,
}

impl Space {
    pub(super) const fn new(guards: Guards) -> Space {
        Space { at: 0, end: 0, made: 0, guards }
    }

    pub(super) fn made(&self) -> usize {
        self.made
    }

    #[cfg(test)]
    pub(super) fn guards(&self) -> Guards {
        self.guards
    }

    /// Constructs stacks, one at least, as many as fit into the sheaf, which is empty.
    pub(super) fn carve(&mut self, size: StackSize, sheaf: &mut Sheaf) -> Result<(), StackError> {
        let stride = size.bytes() + guard_bytes();
        if self.at == self.end {
            self.reserve(size)?;
        }
        let mut count = ((self.end - self.at) / stride).min(sheaf.room());
        // Fewer where memory is accounted strictly and short.
        while !writable(self.at, count * stride) {
            count /= 2;
            if count == 0 {
                return Err(StackError::OutOfMemory { size });
            }
        }
        for made in 0..count {
            match self.guard(size) {
                Ok(()) => {}
                Err(error) if made == 0 => return Err(error),
                Err(_) => break,
            }
            let base = without_provenance_mut::<u8>(self.at);
            // Stays registered, as the stack stays.
            std::mem::forget(ValgrindStackRegistration::new(base, stride));
            self.at += stride;
            self.made += 1;
            if let Some(top) = StackPointer::new(self.at) {
                sheaf.push(top);
            }
        }
        Ok(())
    }

    /// Makes the page at `at` a guard.
    fn guard(&mut self, size: StackSize) -> Result<(), StackError> {
        let (page, len) = (without_provenance_mut(self.at), guard_bytes());
        if self.guards == Guards::Install {
            // SAFETY: the first page of a slot that nobody uses yet.
            if unsafe { libc::madvise(page, len, MADV_GUARD_INSTALL) } == 0 {
                return Ok(());
            }
            if errno() != libc::EINVAL {
                return Err(StackError::OutOfMemory { size });
            }
            self.guards = Guards::Protect;
        }
        // SAFETY: as above.
        if unsafe { libc::mprotect(page, len, libc::PROT_NONE) } == 0 {
            return Ok(());
        }
        Err(StackError::MappingLimit { size, limit: max_map_count(), stacks: self.made })
    }

    /// A new region for `at` to `end`.
    fn reserve(&mut self, size: StackSize) -> Result<(), StackError> {
        let stride = size.bytes() + guard_bytes();
        let mut count = (FIRST_REGION / stride).max(self.made).max(1);
        loop {
            if let Some(start) = reserve_bytes(count * stride) {
                let end = start + count * stride;
                if !publish(start, end, size.bytes()) {
                    // SAFETY: just mapped, and nobody knows it.
                    unsafe { libc::munmap(without_provenance_mut(start), end - start) };
                    return Err(StackError::OutOfMemory { size });
                }
                (self.at, self.end) = (start, end);
                return Ok(());
            }
            count /= 2;
            if count == 0 {
                return Err(StackError::OutOfMemory { size });
            }
        }
    }
}

/// Address space without access, whose pages will be small ones: a huge page would make each stack cost 2 MiB.
fn reserve_bytes(len: usize) -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new mapping disturbs nothing.
    let start = unsafe { libc::mmap(null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: just mapped. Refused only by kernels without huge pages.
    unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
    Some(start.expose_provenance())
}

fn writable(start: usize, len: usize) -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: of a region, the part that is not carved yet.
    unsafe { libc::mprotect(without_provenance_mut(start), len, access) == 0 }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn max_map_count() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}
