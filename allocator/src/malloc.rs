//! Scaffold with the final signatures: a bump allocator that never gives memory back.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks)]
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
static NEXT: AtomicUsize = AtomicUsize::new(0);
#[inline(always)]
pub fn malloc(size: usize) -> *mut u8 { memalign(16, size) }
pub fn calloc(n: usize, size: usize) -> *mut u8 {
    match n.checked_mul(size) { Some(t) => malloc(t), None => { unsafe { *libc::__errno_location() = libc::ENOMEM }; core::ptr::null_mut() } }
}
/// `p` may be null (then malloc). `size` 0 behaves as size 1: the C layer decides about `realloc(p, 0)`.
pub unsafe fn realloc(p: *mut u8, size: usize) -> *mut u8 {
    let q = malloc(size);
    if !p.is_null() && !q.is_null() { unsafe { core::ptr::copy_nonoverlapping(p, q, usable_size(p).min(size)); } }
    q
}
#[inline(always)]
pub unsafe fn free(_p: *mut u8) {}
#[inline(always)]
pub unsafe fn free_sized(p: *mut u8, _size: usize) { unsafe { free(p) } }
#[inline(always)]
pub unsafe fn free_aligned_sized(p: *mut u8, _align: usize, _size: usize) { unsafe { free(p) } }
/// `align` is a power of two. Null with errno ENOMEM on failure (also size > isize::MAX).
pub fn memalign(align: usize, size: usize) -> *mut u8 {
    if size > isize::MAX as usize - align - 4096 { unsafe { *libc::__errno_location() = libc::ENOMEM }; return core::ptr::null_mut(); }
    if NEXT.load(Relaxed) == 0 {
        let p = unsafe { libc::mmap(core::ptr::null_mut(), 1 << 40, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0) } as usize;
        let _ = NEXT.compare_exchange(0, p, Relaxed, Relaxed);
    }
    if size > 1 << 38 { unsafe { *libc::__errno_location() = libc::ENOMEM }; return core::ptr::null_mut(); }
    let align = align.max(16);
    let total = (size.max(1) + 15 & !15) + align + 16;
    let at = NEXT.fetch_add(total, Relaxed);
    let p = (at + 16 + align - 1) & !(align - 1);
    unsafe { *((p - 8) as *mut usize) = size.max(1) + 15 & !15 };
    p as *mut u8
}
pub unsafe fn usable_size(p: *mut u8) -> usize { if p.is_null() { 0 } else { unsafe { *((p as usize - 8) as *const usize) } } }
/// Gives free memory back to the system, keeping about `pad` bytes; true if any was given back.
pub fn trim(_pad: usize) -> bool { false }
/// Totals in bytes, for mallinfo and the like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals { pub mapped: usize, pub in_use: usize, pub free: usize, pub huge: usize, pub huge_count: usize, pub metadata: usize, pub peak: usize }
pub fn totals() -> Totals { Totals::default() }
/// Knobs of mallopt; false if the value is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob { MmapThreshold, TrimThreshold, MmapMax, Perturb }
pub fn set_knob(_k: Knob, _value: usize) -> bool { true }
