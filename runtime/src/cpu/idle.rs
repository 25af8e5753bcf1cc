//! A cpu with nothing in its queue: it looks at timers and sockets, pulls from other cpus, and then sleeps in its reactor.

use super::{Cpu, count};
use crate::atomic::Ordering;
use crate::clock::{monotonic, sched_clock};
use crate::kthread::Kthread;
use crate::runtime::Shared;
use crate::sched::EntityRef;
use crate::task::stack::trim;

/// Nanoseconds between looks at timers and sockets while there is always something to run: what a wake-up by them may be late.
/// A look costs about 0.3 us with sockets.
const LOOK_NS: u64 = 50_000;

/// Nanoseconds between looks at the weights of other cpus: some slices, so that who waits there for long is seen.
const BALANCE_NS: u64 = 4_000_000;

/// Rounds of looking at its queue before a cpu sleeps: some microseconds, which is what waking it takes.
const SPINS: u32 = 100;

impl Cpu {
    /// The next task to run; None at the runtime's end.
    pub(super) fn find(&self, shared: &Shared, kthread: &Kthread) -> Option<EntityRef> {
        loop {
            if let Some(picked) = self.pick(kthread) {
                return Some(picked);
            }
            self.look(shared);
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
    pub(crate) fn look(&self, shared: &Shared) {
        let mut wait = LOOK_NS;
        let due = self.timer_due.load(Ordering::Relaxed);
        if due != u64::MAX {
            let now = monotonic();
            if due <= now {
                self.fire(now);
            }
            let due = self.timer_due.load(Ordering::Relaxed);
            let left = due.saturating_sub(now);
            let wake_at = if due == u64::MAX { due } else { sched_clock().saturating_add(left) };
            self.wake_at.store(wake_at, Ordering::Relaxed);
            wait = left.min(LOOK_NS);
        }
        if self.reactor.has_sources() {
            self.reactor.look();
        }
        if sched_clock() >= self.refill_due.load(Ordering::Relaxed) {
            self.unthrottle();
        }
        let now = sched_clock();
        self.own.look.set(now + wait);
        if shared.cpus.len() > 1 {
            self.share(shared, now);
        }
    }

    /// Lets cpus that have nothing to do know of what waits here, and evens out weights.
    fn share(&self, shared: &Shared, now: u64) {
        if self.movable.load(Ordering::Relaxed) != 0
            && let Some(idle) = shared.rouse_an_idle_cpu(self)
        {
            idle.reactor.notify();
        }
        if now >= self.own.balance.get() {
            self.own.balance.set(now + BALANCE_NS);
            shared.balance(self);
        }
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
        let mut timers = self.timers.lock_quick();
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
