//! mallopt and malloc_trim.
//!
//! glibc's parameters describe glibc's heap. Those that mean something here go to the core's knobs; the others are
//! accepted as glibc accepts them and change nothing, for a program that tunes glibc must run unchanged:
//!
//! | parameter | here |
//! |---|---|
//! | `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD`, `M_MMAP_MAX`, `M_PERTURB` | the core's knob of that name; 0 if it refuses the value |
//! | `M_MXFAST` | 1 if within 0 to 160 as in glibc, else 0; no effect (the sheaves have their own limits) |
//! | `M_ARENA_MAX` | sets of bins for threads that begin to allocate; 0 for the configured number, 4 at most |
//! | `M_TOP_PAD`, `M_ARENA_TEST`, `M_CHECK_ACTION` | 1; no effect: regions are small, and checks are always on |
//! | anything else | 1, glibc's answer to parameters it does not know |
//!
//! The values are C ints. A negative one becomes a huge size, as in glibc: `M_TRIM_THRESHOLD` of -1 means 'never'.

use core::ffi::c_int;
use fairground_allocator::malloc::{self as core_malloc, Knob};

const M_MXFAST: c_int = 1;
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;
const M_MMAP_MAX: c_int = -4;
const M_PERTURB: c_int = -6;
const M_ARENA_MAX: c_int = -8;

/// glibc's MAX_FAST_SIZE on 64 bits: 80 * sizeof(size_t) / 4.
const MAX_FAST_SIZE: c_int = 160;

fn set(parameter: c_int, value: c_int) -> c_int {
    let knob = match parameter {
        M_TRIM_THRESHOLD => Knob::TrimThreshold,
        M_MMAP_THRESHOLD => Knob::MmapThreshold,
        M_MMAP_MAX => Knob::MmapMax,
        M_PERTURB => Knob::Perturb,
        M_ARENA_MAX if value >= 0 => Knob::ArenaMax,
        M_MXFAST => return c_int::from((0..=MAX_FAST_SIZE).contains(&value)),
        _ => return 1,
    };
    c_int::from(core_malloc::set_knob(knob, value as isize as usize))
}

#[unsafe(no_mangle)]
extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    set(parameter, value)
}

#[unsafe(no_mangle)]
extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
    set(parameter, value)
}

/// Gives free memory back to the system but for about `pad` bytes; 1 if any went back.
#[unsafe(no_mangle)]
extern "C" fn malloc_trim(pad: usize) -> c_int {
    c_int::from(core_malloc::trim(pad))
}
