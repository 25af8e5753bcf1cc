//! Mappings: address space from the kernel, and its pages given back.
//!
//! Reservations are `PROT_NONE` and become usable by [`commit`]: under `vm.overcommit_memory=2` only what is writable is
//! charged, and `mlockall` cannot fault in what is not accessible. Pages are given back by `MADV_DONTNEED`, which shows in
//! RSS at once, does not split mappings, and leaves zeroes behind.
//!
//! `memmap2` is not used here: it can neither reserve without access, nor place, nor protect a part of a mapping, and it
//! needs std, which a preloaded library would pay for with a second shared library at every exec.
//!
//! # Pages of other sizes
//!
//! Kernels for aarch64 have pages of 4, 16 or 64 KiB. Everything given to the kernel is a multiple of [`os_page_size`], which
//! debug assertions check in every function below, and everything that comes from it is aligned to that. With
//! `--cfg fairground_page_16k` or `--cfg fairground_page_64k` pages are taken to be that large where they are smaller: the
//! tests run with both (`make test-page-sizes`). Mappings are then placed by hand and never moved, for the kernel aligns them to
//! its own pages.

use super::huge;
use crate::arch::syscall6;
use crate::config;
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The smallest page of the kernels we run on, and the unit of the page map. Kernels with larger pages work: everything
/// given to or taken from them is rounded to [`os_page_size`].
pub(crate) const PAGE_SIZE: usize = 4096;

/// log2 of [`PAGE_SIZE`].
pub(crate) const PAGE_SHIFT: u32 = 12;

/// Pages are taken to be at least this large, in bytes; see the module's text.
const LEAST_OS_PAGE: usize = if cfg!(fairground_page_64k) {
    64 << 10
} else if cfg!(fairground_page_16k) {
    16 << 10
} else {
    PAGE_SIZE
};

/// The kernel's page size in bytes (4, 16 or 64 KiB), from the auxiliary vector.
///
/// ```
/// assert!(fairground_allocator::page_size().is_power_of_two());
/// ```
pub fn os_page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    let known = SIZE.load(Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: getauxval reads the auxiliary vector; it has no preconditions and allocates nothing.
    let size = (unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize).max(LEAST_OS_PAGE);
    SIZE.store(size, Relaxed);
    size
}

/// Asserts that whole pages are meant.
#[inline(always)]
fn check_whole_pages(start: *mut u8, len: usize) {
    debug_assert!(
        (start.addr() | len).is_multiple_of(os_page_size()),
        "{len:#x} bytes at {start:p} are not whole pages"
    );
}

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Address space only.
    None,
    /// Reads see zeroes; not charged as committed memory.
    Read,
    /// Memory.
    ReadWrite,
}

impl Access {
    fn prot(self) -> usize {
        (match self {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }) as usize
    }
}

/// Maps `len` bytes of zeroes anywhere; null if the kernel refuses.
pub(crate) fn map(len: usize, access: Access) -> *mut u8 {
    map_at(null_mut(), len, access)
}

/// As [`map`], with an address the kernel may follow if it is free.
pub(crate) fn map_at(hint: *mut u8, len: usize, access: Access) -> *mut u8 {
    check_whole_pages(hint, len);
    let start = map_as_the_kernel_likes(hint, len, access);
    if LEAST_OS_PAGE == PAGE_SIZE || start.addr().is_multiple_of(os_page_size()) {
        return start;
    }
    // Smaller pages than we take them to be: a wider mapping, cut to size.
    // SAFETY: just mapped, and nobody knows it yet; the same for both ends of the wider one.
    unsafe {
        syscall6(libc::SYS_munmap as usize, [start as usize, len, 0, 0, 0, 0]);
        let wide = map_as_the_kernel_likes(null_mut(), len + os_page_size(), access);
        if wide.is_null() {
            return wide;
        }
        let skip = wide.addr().wrapping_neg() % os_page_size();
        if skip != 0 {
            syscall6(libc::SYS_munmap as usize, [wide as usize, skip, 0, 0, 0, 0]);
        }
        let start = wide.add(skip);
        syscall6(libc::SYS_munmap as usize, [start as usize + len, os_page_size() - skip, 0, 0, 0, 0]);
        start
    }
}

fn map_as_the_kernel_likes(hint: *mut u8, len: usize, access: Access) -> *mut u8 {
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if access != Access::ReadWrite {
        flags |= libc::MAP_NORESERVE;
    }
    // SAFETY: a new private anonymous mapping without MAP_FIXED disturbs nothing.
    let r = unsafe {
        syscall6(libc::SYS_mmap as usize, [hint as usize, len, access.prot(), flags as usize, usize::MAX, 0])
    };
    if r < 0 && r > -4096 {
        return null_mut();
    }
    if huge::refused_at_first() {
        huge::refuse(r as *mut u8, len);
    }
    r as *mut u8
}

/// Maps `len` bytes at a multiple of `align` (a power of two); null if the kernel refuses.
pub(crate) fn map_aligned(len: usize, align: usize, access: Access) -> *mut u8 {
    if align <= os_page_size() {
        return map(len, access);
    }
    let Some(wide) = len.checked_add(align) else { return null_mut() };
    let start = map(wide, access);
    if start.is_null() {
        return start;
    }
    let skip = start.addr().wrapping_neg() & (align - 1);
    let tail = wide - skip - len;
    // SAFETY: both parts lie in the mapping just made and nobody knows them yet.
    unsafe {
        if skip != 0 {
            unmap(start, skip);
        }
        if tail != 0 {
            unmap(start.add(skip + len), tail);
        }
        start.add(skip)
    }
}

