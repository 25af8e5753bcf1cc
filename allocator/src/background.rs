//! A thread that gives memory back also while the program does nothing; only if configured.
//!
//! It sleeps on the pressure word while that is Quiet, so a program at rest has no wake-ups from it, and for an interval
//! between two passes otherwise. It allocates nothing, and blocks all signals, which are the program's.
//!
//! It is started by the first look at a pressure that is not Quiet: with a heap in place and no lock held, for `pthread_create`
//! allocates, and comes by here again. A child of fork has no such thread; its own first look starts one.

use crate::config;
use crate::os::clock;
use crate::pressure::{self, Pressure};
use crate::reclaim;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Address space of the thread's stack. It touches two pages or three; the C library's part (thread-local storage of all
/// libraries) lies in there, too.
const STACK: usize = 256 << 10;

/// Milliseconds between two steps of what is owed.
const STEP_MS: u64 = 10;

/// Whether the thread has been started, in this process.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Starts the thread if that has not happened. If the system refuses, the program's threads go on without it.
pub(crate) fn ensure() {
    if !STARTED.load(Relaxed) && !STARTED.swap(true, Relaxed) && !start() {
        reclaim::without_background();
    }
}

/// In a child of fork, which does not have the thread.
pub(crate) fn forget() {
    STARTED.store(false, Relaxed);
}

fn start() -> bool {
    // SAFETY: calls of the C library with structures of our own; the thread's function takes no argument.
    unsafe {
        let mut attributes = core::mem::zeroed::<libc::pthread_attr_t>();
        if libc::pthread_attr_init(&mut attributes) != 0 {
            return false;
        }
        libc::pthread_attr_setstacksize(&mut attributes, STACK);
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        // The thread inherits the mask, and must not run handlers of the program at any time.
        let (mut all, mut before) = (core::mem::zeroed(), core::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let mut thread = 0;
        let failed = libc::pthread_create(&mut thread, &attributes, run, null_mut()) != 0;
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
        libc::pthread_attr_destroy(&mut attributes);
        !failed
    }
}

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    let interval = config::get().decay_ms.max(1) as u64;
    loop {
        match pressure::pressure() {
            Pressure::Quiet if pressure::sleep_while_quiet() => {}
            Pressure::Urgent => clock::sleep_ms(STEP_MS),
            _ => clock::sleep_ms(interval),
        }
        reclaim::try_pass(clock::now_ms());
    }
}
