//! Typed caches in C: `fairground_cache_create` and its relatives in `include/fairground.h`.
//!
//! A `struct fairground_cache *` is what `RawCache::into_raw` gives; here it is a `RawCache` for the time of a call, and never
//! dropped but by destroy. The C constructor takes the object alone, so its address travels as the context of ours.

use crate::extensions::store;
use crate::set_errno;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::ManuallyDrop;
use core::ptr::{NonNull, null_mut};
use fairground_allocator::RawCache;
use fairground_allocator::cache::{CacheError, CacheFlags, Constructor};

/// The alignment that 0 stands for: malloc's.
const USUAL_ALIGN: usize = 16;

type CConstructor = unsafe extern "C" fn(object: *mut c_void);

/// `struct fairground_cache_stats`.
#[repr(C)]
struct FairgroundCacheStats {
    live: usize,
    cached: usize,
    objects: usize,
    objects_per_slab: usize,
    object_size: usize,
    align: usize,
    slabs: usize,
    slabs_partial: usize,
    slabs_empty: usize,
    slabs_full: usize,
}

unsafe extern "C" fn construct(object: *mut u8, context: *mut c_void) {
    // SAFETY: the context is the constructor, from `fairground_cache_create`; it takes an object.
    unsafe {
        let constructor: CConstructor = core::mem::transmute(context);
        constructor(object.cast());
    }
}

/// The cache behind a pointer, for a call.
///
/// # Safety
/// From `fairground_cache_create`, not destroyed.
#[inline]
unsafe fn borrow(cache: NonNull<c_void>) -> ManuallyDrop<RawCache> {
    // SAFETY: by the caller; this one is not dropped.
    ManuallyDrop::new(unsafe { RawCache::from_raw(cache) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_create(
    name: *const c_char,
    size: usize,
    align: usize,
    flags: c_uint,
    constructor: Option<CConstructor>,
) -> *mut c_void {
    // SAFETY: the caller passes null or a string.
    let name = if name.is_null() { None } else { unsafe { CStr::from_ptr(name) }.to_str().ok() };
    let (Some(name), Some(flags)) = (name, CacheFlags::from_bits(flags)) else {
        set_errno(libc::EINVAL);
        return null_mut();
    };
    let align = if align == 0 { USUAL_ALIGN } else { align };
    let cache = match constructor {
        None => RawCache::new(name, size, align, flags),
        Some(constructor) => {
            let context = constructor as *const () as *mut c_void;
            // SAFETY: the caller's constructor may be called from any thread, as the header says.
            unsafe { RawCache::with_constructor(name, size, align, flags, Constructor { call: construct, context }) }
        }
    };
    match cache {
        Ok(cache) => cache.into_raw().as_ptr(),
        Err(error) => {
            set_errno(match error {
                CacheError::OutOfMemory => libc::ENOMEM,
                CacheError::TooMany => libc::ENOSPC,
                _ => libc::EINVAL,
            });
            null_mut()
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_alloc(cache: NonNull<c_void>) -> *mut c_void {
    // SAFETY: the caller passes a cache.
    let object = unsafe { borrow(cache) }.alloc();
    object.map_or(null_mut(), |object| object.as_ptr().cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_free(cache: NonNull<c_void>, object: *mut c_void) {
    if let Some(object) = NonNull::new(object.cast()) {
        // SAFETY: the caller passes a cache, and an object of it that nobody uses any more.
        unsafe { borrow(cache).free(object) }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_shrink(cache: NonNull<c_void>) -> usize {
    // SAFETY: the caller passes a cache.
    unsafe { borrow(cache) }.shrink()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_destroy(cache: Option<NonNull<c_void>>) -> c_int {
    let Some(cache) = cache else { return 0 };
    // SAFETY: the caller passes a cache that nobody uses any more; if it is refused, the pointer stays good.
    match unsafe { RawCache::from_raw(cache) }.destroy() {
        Ok(()) => 0,
        Err((cache, _busy)) => {
            cache.into_raw();
            libc::EBUSY
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fairground_cache_get_stats(cache: NonNull<c_void>, out: *mut u8, size: usize) -> c_int {
    if out.is_null() || size == 0 {
        return libc::EINVAL;
    }
    // SAFETY: the caller passes a cache.
    let core = unsafe { borrow(cache) }.stats();
    let stats = FairgroundCacheStats {
        live: core.live,
        cached: core.cached,
        objects: core.objects,
        objects_per_slab: core.objects_per_slab,
        object_size: core.object_size,
        align: core.align,
        slabs: core.slabs,
        slabs_partial: core.slabs_partial,
        slabs_empty: core.slabs_empty,
        slabs_full: core.slabs_full,
    };
    // SAFETY: the caller says that `size` bytes at `out` are its own; no padding.
    unsafe { store(&stats, out, size) };
    0
}
