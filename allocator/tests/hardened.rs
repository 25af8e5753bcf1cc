//! What hardening catches: overflows, writes to freed blocks, double frees; and that correct programs are left alone. Also what
//! `zero_on_free` leaves behind.
//!
//! Every misuse is made in a process forked for it, which must end by SIGABRT with the right words, or fault at a guard.

mod support;

use fairground_allocator::malloc::{
    calloc, check_at_exit, free, free_aligned_sized, free_sized, malloc, memalign, realloc, trim, usable_size,
};
use std::process::ExitCode;
use support::Case;

/// Sizes of every engine that are no extents: slabs, bins, runs.
const SIZES: [usize; 8] = [1, 24, 100, 2_000, 8_000, 20_000, 200_000, 1 << 20];
const EXTENT: usize = 9 << 20;

/// Guards for extents only: for tests that must know beforehand who has one.
const NO_GUARDS: &str = "hardened:true,hardened_sample:1000000";

/// Runs `body` in a fork; how it ended (its signal, or 0), and what it said on stderr.
fn in_fork(body: impl FnOnce()) -> (i32, String) {
    // SAFETY: the process has one thread where this is called; the child ends by a signal or `_exit`.
    unsafe {
        let mut ends = [0; 2];
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            libc::dup2(ends[1], 2);
            body();
            libc::_exit(0);
        }
        assert!(child > 0);
        libc::close(ends[1]);
        let (mut said, mut buffer) = (Vec::new(), [0u8; 1000]);
        loop {
            let got = libc::read(ends[0], buffer.as_mut_ptr().cast(), buffer.len());
            if got <= 0 {
                break;
            }
            said.extend_from_slice(&buffer[..got as usize]);
        }
        libc::close(ends[0]);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        (status & 0x7f, String::from_utf8_lossy(&said).into_owned())
    }
}

/// `body` must be reported with these words.
#[track_caller]
fn reports(what: &str, words: &str, body: impl FnOnce()) {
    let (signal, said) = in_fork(body);
    let right = signal == libc::SIGABRT && words.split('|').any(|words| said.contains(words));
    assert!(right, "{what}: signal {signal}, not '{words}': {said}");
}

/// Changes a byte, so that it is another one whatever it was.
fn change(p: *mut u8, at: usize) {
    // SAFETY: misuse, of mapped memory.
    unsafe { p.add(at).write_volatile(p.add(at).read_volatile() ^ 0x55) }
}

/// Allocates and frees blocks of a size until everything that waited has been looked at.
fn churn(size: usize) {
    for _ in 0..3 {
        let blocks: Vec<_> = (0..100).map(|_| malloc(size)).collect();
        // SAFETY: freed once each.
        blocks.into_iter().for_each(|block| unsafe { free(block) });
    }
}

fn overflows() {
    for size in (1..=1100).chain(SIZES) {
        reports(&format!("free, {size} bytes"), "overflow: the bytes behind", || {
            let p = malloc(size);
            change(p, size);
            // SAFETY: freed once.
            unsafe { free(p) };
        });
    }
    for size in (1..=1100).step_by(13).chain(SIZES) {
        reports(&format!("a zero behind {size} bytes"), "free(0x", || {
            let p = malloc(size);
            // SAFETY: misuse.
            unsafe { p.add(size).write_volatile(0) };
            // SAFETY: freed once.
            unsafe { free_sized(p, size) };
        });
        reports(&format!("realloc, {size} bytes"), "realloc(0x", || {
            let p = malloc(size);
            change(p, size);
            // SAFETY: a block.
            unsafe { realloc(p, size * 2) };
        });
        reports(&format!("sealed anew by realloc, {size} bytes"), "overflow: the bytes behind", || {
            // SAFETY: a block, freed once.
            unsafe {
                let p = realloc(malloc(size + 5), size);
                change(p, size);
                free(p);
            }
        });
        reports(&format!("aligned, {size} bytes"), "overflow: the bytes behind", || {
            let p = memalign(256, size);
            change(p, size);
            // SAFETY: freed once.
            unsafe { free_aligned_sized(p, 256, size) };
        });
    }
}