/// Makes part of a reservation readable and writable. False if the kernel has no memory to promise.
///
/// # Safety
/// The range belongs to a mapping of ours.
pub(crate) unsafe fn commit(start: *mut u8, len: usize) -> bool {
    // SAFETY: by the caller.
    unsafe { protect(start, len, Access::ReadWrite) }
}

/// Changes the access of whole pages.
///
/// # Safety
/// The range belongs to a mapping of ours, and nobody needs the access it loses.
pub(crate) unsafe fn protect(start: *mut u8, len: usize, access: Access) -> bool {
    check_whole_pages(start, len);
    // SAFETY: by the caller.
    unsafe { syscall6(libc::SYS_mprotect as usize, [start as usize, len, access.prot(), 0, 0, 0]) == 0 }
}

/// Gives the pages' memory back; they read as zeroes afterwards if this returns true.
///
/// # Safety
/// The range belongs to a mapping of ours and its contents are dead.
pub(crate) unsafe fn dontneed(start: *mut u8, len: usize) -> bool {
    check_whole_pages(start, len);
    // SAFETY: by the caller.
    unsafe { syscall6(libc::SYS_madvise as usize, [start as usize, len, libc::MADV_DONTNEED as usize, 0, 0, 0]) == 0 }
}

/// Removes a mapping. Failure (a split would exceed the mapping limit) leaves it; the caller may only forget it.
///
/// # Safety
/// The range belongs to a mapping of ours and nothing in it is used again.
pub(crate) unsafe fn unmap(start: *mut u8, len: usize) -> bool {
    check_whole_pages(start, len);
    // SAFETY: by the caller.
    unsafe { syscall6(libc::SYS_munmap as usize, [start as usize, len, 0, 0, 0, 0]) == 0 }
}

/// Grows, shrinks or moves a mapping, keeping its contents; null if the kernel refuses, and then nothing has changed.
///
/// # Safety
/// `start` and `old` are exactly a mapping of ours; if the result is not null, only the result may be used.
pub(crate) unsafe fn remap(start: *mut u8, old: usize, new: usize, may_move: bool) -> *mut u8 {
    check_whole_pages(start, old | new);
    // Where the kernel would move it need not be aligned to what we take its pages to be.
    let may_move = may_move && LEAST_OS_PAGE == PAGE_SIZE;
    let flags = if may_move { libc::MREMAP_MAYMOVE as usize } else { 0 };
    // SAFETY: by the caller.
    let r = unsafe { syscall6(libc::SYS_mremap as usize, [start as usize, old, new, flags, 0, 0]) };
    if r < 0 && r > -4096 { null_mut() } else { r as *mut u8 }
}

/// Names part of a mapping for those who read /proc/PID/maps, where the configuration asks for that (`name_maps`). The call,
/// `prctl`, is not among those that the allocator makes otherwise; a kernel or a sandbox that refuses it is not asked again.
pub(crate) fn name(start: *mut u8, len: usize, name: &'static CStr) {
    // Of linux/prctl.h, since Linux 5.17.
    const PR_SET_VMA: usize = 0x5356_4d41;
    const PR_SET_VMA_ANON_NAME: usize = 0;
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if start.is_null() || !config::get().name_maps || REFUSED.load(Relaxed) {
        return;
    }
    let (address, name) = (start as usize, name.as_ptr() as usize);
    // SAFETY: the kernel copies the name; nothing else changes.
    let r = unsafe { syscall6(libc::SYS_prctl as usize, [PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, len, name, 0]) };
    if r == -(libc::EINVAL as isize) || r == -(libc::ENOSYS as isize) || r == -(libc::EPERM as isize) {
        REFUSED.store(true, Relaxed);
    }
}

/// Writes all of `bytes` to a file descriptor, giving up at the first error.
pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the slice is readable for its length.
        let r =
            unsafe { syscall6(libc::SYS_write as usize, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
        if r == -(libc::EINTR as isize) {
            continue;
        }
        if r <= 0 {
            return;
        }
        bytes = &bytes[r as usize..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_aligned_to_the_page_size_we_work_with() {
        let page = os_page_size();
        assert!(page >= LEAST_OS_PAGE && page.is_power_of_two());
        let mappings: Vec<_> = (1..=20).map(|n| (map(n * page, Access::ReadWrite), n * page)).collect();
        for (start, len) in mappings {
            assert!(!start.is_null() && start.addr().is_multiple_of(page), "{start:p}");
            // SAFETY: our mapping, to its last byte; nothing uses it afterwards.
            unsafe {
                start.add(len - 1).write(1);
                assert!(dontneed(start, len) && *start.add(len - 1) == 0);
                assert!(unmap(start, len));
            }
        }
    }

    /// The assertion on which `make test-page-sizes` rests.
    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "are not whole pages")]
    fn half_a_page_is_noticed() {
        let page = os_page_size();
        let start = map(2 * page, Access::ReadWrite);
        // SAFETY: our mapping.
        unsafe { dontneed(start.add(page / 2), page) };
    }
}
