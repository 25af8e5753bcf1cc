//! Giving a cpu to another thread, and waiting for one. The protocol is in the module above.

use super::{Kthread, this_kthread};
use crate::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::clock::sched_clock;
use crate::cpu::queue::Queue;
use crate::cpu::{Cpu, count};
use crate::pin::pin_current;
use crate::runtime::Shared;
use crate::sched::EntityRef;
use crate::spin::SpinGuard;
use crate::task::task::TaskStruct;
use std::ptr::{NonNull, null_mut};

/// A cpu's spare kernel threads, the one used last first: its stack is warm. Changed under the lock of the cpu's queue; read by anybody as a hint.
#[derive(Debug)]
pub(crate) struct Spares {
    first: AtomicPtr<Kthread>,
    len: AtomicUsize,
    /// The least there were since the last time somebody asked.
    least: AtomicUsize,
    /// Those that were started and are not in here yet. Counted by `kthreadd`.
    coming: AtomicUsize,
}

impl Spares {
    pub(crate) fn new() -> Spares {
        Spares {
            first: AtomicPtr::new(null_mut()),
            len: AtomicUsize::new(0),
            least: AtomicUsize::new(0),
            coming: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn first<'a>(&self) -> Option<&'a Kthread> {
        // SAFETY: records live as long as the runtime.
        unsafe { self.first.load(Ordering::Acquire).as_ref() }
    }

    fn set(&self, first: Option<NonNull<Kthread>>, len: usize) {
        self.first.store(first.map_or(null_mut(), NonNull::as_ptr), Ordering::Release);
        self.len.store(len, Ordering::Relaxed);
    }

    /// Under the queue's lock.
    pub(crate) fn push(&self, _: &Queue, kthread: &Kthread) {
        kthread.own.next_spare.set(self.first().map(NonNull::from));
        self.set(Some(NonNull::from(kthread)), self.len() + 1);
    }

    /// Under the queue's lock.
    pub(crate) fn pop<'a>(&self, _: &Queue) -> Option<&'a Kthread> {
        let kthread = self.first()?;
        self.set(kthread.own.next_spare.take(), self.len() - 1);
        self.least.fetch_min(self.len(), Ordering::Relaxed);
        Some(kthread)
    }

    /// With those that will be.
    pub(super) fn len_soon(&self) -> usize {
        self.coming.load(Ordering::Acquire) + self.len()
    }

    /// One is started.
    pub(super) fn comes(&self) {
        self.coming.fetch_add(1, Ordering::Relaxed);
    }

    /// It is here, or it could not be started.
    pub(super) fn came(&self) {
        self.coming.fetch_sub(1, Ordering::Release);
    }

    /// How many were not needed since the last call.
    pub(super) fn not_needed(&self) -> usize {
        self.least.swap(self.len(), Ordering::Relaxed)
    }

    /// Takes out one that may be in here. Under the queue's lock.
    pub(super) fn remove(&self, queue: &Queue, kthread: &Kthread) -> bool {
        let wanted = Some(NonNull::from(kthread));
        let mut at = self.first();
        if at.map(NonNull::from) == wanted {
            return self.pop(queue).is_some();
        }
        while let Some(before) = at {
            if before.own.next_spare.get() == wanted {
                before.own.next_spare.set(kthread.own.next_spare.take());
                self.len.fetch_sub(1, Ordering::Relaxed);
                return true;
            }
            // SAFETY: as in `first`.
            at = before.own.next_spare.get().map(|next| unsafe { next.as_ref() });
        }
        false
    }
}

impl Cpu {
    /// The owner gives the cpu away, under the queue's lock; the caller wakes `to` after that. `next` was picked: it is `to`'s own task, or `to` shall switch
    /// to it. None: there is nothing to run.
    fn give(&self, from: &Kthread, to: &Kthread, next: Option<EntityRef>) {
        from.own.cpu.set(None);
        self.own.next.set(next);
        count(&self.stats.handovers, 1);
        self.owner.set(to);
        to.given.store((&raw const *self).cast_mut(), Ordering::Release);
    }

    /// The calling thread has no cpu, and is a spare of this one.
    pub(crate) fn add_spare(&self, kthread: &Kthread) {
        let now = sched_clock();
        let mut queue = self.queue.lock_quick();
        self.spares.push(&queue, kthread);
        self.spares.came();
        if queue.has_thread(now) {
            self.note(&queue);
            self.kick(&queue, false, false, now);
        }
    }

    /// The scheduler picked a task that is bound to a kernel thread: it gets the cpu, and the caller's thread is a spare.
    pub(crate) fn give_to_bound(&self, from: &Kthread, to: &Kthread, next: EntityRef) {
        let mut queue = self.queue.lock_quick();
        self.spares.push(&queue, from);
        if queue.has_thread(sched_clock()) {
            self.note(&queue);
        }
        self.give(from, to, Some(next));
        drop(queue);
        to.word.wake();
    }

    /// The task that runs on `from`, the owner, stays on its thread, and the cpu goes on with what `Queue::preempt` said.
    pub(super) fn give_away(&self, queue: SpinGuard<'_, Queue>, from: &Kthread, to: &Kthread, next: Option<EntityRef>) {
        self.give(from, to, next);
        drop(queue);
        to.word.wake();
    }
}

impl Kthread {
    /// Sleeps until the thread has a cpu. None: it shall end; only for spares. Preemption is off.
    pub(crate) fn wait_for_cpu<'a>(&self, shared: &'a Shared) -> Option<&'a Cpu> {
        self.waits.store(true, Ordering::Release);
        let cpu = self.wait(shared);
        self.waits.store(false, Ordering::Relaxed);
        cpu
    }

