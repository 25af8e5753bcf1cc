//! When statistics are written unasked: at exit and on a signal, if the configuration says so.
//!
//! Arranged with the first heap and not when the configuration is read: registering may allocate, which works only then.
//! At exit they go to the stderr of the start, on a signal to that of the moment (`os::stderr`).

use super::{json, tables};
use crate::arch::syscall6;
use crate::config::{self, Statistics};
use crate::lock::Patience;
use crate::os::map::write_all;
use crate::os::stderr;
use crate::report;
use crate::text::Text;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

unsafe extern "C" {
    fn __cxa_atexit(call: extern "C" fn(*mut c_void), argument: *mut c_void, library: *mut c_void) -> c_int;
}

/// Does what the configuration asks for; called once. The report of leaks needs stderr too.
pub(crate) fn arrange() {
    let config = config::get();
    if config.stats != Statistics::None || config.leaks {
        stderr::keep();
    }
    if config.stats != Statistics::None {
        // SAFETY: a function that stays; no library, so it is called at exit whatever is unloaded.
        unsafe { __cxa_atexit(at_exit, null_mut(), null_mut()) };
    }
    if config.stats_signal != 0 {
        install(config.stats_signal as c_int);
    }
}

fn install(signal: c_int) {
    // SAFETY: both structures are plain data of our own; zeroes are an empty mask and no flags.
    let installed = unsafe {
        let mut old: libc::sigaction = core::mem::zeroed();
        if libc::sigaction(signal, core::ptr::null(), &mut old) != 0 {
            false
        } else if old.sa_sigaction != libc::SIG_DFL {
            return report::line(|text| {
                text.text("stats_signal:").number(signal as usize);
                text.text(" is skipped: the program handles or ignores this signal; choose another");
            });
        } else {
            let mut new: libc::sigaction = core::mem::zeroed();
            new.sa_sigaction = on_signal as *const () as usize;
            new.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &new, null_mut()) == 0
        }
    };
    if !installed {
        report::line(|text| {
            text.text("stats_signal:").number(signal as usize);
            text.text(" is skipped: the system lets nobody handle this signal; choose another, such as 10 (SIGUSR1)");
        });
    }
}

/// Somebody writes: what comes piece by piece must not be mixed with another's. Stays set from exit on.
static WRITING: AtomicBool = AtomicBool::new(false);

/// How often the exit lets others run, in case another thread's handler writes: long enough for it, and not for ever, for that
/// thread may be stopped.
const YIELDS: usize = 10_000;

extern "C" fn at_exit(_: *mut c_void) {
    for _ in 0..YIELDS {
        if !WRITING.swap(true, Acquire) {
            break;
        }
        // SAFETY: has no preconditions.
        unsafe { syscall6(libc::SYS_sched_yield as usize, [0; 6]) };
    }
    write(Patience::Wait, stderr::kept());
}

/// A signal that comes while statistics are written is dropped: they are being written.
extern "C" fn on_signal(_: c_int) {
    if !WRITING.swap(true, Acquire) {
        write(Patience::Try, stderr::STDERR);
        WRITING.store(false, Release);
    }
}

fn write(patience: Patience, stderr: i32) {
    let file = open();
    let mut sink = |bytes: &[u8]| write_all(file.unwrap_or(stderr), bytes);
    let mut text = Text::new(&mut sink);
    match config::get().stats {
        Statistics::Json => json::write(&mut text, patience),
        _ => tables::write(&mut text, patience),
    }
    drop(text);
    if let Some(file) = file {
        // SAFETY: our own descriptor.
        unsafe { syscall6(libc::SYS_close as usize, [file as usize, 0, 0, 0, 0, 0]) };
    }
}

/// The configured file, to append to; None for stderr, also where it cannot be opened, which a line says.
fn open() -> Option<i32> {
    let given = config::get().stats_to.bytes();
    if given.is_empty() {
        return None;
    }
    let mut path = [0u8; 512];
    let mut len = 0;
    expand(given, &mut |bytes| {
        // The last byte stays zero.
        let n = bytes.len().min(path.len() - 1 - len);
        path[len..len + n].copy_from_slice(&bytes[..n]);
        len += n;
    });
    // SAFETY: the path ends with a zero byte.
    let file = unsafe {
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC) as usize;
        let at = libc::AT_FDCWD as isize as usize;
        syscall6(libc::SYS_openat as usize, [at, path.as_ptr() as usize, flags, 0o600, 0, 0])
    };
    if file < 0 {
        report::line(|text| {
            text.text("stats_to:").bytes(&path[..len]).text(": cannot be opened (errno ").number(-file as usize);
            text.text("); statistics go to stderr");
        });
        return None;
    }
    Some(file as i32)
}

/// Puts the process id in the place of each `%p`.
fn expand(path: &[u8], sink: &mut dyn FnMut(&[u8])) {
    let mut text = Text::new(sink);
    let mut rest = path;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"%p") {
        // SAFETY: has no preconditions.
        let pid = unsafe { libc::getpid() };
        text.bytes(&rest[..at]).number(pid as usize);
        rest = &rest[at + 2..];
    }
    text.bytes(rest);
}
