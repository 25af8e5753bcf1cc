//! malloc and its family: what glibc documents, around what the core does.
//!
//! The core (`fairground_allocator::malloc`) sets `ENOMEM` and returns null when there is no memory, and never unwinds.
//! This module adds only the corners that belong to the C interface:
//!
//! | call | corner |
//! |---|---|
//! | `malloc(0)`, `calloc(0, n)`, `memalign(a, 0)` | a unique pointer that can be freed (the core's own doing) |
//! | `realloc(p, 0)` | frees `p` and returns null, as glibc has always done; `realloc(NULL, 0)` is `malloc(0)` |
//! | `reallocarray(p, n, s)` | a product that overflows: null, `ENOMEM`, `p` stays; a product of zero: as realloc |
//! | `posix_memalign` | alignment no power of two or no multiple of `sizeof(void *)`: returns `EINVAL`. On any failure neither errno nor `*memptr` changes |
//! | `aligned_alloc` | alignment no power of two: null, `EINVAL` (glibc since 2.38, and C17). The size need not be a multiple |
//! | `memalign` | alignment rounded up to a power of two, as in glibc; beyond half of the address space: null, `EINVAL` |
//! | `valloc`, `pvalloc` | aligned to a page; `pvalloc` also rounds the size up to whole pages, overflow: null, `ENOMEM` |
//! | `malloc_usable_size(NULL)` | 0 |
//! | `free`, `free_sized`, `free_aligned_sized` | accept null, leave errno alone |
//!
//! The functions are `extern "C"`: none unwinds. They take the types of C; `c_void` pointers are the core's `u8`
//! pointers.
//!
//! The `__libc_*` names exist in glibc and are called by programs that wrap malloc (and by old sanitizers). If only
//! `malloc` were replaced, such a program would pass glibc's blocks to our free. Their bodies are the same, and LLVM
//! makes equal functions one: they cost a symbol each.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use fairground_allocator::malloc as core_malloc;
use libc::{EINVAL, ENOMEM};

/// glibc's MALLOC_ALIGNMENT: `memalign` with less is malloc.
const MIN_ALIGN: usize = 16;

/// Null, with the reason in errno.
#[cold]
fn fail(reason: c_int) -> *mut c_void {
    crate::set_errno(reason);
    null_mut()
}

/// A block with `align`, which is a power of two. The core gives 16 to every block.
#[inline(always)]
fn aligned(align: usize, size: usize) -> *mut c_void {
    debug_assert!(align.is_power_of_two());
    if align <= MIN_ALIGN { core_malloc::malloc(size).cast() } else { core_malloc::memalign(align, size).cast() }
}

#[inline(always)]
unsafe fn resize(block: *mut c_void, size: usize) -> *mut c_void {
    if size == 0 && !block.is_null() {
        // SAFETY: the caller passes a live block, and gives it up.
        unsafe { core_malloc::free(block.cast()) };
        return null_mut();
    }
    // SAFETY: the caller passes null or a live block, which it gives up unless the result is null.
    unsafe { core_malloc::realloc(block.cast(), size).cast() }
}

#[inline(always)]
unsafe fn resize_array(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: as in `resize`, whose contract is the caller's.
        Some(bytes) => unsafe { resize(block, bytes) },
        None => fail(ENOMEM),
    }
}

#[inline(always)]
fn memalign_as_glibc(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => aligned(align, size),
        None => fail(EINVAL),
    }
}

fn page_aligned(size: usize) -> *mut c_void {
    aligned(fairground_allocator::page_size(), size)
}

fn whole_pages(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(fairground_allocator::page_size()) {
        Some(size) => page_aligned(size),
        None => fail(ENOMEM),
    }
}

#[inline(always)]
unsafe fn aligned_into(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return EINVAL;
    }
    // POSIX gives the error as the result, and programs rely on errno staying as it was.
    let errno = crate::errno();
    let block = aligned(align, size);
    if block.is_null() {
        crate::set_errno(errno);
        return ENOMEM;
    }
    // SAFETY: the caller passes a place for one pointer.
    unsafe { *place = block };
    0
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    core_malloc::malloc(size).cast()
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    core_malloc::calloc(count, size).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: C's contract for realloc is that of `resize`.
    unsafe { resize(block, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: C's contract for reallocarray is that of `resize_array`.
    unsafe { resize_array(block, count, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: C's contract for free is the core's: null or a live block.
    unsafe { core_malloc::free(block.cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: as in `free`.
    unsafe { core_malloc::free(block.cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free_sized(block: *mut c_void, size: usize) {
    // SAFETY: C23's contract for free_sized is the core's: null, or a live block and the size asked for.
    unsafe { core_malloc::free_sized(block.cast(), size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free_aligned_sized(block: *mut c_void, align: usize, size: usize) {
    // SAFETY: C23's contract for free_aligned_sized is the core's: null, or a live block and what was asked for.
    unsafe { core_malloc::free_aligned_sized(block.cast(), align, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    // SAFETY: POSIX's contract for posix_memalign is that of `aligned_into`.
    unsafe { aligned_into(place, align, size) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if align.is_power_of_two() { aligned(align, size) } else { fail(EINVAL) }
}

#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    memalign_as_glibc(align, size)
}

#[unsafe(no_mangle)]
extern "C" fn valloc(size: usize) -> *mut c_void {
    page_aligned(size)
}

#[unsafe(no_mangle)]
extern "C" fn pvalloc(size: usize) -> *mut c_void {
    whole_pages(size)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller passes a live block.
    unsafe { core_malloc::usable_size(block.cast()) }
}

// The names inside glibc.

#[unsafe(no_mangle)]
extern "C" fn __libc_malloc(size: usize) -> *mut c_void {
    core_malloc::malloc(size).cast()
}

#[unsafe(no_mangle)]
extern "C" fn __libc_calloc(count: usize, size: usize) -> *mut c_void {
    core_malloc::calloc(count, size).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as in `realloc`.
    unsafe { resize(block, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: as in `reallocarray`.
    unsafe { resize_array(block, count, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_free(block: *mut c_void) {
    // SAFETY: as in `free`.
    unsafe { core_malloc::free(block.cast()) }
}

#[unsafe(no_mangle)]
extern "C" fn __libc_memalign(align: usize, size: usize) -> *mut c_void {
    memalign_as_glibc(align, size)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    // SAFETY: as in `posix_memalign`.
    unsafe { aligned_into(place, align, size) }
}

#[unsafe(no_mangle)]
extern "C" fn __libc_valloc(size: usize) -> *mut c_void {
    page_aligned(size)
}

#[unsafe(no_mangle)]
extern "C" fn __libc_pvalloc(size: usize) -> *mut c_void {
    whole_pages(size)
}
