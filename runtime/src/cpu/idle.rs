//! A cpu with nothing in its queue: it looks at timers and sockets, pulls from other cpus, and then sleeps in its reactor.

use super::{Cpu, count};
use crate::atomic::Ordering;
use crate::clock::{monotonic, sched_clock};
use crate::runtime::Shared;
use crate::sched::{Enqueue, EntityRef};
use crate::task::stack::trim;

/// Nanoseconds between looks at timers and sockets while there is always something to run: what a wake-up by them may be late.
/// A look costs about 0.3 us with sockets.
const LOOK_NS: u64 = 50_000;

/// Rounds of looking at its queue before a cpu sleeps: some microseconds, which is what waking it takes.
const SPINS: u32 = 100;

impl Cpu {
    /// The next task to run; None at the runtime's end.
    pub(super) fn find(&self, shared: &Shared) -> Option<EntityRef> {
        loop {
            if let Some(picked) = self.pick() {
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
        if sched_clock() >= self.refill_due.load(Ordering::Relaxed) {
            self.unthrottle();
        }
        self.own.look.set(sched_clock() + wait);
    }

    /// Groups whose quota was used up may have one again.
    fn unthrottle(&self) {
        let mut queue = self.queue.lock();
        if queue.unthrottle(sched_clock()) {
            self.need_resched.store(true, Ordering::Relaxed);
        }
        self.note(&queue);
        self.refill_due.store(queue.next_refill(), Ordering::Relaxed);
    }

    fn fire(&self, now: u64) {
        let mut timers = self.timers.lock();
        while timers.fire_one(now, |task| task.unpark()) {}
        self.timer_due.store(timers.next(), Ordering::Relaxed);
    }

    fn sleep(&self, shared: &Shared) {
        shared.sleepers.fetch_add(1, Ordering::Relaxed);
        self.sleep.announce();
        let something =
            || self.queued.load(Ordering::Relaxed) > 0 || shared.is_over() || shared.something_to_pull(self);
        let mut spins = 0;
        let asleep = loop {
            if something() || self.sleep.is_roused() {
                break false;
            }
            if spins == SPINS {
                break self.sleep.commit();
            }
            spins += 1;
            std::hint::spin_loop();
        };
        if asleep && !something() {
            let before = sched_clock();
            self.reactor.sleep(self.timer_due.load(Ordering::Relaxed).min(self.trim_due()).min(self.refill_at()));
            count(&self.stats.sleeps, 1);
            count(&self.stats.idle, sched_clock().saturating_sub(before));
            self.trim();
        }
        self.sleep.end();
        shared.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cpu {
    /// When stacks that lie idle are given back: a while after tasks ran here.
    fn trim_due(&self) -> u64 {
        let switches = self.stats.switches.load(Ordering::Relaxed);
        if self.own.switches_at_sleep.replace(switches) != switches {
            self.own.trim_due.set(monotonic() + TRIM_NS);
        }
        self.own.trim_due.get()
    }

    /// When groups may run again, by the clock that deadlines are in.
    fn refill_at(&self) -> u64 {
        match self.refill_due.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            due => monotonic() + due.saturating_sub(sched_clock()),
        }
    }

    fn trim(&self) {
        if monotonic() >= self.own.trim_due.get() {
            let more = trim(TRIM_SHEAVES) != 0;
            self.own.trim_due.set(if more { monotonic() + TRIM_NS / 10 } else { u64::MAX });
        }
    }
}

/// Nanoseconds of sleep before idle stacks are given back: a pause of a second is no pause between requests.
const TRIM_NS: u64 = 1_000_000_000;

/// Sheaves of 32 stacks that are given back at once: less than a millisecond.
const TRIM_SHEAVES: usize = 16;

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
            let most = (queue.nr_movable().div_ceil(2) as usize).min(PULL);
            for place in &mut stolen[..most] {
                *place = queue.steal(now);
                if let Some(task) = place {
                    // Under this lock: who has it finds the tasks of this cpu only.
                    task.cpu.store(to.index, Ordering::Relaxed);
                }
            }
            from.note(&queue);
        }
        let mut queue = to.queue.lock();
        let mut came = 0;
        for task in stolen.into_iter().flatten() {
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