    fn wait<'a>(&self, shared: &'a Shared) -> Option<&'a Cpu> {
        loop {
            let given = self.given.swap(null_mut(), Ordering::Acquire);
            // SAFETY: cpus live as long as their kernel threads.
            if let Some(cpu) = unsafe { given.as_ref() } {
                self.drives(cpu);
                return Some(cpu);
            }
            let is_spare = self.current().is_none();
            if is_spare && (shared.is_over() || self.ends.load(Ordering::Acquire)) {
                return None;
            }
            if let Some((cpu, queue)) = self.rescue(shared) {
                if is_spare {
                    drop(queue);
                    shared.kthreads.spare_used(cpu);
                    self.drives(cpu);
                    return Some(cpu);
                }
                // A cpu for a task that has its own thread: this one's, or another's.
                let (queue, next, to) = cpu.choose(queue, shared);
                if std::ptr::eq(to, self) {
                    drop(queue);
                    self.drives(cpu);
                    return Some(cpu);
                }
                cpu.give_away(queue, self, to, next);
            }
            self.word.sleep();
        }
    }

    /// It has a task that is ready, and no cpu.
    pub(super) fn waits_with_task(&self) -> bool {
        self.waits.load(Ordering::Acquire) && !self.current.load(Ordering::Acquire).is_null()
    }

    /// Before the thread starts: this is its cpu.
    pub(crate) fn is_given(&self, cpu: &Cpu) {
        cpu.owner.set(self);
        self.given.store((&raw const *cpu).cast_mut(), Ordering::Release);
    }

    fn drives(&self, cpu: &Cpu) {
        self.own.cpu.set(Some(NonNull::from(cpu)));
        if let Some(processor) = cpu.processor
            && self.own.processor.get() != Some(processor)
            && pin_current(processor)
        {
            self.own.processor.set(Some(processor));
        }
    }

    /// The thread's task, which is bound to it, runs again: the thread has got the cpu.
    pub(super) fn runs_again(&self, cpu: &Cpu, task: &TaskStruct) {
        task.bound.store(null_mut(), Ordering::Relaxed);
        cpu.own.next.set(None);
        task.state.pick();
        cpu.need_resched.store(false, Ordering::Relaxed);
        count(&cpu.stats.switches, 1);
        count(&task.stats.switches, 1);
        let now = sched_clock();
        let queue = cpu.queue.lock_quick();
        cpu.set_tick(self, &queue, now);
    }

    /// Wakes the thread to look whether it ends.
    pub(crate) fn poke(&self) {
        self.word.wake();
    }

    /// It ends once it has no task.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.word.wake();
    }

    /// It has a task on it.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_use.load(Ordering::Acquire) && !self.current.load(Ordering::Acquire).is_null()
    }
}

/// The thread that runs here has the task's cpu still, or gets one: what a task does when it enters the runtime. Preemption is off.
#[inline]
pub(crate) fn cpu_of<'a>(kthread: &Kthread) -> Option<&'a Cpu> {
    let cpu = kthread.cpu()?;
    if cpu.owner.is(kthread) { Some(cpu) } else { kthread.comes_back() }
}

/// Preemption has just been forbidden: the task that runs here, if one does, waits until it has a cpu.
#[inline]
pub(crate) fn ensure_cpu() {
    if let Some(kthread) = this_kthread()
        && kthread.current().is_some()
    {
        cpu_of(kthread);
    }
}

/// Preemption is on again, on the kernel thread that runs here.
#[inline]
pub(crate) fn put_cpu() {
    if let Some(kthread) = this_kthread() {
        kthread.allow();
    }
}
