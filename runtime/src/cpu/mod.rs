//! A core, as the runtime sees it: a run queue, driven by one kernel thread.
//!
//! ```text
//! worker.rs    the loop: pick, switch to the task, see why it left
//! idle.rs      nothing to run: look for work elsewhere, then sleep in the reactor
//! balance.rs   taking tasks from other cpus, and where woken ones go
//! wake.rs      queueing a task on a cpu, and waking the cpu if it sleeps
//! timers.rs    deadlines
//! reactor.rs   sockets, and sleeping
//! sleep.rs     who may sleep, and who owes a notification
//! suspend.rs   what a task itself does to yield and to wait
//! ```

mod balance;
pub(crate) mod idle;
pub(crate) mod queue;
pub(crate) mod reactor;
pub(crate) mod sleep;
pub(crate) mod suspend;
pub(crate) mod timers;
pub(crate) mod wake;
pub(crate) mod worker;

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sched::RunQueue;
use crate::sched::balance::CpuLoad;
use crate::spin::Spin;
use crate::task::id::IdRange;
use crate::task::stack::StackCache;
use crate::task::task::{Resumer, TaskRef, TaskStruct};
use crate::topology::CpuId;
use queue::Queue;
use reactor::Reactor;
use sleep::Sleep;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use timers::Timers;

/// One of the runtime's cpus. Aligned so that two do not share cache lines, which processors fetch in pairs.
#[repr(align(128))]
pub(crate) struct Cpu {
    pub(crate) index: u32,
    /// The processor it is pinned to, if it is.
    pub(crate) processor: Option<CpuId>,
    pub(crate) queue: Spin<Queue>,
    /// Tasks in the queue, beside the one that runs: written under the queue's lock, read without it as a hint.
    pub(crate) queued: AtomicU32,
    /// Those among them that another cpu may take; likewise.
    pub(crate) movable: AtomicU32,
    pub(crate) sleep: Sleep,
    /// Somebody better than the running task is in the queue.
    pub(crate) need_resched: AtomicBool,
    /// What its tasks weigh together; likewise.
    pub(crate) load: AtomicU64,
    /// When throttled groups may run again, by the scheduler's clock; likewise.
    pub(crate) refill_due: AtomicU64,
    pub(crate) timers: Spin<Timers>,
    /// The earliest deadline, as a hint.
    pub(crate) timer_due: AtomicU64,
    pub(crate) reactor: Reactor,
    pub(crate) own: Own,
    pub(crate) stats: CpuStats,
}

/// What only the cpu's own kernel thread touches.
pub(crate) struct Own {
    /// The task on whose stack the thread is.
    pub(crate) current: Cell<Option<NonNull<TaskStruct>>>,
    pub(crate) resumer: Cell<Option<NonNull<Resumer>>>,
    pub(crate) stacks: RefCell<StackCache>,
    pub(crate) ids: RefCell<IdRange<TaskStruct>>,
    /// The scheduler's clock at the last switch.
    pub(crate) now: Cell<u64>,
    /// When the loop looks at timers and sockets next, by the scheduler's clock.
    pub(crate) look: Cell<u64>,
    /// When the loop balances next, by the scheduler's clock, and room for the snapshot that needs.
    pub(crate) balance: Cell<u64>,
    pub(crate) loads: RefCell<Vec<CpuLoad>>,
    /// Switches there were when it slept last, and when idle stacks are given back.
    pub(crate) switches_at_sleep: Cell<u64>,
    pub(crate) trim_due: Cell<u64>,
    /// Calls of `checkpoint` before it looks at the clock.
    pub(crate) calls: Cell<u32>,
}

// SAFETY: `own` is touched by the cpu's kernel thread alone; the rest is made for sharing.
unsafe impl Sync for Cpu {}
// SAFETY: made in one thread and handed to another before it is used.
unsafe impl Send for Cpu {}

/// Counted beside the event by the cpu itself; read by anybody.
#[derive(Debug, Default)]
pub(crate) struct CpuStats {
    pub(crate) switches: AtomicU64,
    pub(crate) wakeups: AtomicU64,
    pub(crate) spawned: AtomicU64,
    pub(crate) steals: AtomicU64,
    pub(crate) migrations: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) sleeps: AtomicU64,
    /// Nanoseconds asleep.
    pub(crate) idle: AtomicU64,
}

/// Adds to a counter that only one thread writes: no locked instruction.
#[inline]
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

thread_local! {
    static THIS: Cell<Option<NonNull<Cpu>>> = const { Cell::new(None) };
}

/// The cpu whose kernel thread runs here; None in threads that are not the runtime's.
///
/// Never inlined, and what it returns is never kept over a switch: the compiler may not assume that a thread-local's address is
/// the same before and after.
#[inline(never)]
pub(crate) fn this_cpu<'a>() -> Option<&'a Cpu> {
    // SAFETY: `worker::main` sets it for as long as it runs, and its cpu lives longer.
    THIS.with(|this| this.get().map(|cpu| unsafe { cpu.as_ref() }))
}

pub(crate) fn set_this_cpu(cpu: Option<&Cpu>) {
    THIS.with(|this| this.set(cpu.map(NonNull::from)));
}

/// The task that runs here, if one does.
#[inline]
pub(crate) fn current_task<'a>() -> Option<&'a TaskStruct> {
    // SAFETY: the running task is alive, and the caller is part of it.
    this_cpu().and_then(|cpu| cpu.own.current.get()).map(|task| unsafe { task.as_ref() })
}

/// A handle to the task that runs here, if one does.
pub(crate) fn current() -> Option<TaskRef> {
    current_task().map(TaskRef::new)
}

impl Cpu {
    pub(crate) fn new(
        index: u32,
        processor: Option<CpuId>,
        rq: RunQueue,
        stacks: StackCache,
        ids: IdRange<TaskStruct>,
    ) -> std::io::Result<Cpu> {
        Ok(Cpu {
            index,
            processor,
            queue: Spin::new(Queue::new(rq)),
            movable: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            sleep: Sleep::new(),
            need_resched: AtomicBool::new(false),
            load: AtomicU64::new(0),
            refill_due: AtomicU64::new(u64::MAX),
            timers: Spin::new(Timers::new()),
            timer_due: AtomicU64::new(u64::MAX),
            reactor: Reactor::new()?,
            own: Own {
                current: Cell::new(None),
                resumer: Cell::new(None),
                stacks: RefCell::new(stacks),
                ids: RefCell::new(ids),
                now: Cell::new(0),
                look: Cell::new(0),
                balance: Cell::new(0),
                loads: RefCell::new(Vec::new()),
                switches_at_sleep: Cell::new(0),
                trim_due: Cell::new(u64::MAX),
                calls: Cell::new(1),
            },
            stats: CpuStats::default(),
        })
    }
}
