//! Driver of the instruction counts for the C calls: `hot_calls SIZE CALLS`.
//!
//! Each `measured_` function calls one function of the allocator and nothing else; see
//! `fairground_benches::instruction_counts`. They store the result in a static afterwards: without that the call would be in
//! tail position, a jump, and callgrind would have to guess that it is a call.
//!
//! `free_sized` and the C++ operators are looked up at run time, since the C library may lack the one and this program is not
//! linked with the C++ library. Where a function is absent its row is not measured.

use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

type Allocate = unsafe extern "C" fn(usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type FreeSized = unsafe extern "C" fn(*mut c_void, usize);

/// Blocks of the same size that are alive during the calls.
const OTHERS: usize = 10;

static RESULT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_malloc(size: usize) {
    // SAFETY: malloc may be called with any size.
    RESULT.store(unsafe { libc::malloc(size) }, Relaxed);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_free(block: *mut c_void) {
    // SAFETY: the callers pass the live block that they just got from the matching allocation.
    unsafe { libc::free(block) };
    RESULT.store(std::ptr::null_mut(), Relaxed);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_new(new: Allocate, size: usize) {
    // SAFETY: `new` is the operator, which takes any size.
    RESULT.store(unsafe { new(size) }, Relaxed);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_delete(delete: Free, block: *mut c_void) {
    // SAFETY: as in `measured_free`.
    unsafe { delete(block) };
    RESULT.store(std::ptr::null_mut(), Relaxed);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measured_free_sized(free_sized: FreeSized, block: *mut c_void, size: usize) {
    // SAFETY: as in `measured_free`; the size is that of the allocation.
    unsafe { free_sized(block, size) };
    RESULT.store(std::ptr::null_mut(), Relaxed);
}

fn main() {
    let argument = |index: usize| std::env::args().nth(index).and_then(|text| text.parse::<usize>().ok());
    let (Some(size), Some(calls)) = (argument(1), argument(2)) else {
        eprintln!("usage: hot_calls SIZE CALLS");
        std::process::exit(2);
    };
    // Some blocks stay alive throughout: an allocator that gives a page back when its only block is freed would otherwise do
    // so at every call, which no program with more than one object sees.
    // SAFETY: malloc may be called with any size.
    black_box((0..OTHERS).map(|_| unsafe { libc::malloc(size) }).collect::<Vec<_>>());
    warm_up(size, calls / 10);
    for _ in 0..calls {
        measured_malloc(size);
        measured_free(RESULT.load(Relaxed));
    }
    if let Some(free_sized) = symbol(c"free_sized") {
        // SAFETY: this is the signature of free_sized in C23.
        let free_sized = unsafe { std::mem::transmute::<*mut c_void, FreeSized>(free_sized) };
        for _ in 0..calls {
            // SAFETY: malloc may be called with any size.
            let block = black_box(unsafe { libc::malloc(size) });
            measured_free_sized(free_sized, block, size);
        }
    }
    // SAFETY: the C++ library may be loaded at any time; without a preloaded operator new this makes it available.
    unsafe { libc::dlopen(c"libstdc++.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if let (Some(new), Some(delete)) = (symbol(c"_Znwm"), symbol(c"_ZdlPv")) {
        // SAFETY: these are the signatures of operator new(size_t) and operator delete(void*) on 64-bit systems.
        let (new, delete) = unsafe {
            (std::mem::transmute::<*mut c_void, Allocate>(new), std::mem::transmute::<*mut c_void, Free>(delete))
        };
        for _ in 0..calls / 10 {
            // SAFETY: allocated here, freed here.
            unsafe { delete(black_box(new(size))) };
        }
        for _ in 0..calls {
            measured_new(new, size);
            measured_delete(delete, RESULT.load(Relaxed));
        }
    }
}

#[inline(never)]
fn warm_up(size: usize, calls: usize) {
    for _ in 0..calls {
        // SAFETY: allocated here, freed here; black_box keeps the pair from being removed.
        unsafe { libc::free(black_box(libc::malloc(size))) };
    }
}

/// The address of a function in the preloaded library or in any other that is loaded.
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a string that ends in null.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
