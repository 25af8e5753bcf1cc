//! A cpu with nothing in its queue: it looks at timers and sockets, pulls from other cpus, and then sleeps in its poller.

use super::wake::{ASLEEP, AWAKE, SPINNING};
use super::{Cpu, count};
use crate::atomic::{Ordering, fence};
use crate::clock::{monotonic, sched_clock};
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef};
use polling::Events;
use std::time::{Duration, Instant};

/// Nanoseconds between looks at timers and sockets while there is always something to run: what a wake-up by them may be late.
/// A look costs about 0.3 us with sockets.
const LOOK_NS: u64 = 50_000;

/// Rounds of looking at its queue before a cpu sleeps: some microseconds, which is what waking it takes.
const SPINS: u32 = 100;

impl Cpu {
    /// The next task to run; None at the runtime's end.
    pub(super) fn find(&self, shared: &Shared, events: &mut Events) -> Option<EntityRef> {
        loop {
            if let Some(picked) = self.pick() {
                return Some(picked);
            }
            self.look(shared, events);
            if self.queued.load(Ordering::Relaxed) > 0 || shared.pull(self) {
                continue;
            }
            if shared.is_over() {
                return None;
            }
            self.sleep(shared, events);
        }
    }

    /// Wakes the tasks whose time has come, or whose sockets are ready.
    pub(super) fn look(&self, shared: &Shared, events: &mut Events) {
        let mut wait = LOOK_NS;
        let due = self.timer_due.load(Ordering::Relaxed);
        if due != u64::MAX {
            let now = monotonic();
            if due <= now {
                self.fire(now);
            }
            wait = self.timer_due.load(Ordering::Relaxed).saturating_sub(now).min(LOOK_NS);
        }
        if shared.has_sockets(self) {
            self.poll(shared, events, Some(Duration::ZERO));
        }
        self.own.look.set(sched_clock() + wait);
    }

    fn fire(&self, now: u64) {
        let mut timers = self.timers.lock();
        while timers.fire_one(now, |task| task.unpark()) {}
        self.timer_due.store(timers.next(), Ordering::Relaxed);
    }

    fn sleep(&self, shared: &Shared, events: &mut Events) {
        self.sleep.store(SPINNING, Ordering::Relaxed);
        shared.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut spins = 0;
        let asleep = loop {
            if self.queued.load(Ordering::Relaxed) > 0 || shared.is_over() || shared.something_to_pull(self) {
                break false;
            }
            if spins == SPINS {
                break self.sleep.compare_exchange(SPINNING, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            }
            if self.sleep.load(Ordering::Relaxed) == AWAKE {
                break false;
            }
            spins += 1;
            std::hint::spin_loop();
        };
        if asleep {
            fence(Ordering::SeqCst);
            // What was queued between the last look and ASLEEP met SPINNING, and is seen here.
            if self.queued.load(Ordering::Relaxed) == 0 && !shared.is_over() && !shared.something_to_pull(self) {
                let due = self.timer_due.load(Ordering::Relaxed);
                let timeout = (due != u64::MAX).then(|| Duration::from_nanos(due.saturating_sub(monotonic())));
                let before = sched_clock();
                self.poll(shared, events, timeout);
                count(&self.stats.sleeps, 1);
                count(&self.stats.idle, sched_clock().saturating_sub(before));
            }
        }
        self.sleep.store(AWAKE, Ordering::Relaxed);
        shared.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    fn poll(&self, shared: &Shared, events: &mut Events, timeout: Option<Duration>) {
        events.clear();
        match self.poller.wait(events, timeout) {
            Ok(_) => events.iter().for_each(|event| shared.socket_event(event)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
            Err(error) => panic!("waiting for sockets: {error}"),
        }
    }
}

impl Shared {
    /// Moves work from a busier cpu to one that has none. True if something came.
    fn pull(&self, to: &Cpu) -> bool {
        let n = self.cpus.len();
        let busiest = (1..n)
            .map(|step| &self.cpus[(to.index as usize + step) % n])
            .max_by_key(|cpu| cpu.queued.load(Ordering::Relaxed))
            .filter(|cpu| cpu.queued.load(Ordering::Relaxed) > 0);
        let Some(from) = busiest else { return false };
        let mut got = [None; PULL];
        let mut n = 0;
        {
            let now = sched_clock();
            let Some(mut rq) = from.rq.try_lock() else { return true };
            let most = (rq.nr_queued().div_ceil(2) as usize).min(PULL);
            while n < most {
                // SAFETY: queued entities are those of live tasks.
                let Some(entity) = rq.steal(|entity| self.may_move(unsafe { super::worker::task_of(entity) }), now) else { break };
                got[n] = Some(entity);
                n += 1;
            }
            from.note_queued(&rq);
        }
        let now = sched_clock();
        let mut rq = to.rq.lock();
        for entity in got.into_iter().flatten() {
            // SAFETY: as above; off its queue, so this cpu's alone.
            let task = unsafe { super::worker::task_of(entity) };
            task.cpu.store(to.index, Ordering::Relaxed);
            count(&task.stats.migrations, 1);
            rq.enqueue(entity, Enqueue::Migrated, now);
        }
        to.note_queued(&rq);
        count(&to.stats.steals, u64::from(n > 0));
        count(&to.stats.migrations, n as u64);
        n > 0
    }
}

/// Tasks that an idle cpu takes at once, and never more than half of what waits: Linux moves 32 at most.
const PULL: usize = 32;
