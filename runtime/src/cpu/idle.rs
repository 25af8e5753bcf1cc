//! A cpu with nothing in its queue: it looks at timers and sockets, pulls from other cpus, and then sleeps in its reactor.

use super::queue::task_of;
use super::wake::{ASLEEP, AWAKE, SPINNING};
use super::{Cpu, count};
use crate::atomic::{Ordering, fence};
use crate::clock::{monotonic, sched_clock};
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef};

/// Nanoseconds between looks at timers and sockets while there is always something to run: what a wake-up by them may be late.
/// A look costs about 0.3 us with sockets.
const LOOK_NS: u64 = 50_000;

/// Rounds of looking at its queue before a cpu sleeps: some microseconds, which is what waking it takes.
const SPINS: u32 = 100;

impl Cpu {
    /// The next task to run; None at the runtime's end.
    pub(super) fn find(&self, shared: &Shared) -> Option<EntityRef> {
        loop {
            if let Some(picked) = self.pick(shared) {
                return Some(picked);
            }
            self.look();
            if self.queued.load(Ordering::Relaxed) > 0 || shared.pull(self) {
                continue;
            }
            if shared.is_over() {
                return None;
            }
            self.sleep(shared);
        }
    }

    /// Wakes the tasks whose time has come, or whose sockets are ready.
    pub(super) fn look(&self) {
        let mut wait = LOOK_NS;
        let due = self.timer_due.load(Ordering::Relaxed);
        if due != u64::MAX {
            let now = monotonic();
            if due <= now {
                self.fire(now);
            }
            wait = self.timer_due.load(Ordering::Relaxed).saturating_sub(now).min(LOOK_NS);
        }
        if self.reactor.has_sources() {
            self.reactor.look();
        }
        self.own.look.set(sched_clock() + wait);
    }

    fn fire(&self, now: u64) {
        let mut timers = self.timers.lock();
        while timers.fire_one(now, |task| task.unpark()) {}
        self.timer_due.store(timers.next(), Ordering::Relaxed);
    }

    fn sleep(&self, shared: &Shared) {
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
                let before = sched_clock();
                self.reactor.sleep(self.timer_due.load(Ordering::Relaxed));
                count(&self.stats.sleeps, 1);
                count(&self.stats.idle, sched_clock().saturating_sub(before));
            }
        }
        self.sleep.store(AWAKE, Ordering::Relaxed);
        shared.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tasks that an idle cpu takes at once, and never more than half of what may move: Linux moves 32 at most.
const PULL: usize = 32;

impl Shared {
    /// Something waits on another cpu that this one may take.
    fn something_to_pull(&self, to: &Cpu) -> bool {
        self.cpus.iter().any(|cpu| cpu.index != to.index && cpu.movable.load(Ordering::Relaxed) != 0)
    }

    /// Moves work from the cpu that has most to one that has none. True if something came, or may come at once.
    fn pull(&self, to: &Cpu) -> bool {
        let n = self.cpus.len();
        let others = (1..n).map(|step| &self.cpus[(to.index as usize + step) % n]);
        let Some(from) = others.max_by_key(|cpu| cpu.movable.load(Ordering::Relaxed)) else { return false };
        if from.movable.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut stolen = [None; PULL];
        let now = sched_clock();
        {
            let Some(mut queue) = from.queue.try_lock() else { return true };
            let most = (queue.movable().div_ceil(2) as usize).min(PULL);
            for place in &mut stolen[..most] {
                *place = queue.steal(self, now);
            }
            from.note(&queue);
        }
        let mut queue = to.queue.lock();
        let mut came = 0;
        for entity in stolen.into_iter().flatten() {
            // SAFETY: of a live task, and off its queue.
            let task = unsafe { task_of(entity) };
            task.cpu.store(to.index, Ordering::Relaxed);
            count(&task.stats.migrations, 1);
            // SAFETY: stolen, so this cpu's to queue.
            unsafe { queue.enqueue(self, task, Enqueue::Migrated, now) };
            came += 1;
        }
        to.note(&queue);
        count(&to.stats.steals, u64::from(came > 0));
        count(&to.stats.migrations, came);
        came > 0
    }
}