fn guards() {
    for size in [80_000, 100_000, 1 << 20, EXTENT] {
        assert_eq!(size % 16, 0);
        // SAFETY: misuse.
        let behind = || unsafe { malloc(size).add(size).write_volatile(1) };
        assert_eq!(in_fork(behind).0, libc::SIGSEGV, "{size} bytes");
        let freed = || {
            let p = malloc(size);
            // SAFETY: freed once, then misuse.
            unsafe {
                free(p);
                p.write_volatile(1);
            }
        };
        assert_eq!(in_fork(freed).0, libc::SIGSEGV, "{size} bytes, freed");
        for (what, at) in [("the slack", size - 3), ("the bytes before", usize::MAX)] {
            reports(&format!("{what}, {size} bytes"), "overflow: the bytes behind", || {
                let p = malloc(size - 3);
                // SAFETY: misuse.
                unsafe { p.wrapping_add(at).write_volatile(p.wrapping_add(at).read_volatile() ^ 1) };
                // SAFETY: freed once.
                unsafe { free(p) };
            });
        }
    }
    // More than there may be guards: the rest is sealed.
    let blocks: Vec<_> = (0..5000).map(|_| malloc(64 << 10)).collect();
    reports("beyond the bound", "overflow: the bytes behind", || {
        change(blocks[4999], 64 << 10);
        // SAFETY: freed once.
        unsafe { free(blocks[4999]) };
    });
    // SAFETY: freed once each.
    blocks.into_iter().for_each(|block| unsafe { free(block) });
}

fn writes_after_free(further: bool) {
    // With all of them checked further, larger ones would have guards.
    for size in SIZES.into_iter().filter(|&size| !further || size < 64 << 10) {
        let seen = if further { size.min(1024) } else { size.min(32) };
        for at in [0, 7, 8, 23, 31, 100, 500, 999].into_iter().filter(|&at| at < seen) {
            let write = || {
                let p = malloc(size);
                // SAFETY: freed once.
                unsafe { free(p) };
                change(p, at);
            };
            let words = format!("use after free: the block has been written to at byte {at} since");
            reports(&format!("{size} bytes at {at}, by and by"), &words, || {
                write();
                churn(size);
            });
            reports(&format!("{size} bytes at {at}, at exit"), &words, || {
                write();
                check_at_exit();
            });
            reports(&format!("{size} bytes at {at}, by trim"), &words, || {
                write();
                trim(0);
            });
        }
    }
}

fn double_frees() {
    for size in SIZES.into_iter().chain([EXTENT]) {
        let words = if size == EXTENT { "not a pointer from this allocator" } else { "double free: the block of" };
        // SAFETY: misuse throughout.
        unsafe {
            reports(&format!("at once, {size}"), words, || {
                let p = malloc(size);
                free(p);
                free(p);
            });
            reports(&format!("sized, {size}"), words, || {
                let p = malloc(size);
                free_sized(p, size);
                free_sized(p, size);
            });
            reports(&format!("realloc after free, {size}"), words, || {
                let p = malloc(size);
                free(p);
                realloc(p, size * 2);
            });
            reports(&format!("realloc moved it, {size}"), words, || {
                let p = malloc(size);
                // To another engine or class: it cannot stay.
                assert_ne!(realloc(p, if size == 1 { 4000 } else { 1 }), p);
                free(p);
            });
            reports(&format!("in another thread, {size}"), words, || {
                let p = malloc(size).expose_provenance();
                free(std::ptr::with_exposed_provenance_mut(p));
                let again = move || free(std::ptr::with_exposed_provenance_mut(p));
                std::thread::spawn(again).join().expect("aborted before");
            });
        }
        if size > 8_192 {
            continue; // back in the bins or the zone less is known of it
        }
        // SAFETY: misuse throughout.
        unsafe {
            reports(&format!("with others between, {size}"), words, || {
                let (blocks, kept): (Vec<_>, Vec<_>) = (0..200).map(|_| (malloc(size), malloc(size))).unzip();
                blocks.iter().for_each(|&block| free(block));
                assert!(kept.iter().all(|block| !block.is_null()));
                free(blocks[0]);
            });
            reports(&format!("after reuse by another thread, {size}"), words, || {
                let p = malloc(size).expose_provenance();
                free(std::ptr::with_exposed_provenance_mut(p));
                trim(0);
                let theirs = std::thread::spawn(move || while malloc(size).expose_provenance() != p {});
                theirs.join().expect("it gets the block");
                // The program's mistake takes the other's block away; its own free of it is the second one.
                free(std::ptr::with_exposed_provenance_mut(p));
                free(std::ptr::with_exposed_provenance_mut(p));
            });
        }
    }
}

