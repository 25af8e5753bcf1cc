//! Sleeping and waking of a cpu, without the rest of it: who may sleep, and who owes a notification.
//!
//! The sleeper says SPINNING, and looks at its queue. If that stays empty it says ASLEEP, looks once more, and sleeps. The waker
//! queues something, and looks at the word after. A sequentially consistent fence stands between the two steps of each, so at least one sees what the
//! other wrote (Dekker). Whoever moves the word from ASLEEP to AWAKE owes a notification, which ends the sleep or the next one; from SPINNING
//! nothing is owed, for the sleeper looks again before it sleeps.

use crate::atomic::{AtomicU32, Ordering, fence};

/// Runs, or will look at its queue before it sleeps.
const AWAKE: u32 = 0;
/// Looks around before it sleeps.
const SPINNING: u32 = 1;
/// Sleeps, or is about to.
const ASLEEP: u32 = 2;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Sleep(AtomicU32);

/// What a waker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roused {
    /// It was awake.
    No,
    /// It looks around, and will find what there is.
    Spinning,
    /// It slept: the caller owes it a notification.
    Asleep,
}

impl Sleep {
    pub(crate) fn new() -> Sleep {
        Sleep(AtomicU32::new(AWAKE))
    }

    /// By the sleeper, before it looks around for the last time.
    pub(crate) fn announce(&self) {
        // An exchange, so that it is behind all that wakers did to the word before, in the models' eyes too.
        self.0.swap(SPINNING, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// By the sleeper: false if somebody roused it. True: it looks at its queue once more, and may sleep.
    pub(crate) fn commit(&self) -> bool {
        let asleep = self.0.compare_exchange(SPINNING, ASLEEP, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        fence(Ordering::SeqCst);
        asleep
    }

    /// By the sleeper: somebody roused it.
    pub(crate) fn is_roused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == AWAKE
    }

    /// By the sleeper: it looks at its queue next.
    pub(crate) fn end(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// By a waker, after it queued something.
    #[inline]
    pub(crate) fn rouse(&self) -> Roused {
        fence(Ordering::SeqCst);
        self.rouse_fenced()
    }

    /// As [`rouse`](Sleep::rouse), behind the caller's own fence.
    #[inline]
    pub(crate) fn rouse_fenced(&self) -> Roused {
        if self.0.load(Ordering::Relaxed) == AWAKE {
            return Roused::No;
        }
        match self.0.swap(AWAKE, Ordering::AcqRel) {
            ASLEEP => Roused::Asleep,
            SPINNING => Roused::Spinning,
            _ => Roused::No,
        }
    }

    /// As a hint: it sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ASLEEP
    }

    /// As a hint: it looks around.
    pub(crate) fn is_spinning(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SPINNING
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// If something is queued while the cpu goes to sleep, it finds it, whoever comes first; loom reports a sleep for ever as a deadlock. The
    /// notification is a thread's token.
    fn nothing_is_slept_through(wakers: u32) {
        // With 3 it takes minutes.
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(move || {
            let all = Arc::new((Sleep::new(), AtomicU32::new(0)));
            let sleeper = thread::current();
            let threads: Vec<_> = (0..wakers)
                .map(|_| {
                    let (all, sleeper) = (Arc::clone(&all), sleeper.clone());
                    thread::spawn(move || {
                        all.1.fetch_add(1, Ordering::Relaxed);
                        if all.0.rouse() == Roused::Asleep {
                            sleeper.unpark();
                        }
                    })
                })
                .collect();
            // As the cpu looks at its queue: under a lock, so it reads the latest there is.
            let latest = || all.1.fetch_add(0, Ordering::AcqRel);
            loop {
                let seen = latest();
                if seen == wakers {
                    break;
                }
                all.0.announce();
                if all.1.load(Ordering::Relaxed) == seen && all.0.commit() && all.1.load(Ordering::Relaxed) == seen {
                    thread::park();
                }
                all.0.end();
            }
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
    }

    #[test]
    fn one_wake_up_is_not_slept_through() {
        nothing_is_slept_through(1);
    }

    #[test]
    fn two_wake_ups_are_not_slept_through() {
        nothing_is_slept_through(2);
    }
}
