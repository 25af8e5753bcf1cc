//! Kernel threads, and who has which cpu.
//!
//! A cpu is driven by one kernel thread at a time, its *owner*. In the default mode that is always the same. In the migrating mode a task that does not
//! give way by itself keeps its kernel thread, and the *cpu* goes on to another: that is preemption at any instruction, for the interrupted code finds its
//! thread-locals, its locks and its errno as they were. (Shiina et al., "Lightweight Preemptive User-Level Threads", PPoPP 2021.)
//!
//! ```text
//! hand_over.rs  the protocol of ownership: giving a cpu, waiting for one
//! tick.rs       the timer that interrupts a thread while others wait for its cpu
//! interrupt.rs  what the signal does: preempting the task that runs here
//! stay.rs       a task that waits on its own kernel thread
//! blocked.rs    a cpu whose owner is blocked in the kernel is taken; the owner comes back later
//! watcher.rs    finds blocked owners: a thread that runs when a core has nothing else to do
//! kthreadd.rs   makes and ends kernel threads
//! watchdog.rs   tells of tasks that hold their cpu for long
//! ```
//!
//! # States
//!
//! | cpu (`Cpu::owner`) | | who moves it |
//! |---|---|---|
//! | a thread | that thread drives it, in the scheduler or in a task | - |
//! | a thread -> another | handed over | the owner, under the queue's lock |
//! | a thread -> null -> another, or back | taken from a blocked owner | a rescuer, under the queue's lock |
//!
//! | kernel thread | `cpu` | `current` | sleeps on its word |
//! |---|---|---|---|
//! | owner, in the scheduler | its cpu | none | no |
//! | owner, in a task | its cpu | the task | no |
//! | spare: in a cpu's list of spares | none | none | yes |
//! | bound: its task is READY and queued, `task.bound` is the thread | none | the task | yes, in the signal handler, or where the task entered the runtime |
//! | detached: its task is BLOCKED, the cpu was taken | stale: `owner` says another | the task | no: in the kernel, or back from there |
//!
//! # Rules
//!
//! * **Preemption off** (a count above zero, `preempt.rs`) means: the thread's cpu is neither handed over nor taken. The scheduler runs with it off; tasks have
//!   it off while they are in the runtime, which they enter by [`get_cpu`](crate::cpu::get_cpu). That counts up first and looks at the owner then; who takes a
//!   cpu changes the owner first and looks at the count then, and a barrier in between on both sides, the thread's own being
//!   the rescuer's membarrier(2): so one of them sees the other.
//! * **The scheduler runs on another thread than the preempted task's**, so it waits for nothing that a task may hold while it can be preempted:
//!   no lock but `Spin` and the allocator's own (which forbid preemption), no memory but from Fairground's caches, no output, no unwinding.
//! * **A thread given a cpu** is told by `given`, and woken by its word; only the giver writes `given`, and it gives one cpu to one thread.
//! * `task.bound` is written before the task is queued, and cleared by its thread when it has a cpu again. Who picks a bound task hands it the cpu.

pub(crate) mod blocked;
pub(crate) mod hand_over;
pub(crate) mod interrupt;
pub(crate) mod kthreadd;
mod owner;
pub(crate) mod stay;
mod tick;
pub(crate) mod watchdog;
mod watcher;
pub(crate) mod word;

use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use crate::cpu::Cpu;
use crate::preempt::{add_to, place_of_count};
use crate::task::task::{Resumer, TaskStruct};
use crate::topology::CpuId;
pub(crate) use owner::Owner;
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicI32;
use tick::Tick;
use watchdog::Trace;
pub(crate) use watcher::{Watch, main as watch};
use word::Word;

/// One kernel thread of a runtime. See the module's text.
#[repr(align(128))]
pub(crate) struct Kthread {
    word: Word,
    /// The cpu that it is given.
    given: AtomicPtr<Cpu>,
    /// Its preempt count, while it lives.
    count: AtomicPtr<AtomicU32>,
    tid: AtomicI32,
    /// The task whose stack it is on. Changed with preemption off only.
    current: AtomicPtr<TaskStruct>,
    /// It is a thread, or will be: not free to be made one.
    in_use: AtomicBool,
    /// It sleeps, or is about to, until it has a cpu.
    waits: AtomicBool,
    /// It shall end when it is a spare and wakes.
    ends: AtomicBool,
    tick: Tick,
    trace: Trace,
    own: Own,
}

/// What only the thread itself touches, or who holds the lock of the queue in whose list it is.
struct Own {
    cpu: Cell<Option<NonNull<Cpu>>>,
    resumer: Cell<Option<NonNull<Resumer>>>,
    /// Where it is pinned.
    processor: Cell<Option<CpuId>>,
    /// Calls of `checkpoint` before it looks at the clock.
    calls: Cell<u32>,
    /// In a cpu's list of spares, under the lock of its queue.
    next_spare: Cell<Option<NonNull<Kthread>>>,
}

// SAFETY: `own` is touched by the thread itself, or under a lock; the rest is made for sharing.
unsafe impl Sync for Kthread {}
// SAFETY: made in one thread and handed to another before it is used.
unsafe impl Send for Kthread {}