/// Blocks of all sizes replace each other at random; each keeps what was written into it.
fn correct_program() {
    let work = |mut random: u64| {
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as usize % below
        };
        let mut blocks = vec![(std::ptr::null_mut::<u8>(), 0usize, 0u8); 200];
        for round in 0..60_000 {
            let at = next(blocks.len());
            let (old, old_size, byte) = blocks[at];
            let shift = 1 + next(if round % 50 == 0 { 22 } else { 12 });
            let (size, fill) = (1 + next(1 << shift), round as u8);
            let is_whole = |p: *mut u8, size: usize| {
                let step = 1 + size / 100;
                // SAFETY: a block of this size.
                (0..size).step_by(step).chain(size.checked_sub(1)).all(|i| unsafe { *p.add(i) } == byte)
            };
            // SAFETY: live blocks with their sizes.
            unsafe {
                assert!(is_whole(old, old_size));
                let p = match next(5) {
                    0 if !old.is_null() => {
                        let p = realloc(old, size);
                        assert!(is_whole(p, size.min(old_size)));
                        p
                    }
                    kind => {
                        if kind & 1 == 0 || old.is_null() {
                            free(old)
                        } else {
                            free_sized(old, old_size)
                        }
                        if kind == 2 {
                            let p = calloc(1, size);
                            assert!((0..size).step_by(1 + size / 100).all(|i| *p.add(i) == 0));
                            p
                        } else {
                            malloc(size)
                        }
                    }
                };
                assert_eq!((p.addr() % 16, usable_size(p)), (0, size));
                p.write_bytes(fill, size);
                blocks[at] = (p, size, fill);
            }
        }
        // SAFETY: freed once each.
        blocks.into_iter().for_each(|(p, ..)| unsafe { free(p) });
        check_at_exit();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(88_172_645_463_325_252));
        scope.spawn(|| work(7_046_029_254_386_353_131));
    });
    for align in [32, 64, 512, 4096, 65_536, 1 << 21] {
        for size in [0, 1, 100, 70_000, 300_000] {
            let p = memalign(align, size);
            assert!(!p.is_null() && p.addr().is_multiple_of(align));
            // SAFETY: freed once.
            unsafe {
                p.write_bytes(1, size);
                free_aligned_sized(p, align, size);
            }
        }
    }
    trim(0);
    // SAFETY: null is allowed.
    unsafe { free(std::ptr::null_mut()) };
}

/// Freed memory holds zeroes until it is used again.
fn freed_memory_is_zero(readable: &[usize]) {
    for &size in readable {
        type FreeIt = unsafe fn(*mut u8, usize);
        // SAFETY: in all of them a block of this size, freed once.
        let frees: [(&str, FreeIt); 4] = unsafe {
            [
                ("free", |p, _| free(p)),
                ("free_sized", |p, size| free_sized(p, size)),
                // Another engine: it cannot stay.
                ("realloc moves it", |p, size| _ = realloc(p, if size > 9_000 { 100 } else { 300_000 })),
                ("realloc to less", |p, size| _ = realloc(p, size / 2)),
            ]
        };
        for (what, free_it) in frees {
            let before: Vec<_> = (0..2).map(|_| malloc(size)).collect();
            let p = malloc(size);
            let behind = malloc(size);
            // SAFETY: a block of this size; afterwards mapped memory of the allocator, as others lie around it.
            unsafe {
                p.write_bytes(0xa5, size);
                free_it(p, size);
                // What stays in the block that was made shorter is the program's.
                let stays = if what == "realloc to less" { size / 2 } else { 0 };
                let left = (stays..size).filter(|&at| p.add(at).read_volatile() == 0xa5).count();
                assert!(left <= 8, "{what}, {size} bytes: {left} bytes are left");
                before.into_iter().chain([behind]).for_each(|block| free(block));
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, body: fn()| Case::new(name, None, body);
    let zero = || freed_memory_is_zero(&[24, 100, 2_000, 8_000, 20_000, 200_000, 1 << 20]);
    vec![
        case("overflow by one byte, of every size", overflows).configured(NO_GUARDS),
        case("guard pages", guards).configured("hardened:true,hardened_sample:1"),
        case("writes to freed blocks", || writes_after_free(false)).configured(NO_GUARDS),
        case("writes anywhere in freed blocks", || writes_after_free(true))
            .configured("hardened:true,hardened_sample:1"),
        case("double frees", double_frees).configured(NO_GUARDS),
        case("a correct program", correct_program).configured("hardened:true"),
        case("a correct program", correct_program).configured("hardened:true,hardened_sample:1"),
        case("a correct program", correct_program).configured("hardened:true,zero_on_free:true"),
        case("a correct program, and what it freed", zero)
            .configured("hardened:true,zero_on_free:true,hardened_sample:1000000"),
        case("what is freed holds zeroes", zero).configured("zero_on_free:true"),
        Case::aborted("going on after an overflow", &["overflow: the bytes behind"], || {
            let p = malloc(100);
            change(p, 100);
            // SAFETY: freed once, and lost.
            unsafe { free(p) };
            churn(100);
        })
        .configured("hardened:true,misuse:report")
        .going_on(correct_program),
        Case::aborted("going on after a write to a freed block", &["use after free: the block"], || {
            let p = malloc(100);
            // SAFETY: freed once.
            unsafe { free(p) };
            change(p, 3);
            churn(100);
        })
        .configured("hardened:true,misuse:report")
        .going_on(correct_program),
    ]
}

fn main() -> ExitCode {
    support::run(cases())
}
