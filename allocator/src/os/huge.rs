//! Huge pages of 2 MiB: what is configured (`huge_pages`), and asking the kernel for them.
//!
//! A huge page saves misses of the translation cache, and costs memory where it is not in use throughout: one byte touched
//! makes 2 MiB resident. That is why nothing is asked for by default: the system's setting decides, for this allocator as
//! for any.
//!
//! | `huge_pages` | new mappings | later |
//! |---|---|---|
//! | `system` | as they are | |
//! | `never` | refuse huge pages | |
//! | `dense` | refuse huge pages | where 2 MiB are nearly all in memory already, they are asked for (`zone/huge.rs`) |
//!
//! So under `dense` memory does not grow by more than a tenth, whatever the system is set to; where it is set to `never`,
//! asking is in vain and not done. To know the setting a file is opened, once, only by those who have configured `dense`.

use super::map;
use crate::arch::syscall6;
use crate::config::{self, HugePages};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Of linux/mman.h, since Linux 6.1: huge pages at once, not when the kernel's own thread comes by.
const MADV_COLLAPSE: usize = 25;

/// Whether new mappings are to refuse huge pages.
pub(crate) fn refused_at_first() -> bool {
    config::get().huge_pages != HugePages::System
}

/// Whether huge pages are to be asked for where memory is dense.
pub(crate) fn dense() -> bool {
    config::get().huge_pages == HugePages::Dense && is_possible()
}

/// Whether the system grants huge pages to those who ask.
fn is_possible() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    static POSSIBLE: AtomicU8 = AtomicU8::new(UNKNOWN);
    if POSSIBLE.load(Relaxed) == UNKNOWN {
        // With pages larger than 4 KiB, huge ones have another size.
        let yes = map::os_page_size() == map::PAGE_SIZE && setting_allows();
        POSSIBLE.store(if yes { YES } else { NO }, Relaxed);
    }
    POSSIBLE.load(Relaxed) == YES
}

/// Whether the system's setting, with brackets around what holds, is another than `never`.
fn setting_allows() -> bool {
    let mut text = [0u8; 64];
    let at = libc::AT_FDCWD as isize as usize;
    let path = c"/sys/kernel/mm/transparent_hugepage/enabled".as_ptr() as usize;
    // SAFETY: the path ends with a zero byte, the buffer is writable, the descriptor our own.
    let got = unsafe {
        let file =
            syscall6(libc::SYS_openat as usize, [at, path, (libc::O_RDONLY | libc::O_CLOEXEC) as usize, 0, 0, 0]);
        if file < 0 {
            return false;
        }
        let got = syscall6(libc::SYS_read as usize, [file as usize, text.as_mut_ptr() as usize, text.len(), 0, 0, 0]);
        syscall6(libc::SYS_close as usize, [file as usize, 0, 0, 0, 0, 0]);
        got
    };
    let holds = |word: &[u8]| text[..got.max(0) as usize].windows(word.len()).any(|part| part == word);
    holds(b"[always]") || holds(b"[madvise]")
}

/// Refuses huge pages for a range from now on.
pub(crate) fn refuse(start: *mut u8, len: usize) {
    advise(start, len, libc::MADV_NOHUGEPAGE as usize);
}

/// Asks for a huge page in place of the pages of one.
pub(crate) fn ask(start: *mut u8) {
    advise(start, HUGE_PAGE, libc::MADV_HUGEPAGE as usize);
    advise(start, HUGE_PAGE, MADV_COLLAPSE);
}

/// Advice of this kind changes no contents, so whose memory it is does not matter; nor does it matter if it is refused.
fn advise(start: *mut u8, len: usize, advice: usize) {
    // SAFETY: see above.
    unsafe { syscall6(libc::SYS_madvise as usize, [start as usize, len, advice, 0, 0, 0]) };
}

/// How many of the pages of a huge page are in memory.
pub(crate) fn resident_pages(start: *mut u8) -> usize {
    let mut pages = [0u8; HUGE_PAGE / map::PAGE_SIZE];
    // SAFETY: the kernel writes a byte for each page of 4 KiB, for which there is room.
    unsafe { syscall6(libc::SYS_mincore as usize, [start as usize, HUGE_PAGE, pages.as_mut_ptr() as usize, 0, 0, 0]) };
    pages.iter().filter(|&&page| page & 1 != 0).count()
}
