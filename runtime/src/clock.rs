//! The two clocks of the scheduler.
//!
//! * [`sched_clock`] says how long something ran: nanoseconds since the program started, from the processor's counter, a few
//!   nanoseconds to read. It may drift from the wall by some parts in a million, so nobody waits by it.
//! * [`monotonic`] is what deadlines are in: CLOCK_MONOTONIC, as `std::time::Instant`.
//!
//! The counter's rate is measured once, over the first milliseconds of the runtime, against CLOCK_MONOTONIC. Where the counter
//! is not constant (`constant_tsc` and `nonstop_tsc` are missing) or unknown, both are the same clock.

use crate::arch;
use std::sync::OnceLock;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec. CLOCK_MONOTONIC exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How ticks of the counter become nanoseconds: `(ticks - start) * scale >> 32`. A `scale` of 0: the counter is not used.
#[derive(Clone, Copy)]
struct Counter {
    start: u64,
    scale: u64,
}

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// How long the counter is watched to learn its rate: the reading of CLOCK_MONOTONIC is off by some 50 ns, so 5 parts in a
/// million over 10 ms.
const CALIBRATION_NS: u64 = 10_000_000;

/// Learns the counter's rate; takes 10 ms the first time.
pub(crate) fn calibrate() {
    COUNTER.get_or_init(|| {
        let unused = Counter { start: 0, scale: 0 };
        if let Some(hertz) = arch::frequency() {
            return Counter { start: arch::counter(), scale: scale(hertz, 1_000_000_000) };
        }
        if !arch::is_constant() {
            return unused;
        }
        let (ns, ticks) = (monotonic(), arch::counter());
        while monotonic() - ns < CALIBRATION_NS {
            std::hint::spin_loop();
        }
        let (ns, passed) = (monotonic() - ns, arch::counter() - ticks);
        if passed == 0 { unused } else { Counter { start: ticks, scale: scale(passed, ns) } }
    });
}

fn scale(ticks: u64, ns: u64) -> u64 {
    ((u128::from(ns) << 32) / u128::from(ticks)) as u64
}

/// Nanoseconds since some moment; never goes back on one core.
#[inline]
pub(crate) fn sched_clock() -> u64 {
    match COUNTER.get() {
        Some(counter) if counter.scale != 0 => {
            let ticks = arch::counter().wrapping_sub(counter.start);
            ((u128::from(ticks) * u128::from(counter.scale)) >> 32) as u64
        }
        _ => monotonic(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree_on_how_long_something_took() {
        calibrate();
        let (wall, counted) = (monotonic(), sched_clock());
        while monotonic() - wall < 20_000_000 {
            std::hint::spin_loop();
        }
        let counted = sched_clock() - counted;
        let wall = monotonic() - wall;
        // The kernel may take the core away between the two readings, hence a bound that only a wrong rate breaks.
        assert!(counted > wall / 2 && counted < wall * 2, "{counted} ns counted in {wall} ns");
    }

    #[test]
    fn without_a_counter_the_clock_is_the_walls() {
        assert_eq!(scale(1_000_000_000, 1_000_000_000), 1 << 32);
        assert_eq!(scale(2_000_000_000, 1_000_000_000), 1 << 31);
    }
}
