//! operator new and operator delete, under the names that C++ compilers give them (Itanium ABI, 64 bits).
//!
//! Why export them, when libstdc++'s own call malloc and free: the sized forms tell the size, so freeing need not read
//! any metadata, and every call saves a jump through the PLT.
//!
//! There are twenty in the C++ standard, and four more sized nothrow forms of delete that other allocators export and
//! some compilers have called. libstdc++ is **not** linked: it would be mapped into every C program, for a millisecond.
//! What is needed of it on failure is found at run time (`cxx_slow`).
//!
//! | form | when memory runs out |
//! |---|---|
//! | `new`, `new[]` | call the new_handler and try again for as long as there is one; then throw `std::bad_alloc` |
//! | nothrow | the same, but null in the end; a handler that throws ends it with null too |
//! | alignment no power of two | undefined in C++; as in libstdc++ `std::bad_alloc`, or null, without asking the handler |
//!
//! ## How an exception gets out
//!
//! Rust allows no exception to pass through a function of a crate with `panic = "abort"`. So none does: when its fast path
//! fails, an operator *jumps* to a routine of `cxx_slow`, leaving no frame of its own behind. That routine is assembly,
//! with its own unwinding directives; it tries again, calls the handler, and throws. The jump is LLVM's tail call: always
//! possible here, for the arguments are in registers and nothing lives on the stack, and `tests/exports.rs` reads the
//! disassembly of every operator. In builds with unwinding panics the declarations say "C-unwind", and nothing depends on the jump.
//!
//! The forms for arrays repeat the bodies rather than call the plain ones. LLVM makes equal functions one.

use crate::cxx_slow::{Slow, bad_alignment, nothrow_slow, throwing_slow};
use core::ffi::c_void;
use core::ptr::null_mut;
use fairground_allocator::malloc as core_malloc;

/// `const std::nothrow_t &`: a tag without contents.
type NoThrow = *const c_void;

/// What `cxx_slow` takes for 'as malloc aligns'.
const ANY_ALIGNMENT: usize = 0;

#[inline(always)]
fn allocate(size: usize, slow: Slow) -> *mut u8 {
    let block = core_malloc::malloc_fast(size);
    if !block.is_null() {
        return block;
    }
    // SAFETY: the operators call this last, and no destructor waits in their frames or here.
    unsafe { slow(size, ANY_ALIGNMENT) }
}

/// Aligned blocks have no fast path of their own.
#[inline(always)]
fn allocate_aligned(size: usize, align: usize, slow: Slow) -> *mut u8 {
    // SAFETY: as in `allocate`.
    unsafe { slow(size, align) }
}

#[unsafe(export_name = "_Znwm")]
extern "C-unwind" fn new(size: usize) -> *mut u8 {
    allocate(size, throwing_slow)
}

#[unsafe(export_name = "_Znam")]
extern "C-unwind" fn new_array(size: usize) -> *mut u8 {
    allocate(size, throwing_slow)
}

#[unsafe(export_name = "_ZnwmRKSt9nothrow_t")]
extern "C-unwind" fn new_nothrow(size: usize, _: NoThrow) -> *mut u8 {
    allocate(size, nothrow_slow)
}

#[unsafe(export_name = "_ZnamRKSt9nothrow_t")]
extern "C-unwind" fn new_array_nothrow(size: usize, _: NoThrow) -> *mut u8 {
    allocate(size, nothrow_slow)
}

#[unsafe(export_name = "_ZnwmSt11align_val_t")]
extern "C-unwind" fn new_aligned(size: usize, align: usize) -> *mut u8 {
    allocate_aligned(size, align, if align.is_power_of_two() { throwing_slow } else { bad_alignment })
}

#[unsafe(export_name = "_ZnamSt11align_val_t")]
extern "C-unwind" fn new_array_aligned(size: usize, align: usize) -> *mut u8 {
    allocate_aligned(size, align, if align.is_power_of_two() { throwing_slow } else { bad_alignment })
}

#[unsafe(export_name = "_ZnwmSt11align_val_tRKSt9nothrow_t")]
extern "C-unwind" fn new_aligned_nothrow(size: usize, align: usize, _: NoThrow) -> *mut u8 {
    if align.is_power_of_two() { allocate_aligned(size, align, nothrow_slow) } else { null_mut() }
}

#[unsafe(export_name = "_ZnamSt11align_val_tRKSt9nothrow_t")]
extern "C-unwind" fn new_array_aligned_nothrow(size: usize, align: usize, _: NoThrow) -> *mut u8 {
    if align.is_power_of_two() { allocate_aligned(size, align, nothrow_slow) } else { null_mut() }
}

/// The operators delete: name, symbol, arguments, and the core's call.
macro_rules! delete {
    ($($name:ident $symbol:literal ($($arg:tt: $kind:ty),*) => $core:ident($($used:ident),*);)*) => {$(
        #[unsafe(export_name = $symbol)]
        unsafe extern "C" fn $name(block: *mut u8 $(, $arg: $kind)*) {
            // SAFETY: C++ passes null, or a live block of operator new and the size and alignment asked for.
            unsafe { core_malloc::$core(block $(, $used)*) }
        }
    )*};
}

delete! {
    delete "_ZdlPv" () => free();
    delete_array "_ZdaPv" () => free();
    delete_nothrow "_ZdlPvRKSt9nothrow_t" (_: NoThrow) => free();
    delete_array_nothrow "_ZdaPvRKSt9nothrow_t" (_: NoThrow) => free();
    delete_sized "_ZdlPvm" (size: usize) => free_sized(size);
    delete_array_sized "_ZdaPvm" (size: usize) => free_sized(size);
    delete_sized_nothrow "_ZdlPvmRKSt9nothrow_t" (size: usize, _: NoThrow) => free_sized(size);
    delete_array_sized_nothrow "_ZdaPvmRKSt9nothrow_t" (size: usize, _: NoThrow) => free_sized(size);
    delete_aligned "_ZdlPvSt11align_val_t" (_: usize) => free();
    delete_array_aligned "_ZdaPvSt11align_val_t" (_: usize) => free();
    delete_aligned_nothrow "_ZdlPvSt11align_val_tRKSt9nothrow_t" (_: usize, _: NoThrow) => free();
    delete_array_aligned_nothrow "_ZdaPvSt11align_val_tRKSt9nothrow_t" (_: usize, _: NoThrow) => free();
    delete_sized_aligned "_ZdlPvmSt11align_val_t" (size: usize, align: usize) => free_aligned_sized(align, size);
    delete_array_sized_aligned "_ZdaPvmSt11align_val_t" (size: usize, align: usize) => free_aligned_sized(align, size);
    delete_sized_aligned_nothrow "_ZdlPvmSt11align_val_tRKSt9nothrow_t" (size: usize, align: usize, _: NoThrow)
        => free_aligned_sized(align, size);
    delete_array_sized_aligned_nothrow "_ZdaPvmSt11align_val_tRKSt9nothrow_t" (size: usize, align: usize, _: NoThrow)
        => free_aligned_sized(align, size);
}
