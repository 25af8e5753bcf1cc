//! Whether anything may be idle: the word between those who free and those who give back.
//!
//! `Quiet`, or `Pending` once something has been freed into a stock (`decay.rs`), or `Urgent` when a cap is exceeded or
//! something is owed. Who frees raises it, after the stock has grown. A pass over the stocks (`reclaim.rs`) sets it to Quiet
//! *first*, then looks, and raises it if something stays. So what is freed after the pass has looked at its stock is not
//! forgotten: stock and look are ordered by the stock's lock, and the raise comes after the one and finds the Quiet from
//! before the other. (A free into a slab that is listed already takes no lock and may be overlooked; the next free of
//! anything makes up for it.)
//!
//! The word is also the futex on which the background thread sleeps while it is Quiet.

use crate::os::futex;
use core::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Pressure {
    Quiet = 0,
    Pending = 1,
    Urgent = 2,
}

static PRESSURE: AtomicU32 = AtomicU32::new(Pressure::Quiet as u32);

/// Whether the background thread wants to be woken.
static SLEEPER: AtomicBool = AtomicBool::new(false);

/// The pressure now.
#[inline]
pub(crate) fn pressure() -> Pressure {
    match PRESSURE.load(Relaxed) {
        0 => Pressure::Quiet,
        1 => Pressure::Pending,
        _ => Pressure::Urgent,
    }
}

/// Raises the pressure; one load if it is as high already.
#[inline]
pub(crate) fn raise(to: Pressure) {
    if PRESSURE.load(Relaxed) < to as u32 {
        raise_slow(to);
    }
}

#[cold]
#[inline(never)]
fn raise_slow(to: Pressure) {
    // SeqCst with `sleep_while_quiet`: either it sees the pressure, or this sees the sleeper.
    if PRESSURE.fetch_max(to as u32, SeqCst) == Pressure::Quiet as u32 && SLEEPER.load(SeqCst) {
        futex::wake_one(&PRESSURE);
    }
}

/// A pass begins to look.
pub(crate) fn calm() {
    PRESSURE.store(Pressure::Quiet as u32, Relaxed);
}

/// Sleeps until the pressure rises; for the background thread. May return early; false if the system has no such sleep.
pub(crate) fn sleep_while_quiet() -> bool {
    SLEEPER.store(true, SeqCst);
    let slept = PRESSURE.load(SeqCst) != Pressure::Quiet as u32 || futex::rest(&PRESSURE, Pressure::Quiet as u32);
    SLEEPER.store(false, Relaxed);
    slept
}
