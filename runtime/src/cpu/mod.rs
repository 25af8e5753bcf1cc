//! A core, as the runtime sees it: a run queue, driven by one kernel thread at a time (`kthread`).
//!
//! ```text
//! worker.rs    the loop: pick, switch to the task, see why it left
//! idle.rs      nothing to run: look for work elsewhere, then sleep in the reactor
//! balance.rs   taking tasks from other cpus, and where woken ones go
//! wake.rs      queueing a task on a cpu, and waking the cpu if it sleeps
//! timers.rs    deadlines
//! reactor.rs   sockets, and sleeping
//! source.rs    what is known of a socket, and who waits for it
//! sleep.rs     who may sleep, and who owes a notification
//! suspend.rs   what a task itself does to yield and to wait
//! ```

mod balance;
pub(crate) mod idle;
pub(crate) mod queue;
pub(crate) mod reactor;
pub(crate) mod sleep;
pub(crate) mod source;
pub(crate) mod suspend;
pub(crate) mod timers;
pub(crate) mod wake;
pub(crate) mod worker;

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::kthread::hand_over::{Spares, cpu_of};
use crate::kthread::{Kthread, Owner, Watch, this_kthread};
use crate::sched::balance::CpuLoad;
use crate::sched::{EntityRef, RunQueue};
use crate::spin::Spin;
use crate::task::id::IdRange;
use crate::task::stack::StackCache;
use crate::task::task::{TaskRef, TaskStruct};
use crate::topology::CpuId;
use queue::Queue;
use reactor::Reactor;
use sleep::Sleep;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
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
    /// The kernel thread that drives it.
    pub(crate) owner: Owner<Kthread>,
    pub(crate) spares: Spares,
    pub(crate) watch: Watch,
    /// Tasks are preempted.
    pub(crate) preempts: bool,
    /// Nanoseconds for which a task goes on after it woke one that comes before it.
    pub(crate) patience: u64,
    /// Somebody better than the running task is in the queue.
    pub(crate) need_resched: AtomicBool,
    /// What its tasks weigh together; likewise.
    pub(crate) load: AtomicU64,
    /// When throttled groups may run again, by the scheduler's clock; likewise.
    pub(crate) refill_due: AtomicU64,
    pub(crate) timers: Spin<Timers>,
    /// The earliest deadline, as a hint.
    pub(crate) timer_due: AtomicU64,
    /// The same by the scheduler's clock, while tasks run.
    pub(crate) wake_at: AtomicU64,
    pub(crate) reactor: Reactor,
    pub(crate) own: Own,
    pub(crate) stats: CpuStats,
}

/// What only the kernel thread touches that drives the cpu, with preemption off.
pub(crate) struct Own {
    /// What was picked and runs next.
    pub(crate) next: Cell<Option<EntityRef>>,
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
}

// SAFETY: `own` is touched by the cpu's owner alone; the rest is made for sharing.
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
    pub(crate) preemptions: AtomicU64,
    /// Times it went from one kernel thread to another, preemptions among them.
    pub(crate) handovers: AtomicU64,
    /// Times it was taken from a blocked owner.
    pub(crate) blocked: AtomicU64,
    /// Nanoseconds asleep.
    pub(crate) idle: AtomicU64,
}

/// Adds to a counter that only one thread writes: no locked instruction.
#[inline]
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// The cpu that runs here, which stays the caller's until this is dropped: the kernel's `get_cpu` and `put_cpu`.
pub(crate) struct CpuGuard<'a> {
    pub(crate) cpu: &'a Cpu,
    pub(crate) kthread: &'a Kthread,
}

impl CpuGuard<'_> {
    /// Preemption was off before: this is the scheduler, or a signal handler, or who holds a spin lock.
    #[inline]
    pub(crate) fn was_forbidden(&self) -> bool {
        self.kthread.times_forbidden() > 1
    }
}

impl Deref for CpuGuard<'_> {
    type Target = Cpu;

    #[inline]
    fn deref(&self) -> &Cpu {
        self.cpu
    }
}

impl Drop for CpuGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.kthread.allow();
    }
}

/// The cpu that runs here; None in threads that are not the runtime's. A task that was blocked in the kernel may have to wait for one, and it may be another
/// than before.
#[inline]
pub(crate) fn get_cpu<'a>() -> Option<CpuGuard<'a>> {
    let kthread = this_kthread()?;
    kthread.forbid();
    match cpu_of(kthread) {
        Some(cpu) => Some(CpuGuard { cpu, kthread }),
        None => {
            kthread.allow();
            None
        }
    }
}

/// The task that runs here, if one does.
#[inline]
pub(crate) fn current_task<'a>() -> Option<&'a TaskStruct> {
    // SAFETY: the running task is alive, and the caller is part of it.
    this_kthread().and_then(Kthread::current).map(|task| unsafe { task.as_ref() })
}

/// A handle to the task that runs here, if one does.
pub(crate) fn current() -> Option<TaskRef> {
    current_task().map(TaskRef::new)
}

impl Cpu {
    /// One of `cpus`.
    pub(crate) fn new(
        index: u32,
        processor: Option<CpuId>,
        cpus: usize,
        preempts: bool,
        rq: RunQueue,
        stacks: StackCache,
        ids: IdRange<TaskStruct>,
    ) -> std::io::Result<Cpu> {
        Ok(Cpu {
            index,
            processor,
            patience: rq.tunables().wakeup_granularity,
            queue: Spin::new(Queue::new(rq)),
            movable: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            sleep: Sleep::new(),
            owner: Owner::new(),
            spares: Spares::new(),
            watch: Watch::new(),
            preempts,
            need_resched: AtomicBool::new(false),
            load: AtomicU64::new(0),
            refill_due: AtomicU64::new(u64::MAX),
            timers: Spin::new(Timers::new()),
            timer_due: AtomicU64::new(u64::MAX),
            wake_at: AtomicU64::new(u64::MAX),
            reactor: Reactor::new()?,
            own: Own {
                next: Cell::new(None),
                stacks: RefCell::new(stacks),
                ids: RefCell::new(ids),
                now: Cell::new(0),
                look: Cell::new(0),
                balance: Cell::new(0),
                loads: RefCell::new(Vec::with_capacity(cpus)),
                switches_at_sleep: Cell::new(0),
                trim_due: Cell::new(u64::MAX),
            },
            stats: CpuStats::default(),
        })
    }
}