/// Cpus may be taken from blocked threads: the kernel has what that needs.
pub(crate) fn can_rescue() -> bool {
    owner::register_barrier()
}

thread_local! {
    static THIS: Cell<Option<NonNull<Kthread>>> = const { Cell::new(None) };
}

/// The runtime's record of the thread that runs here; None in threads that are not a runtime's.
///
/// Never inlined, and what it returns is never kept over a switch: the compiler may not assume that a thread-local's address is
/// the same before and after.
#[inline(never)]
pub(crate) fn this_kthread<'a>() -> Option<&'a Kthread> {
    // SAFETY: set for as long as the thread works for its runtime, which keeps the record.
    THIS.with(|this| this.get().map(|kthread| unsafe { kthread.as_ref() }))
}

impl Kthread {
    pub(crate) fn new() -> Kthread {
        Kthread {
            word: Word::new(),
            given: AtomicPtr::new(null_mut()),
            count: AtomicPtr::new(null_mut()),
            tid: AtomicI32::new(0),
            current: AtomicPtr::new(null_mut()),
            in_use: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            tick: Tick::new(),
            trace: Trace::new(),
            own: Own {
                cpu: Cell::new(None),
                resumer: Cell::new(None),
                processor: Cell::new(None),
                calls: Cell::new(1),
                next_spare: Cell::new(None),
            },
        }
    }

    /// The calling thread is this one from now on. Preemption is off.
    pub(crate) fn enter(&self) {
        self.count.store(place_of_count().cast_mut(), Ordering::Relaxed);
        // SAFETY: no arguments; cannot fail.
        self.tid.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        self.forbid();
        THIS.with(|this| this.set(Some(NonNull::from(self))));
    }

    /// The calling thread goes.
    pub(crate) fn leave(&self) {
        THIS.with(|this| this.set(None));
        self.allow();
        self.count.store(null_mut(), Ordering::Relaxed);
        self.own.processor.set(None);
        self.ends.store(false, Ordering::Relaxed);
        self.in_use.store(false, Ordering::Release);
    }

    /// It did not become a thread.
    pub(crate) fn unreserve(&self) {
        self.given.store(null_mut(), Ordering::Relaxed);
        self.in_use.store(false, Ordering::Release);
    }

    /// Marks a record that is free as in use; false if it is not free.
    pub(crate) fn reserve(&self) -> bool {
        !self.in_use.swap(true, Ordering::Acquire)
    }

    /// Preemption is off until [`allow`](Kthread::allow). By the thread itself.
    #[inline]
    pub(crate) fn forbid(&self) {
        // SAFETY: the thread's own count, set by `enter`.
        add_to(unsafe { &*self.count.load(Ordering::Relaxed) }, 1);
    }

    /// Takes one reason away. By the thread itself.
    #[inline]
    pub(crate) fn allow(&self) {
        // SAFETY: as in `forbid`.
        add_to(unsafe { &*self.count.load(Ordering::Relaxed) }, u32::MAX);
    }

    /// How many reasons there are against preemption. By the thread itself.
    #[inline]
    pub(crate) fn times_forbidden(&self) -> u32 {
        // SAFETY: as in `forbid`.
        unsafe { &*self.count.load(Ordering::Relaxed) }.load(Ordering::Relaxed)
    }

    /// Preemption is off. By anybody: a thread without a count may not be preempted either.
    fn is_forbidden(&self) -> bool {
        // SAFETY: the thread is alive, as a cpu's owner or as the caller.
        unsafe { self.count.load(Ordering::Acquire).as_ref() }.is_none_or(|count| count.load(Ordering::Acquire) != 0)
    }

    /// The task whose stack it is on.
    #[inline]
    pub(crate) fn current(&self) -> Option<NonNull<TaskStruct>> {
        NonNull::new(self.current.load(Ordering::Relaxed))
    }

    /// The thread goes to a task's stack, or comes from it.
    #[inline]
    pub(crate) fn set_current(&self, task: Option<NonNull<TaskStruct>>) {
        self.current.store(task.map_or(null_mut(), NonNull::as_ptr), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn resumer(&self) -> Option<NonNull<Resumer>> {
        self.own.resumer.get()
    }

    #[inline]
    pub(crate) fn set_resumer(&self, resumer: Option<NonNull<Resumer>>) {
        self.own.resumer.set(resumer);
    }

    /// Counts down the calls of `checkpoint`; true at the last of `calls`, and then it begins again.
    #[inline]
    pub(crate) fn counts_down(&self, calls: u32) -> bool {
        let left = self.own.calls.get().wrapping_sub(1);
        self.own.calls.set(if left == 0 { calls } else { left });
        left == 0
    }

    /// The cpu that it drives, as far as it knows: another may own it, if preemption was not off all the time.
    #[inline]
    pub(crate) fn cpu<'a>(&self) -> Option<&'a Cpu> {
        // SAFETY: cpus live as long as their kernel threads.
        self.own.cpu.get().map(|cpu| unsafe { cpu.as_ref() })
    }
}
