//! A runtime: its cpus and their kernel threads, from the builder to the last task's end.
//!
//! # The end
//!
//! Dropping a runtime cancels every task and waits for their ends; then the kernel threads go. A task that never comes to a
//! suspension point is waited for, and said by name after a second.

use crate::atomic::{Arc, AtomicBool, AtomicUsize, Ordering};
use crate::clock;
use crate::cpu::{Cpu, worker};
use crate::error::BuildError;
use crate::group::Groups;
use crate::kthread::watchdog::Watchdog;
use crate::kthread::{self, kthreadd::Kthreads};
use crate::sched::policy::PolicyRef;
use crate::sched::{RunQueue, Tunables};
use crate::spawn::Builder;
use crate::task::id::{Idr, TaskId};
use crate::task::join::JoinHandle;
use crate::task::overflow;
use crate::task::stack::{StackCache, StackSize};
use crate::task::task::{TaskRef, TaskStruct};
use crate::topology::{Near, Topology};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Most cpus a runtime may have.
const CPUS_MAX: usize = 1024;

/// Kernel threads for each worker, unless the program says otherwise.
const THREADS_PER_CPU: usize = 64;

/// What is called a stall is no shorter.
const SHORTEST_STALL: Duration = Duration::from_millis(10);

/// Most that it may say.
const THREADS_MAX: usize = 16_384;

/// What all cpus and tasks of a runtime share.
pub(crate) struct Shared {
    this: Weak<Shared>,
    pub(crate) cpus: Box<[Cpu]>,
    pub(crate) registry: Idr<TaskStruct>,
    /// How far the cpus are apart.
    pub(crate) near: Near,
    pub(crate) policy: PolicyRef,
    /// Started tasks may move to other cpus.
    pub(crate) migrating: bool,
    pub(crate) stack_size: StackSize,
    /// Tasks are preempted, and cpus taken from blocked threads.
    pub(crate) preempts: bool,
    pub(crate) kthreads: Kthreads,
    pub(crate) groups: Groups,
    pub(crate) watchdog: Watchdog,
    /// Cpus that look for work or sleep.
    pub(crate) sleepers: AtomicUsize,
    /// Tasks that have not ended.
    live: AtomicUsize,
    over: AtomicBool,
    /// For who waits until none is live.
    none_live: (Mutex<()>, Condvar),
    /// Where plain threads spawn next.
    next_cpu: AtomicUsize,
}

// No step of ours is half done when a task's code unwinds.
impl std::panic::RefUnwindSafe for Shared {}
impl std::panic::RefUnwindSafe for Runtime {}
impl std::panic::UnwindSafe for Runtime {}

impl Shared {
    /// A handle to it, for what may outlive the tasks; None at its end.
    pub(crate) fn handle(&self) -> Option<Arc<Shared>> {
        self.this.upgrade()
    }

    /// All tasks that have not ended, by id.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskRef> {
        // SAFETY: the entry exists during the call, and then by the handle.
        self.registry.iter(|_, task| TaskRef::new(unsafe { task.as_ref() })).map(|(_, task)| task)
    }

    pub(crate) fn owns(&self, cpu: &Cpu) -> bool {
        self.cpus.as_ptr_range().contains(&(&raw const *cpu))
    }

    /// True once the runtime ends: cpus stop when they find nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether another cpu may take the task from its queue, whose lock the caller holds.
    #[inline]
    pub(crate) fn may_move(&self, task: &TaskStruct) -> bool {
        // SAFETY: a queued task's context is nobody's to change.
        !task.pinned
            && !task.unwinds.get()
            && (self.migrating || task.context.with(|context| unsafe { (*context).is_none() }))
    }

    pub(crate) fn one_more(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn one_less(&self) {
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.none_live.0.lock());
            self.none_live.1.notify_all();
        }
    }

    /// Where a task without a wish of its own begins, when a plain thread spawns it.
    pub(crate) fn some_cpu(&self) -> u32 {
        (self.next_cpu.fetch_add(1, Ordering::Relaxed) % self.cpus.len()) as u32
    }
}

/// All runtimes there are, for handles that may outlive theirs.
static RUNTIMES: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// The runtime, if it has not ended.
pub(crate) fn find(shared: NonNull<Shared>) -> Option<Arc<Shared>> {
    let runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.iter().find(|runtime| std::ptr::eq(runtime.as_ptr(), shared.as_ptr())).and_then(Weak::upgrade)
}

fn remember(shared: &Arc<Shared>) {
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.retain(|runtime| runtime.strong_count() != 0);
    runtimes.push(Arc::downgrade(shared));
}

/// Green threads on some cores. Most programs need none: [`spawn()`](crate::spawn()) has one for the whole process.
///
/// # Examples
/// ```
/// use fairground_runtime::{Runtime, spawn};
///
/// let runtime = Runtime::builder().workers(2).build()?;
/// let sum: u64 = runtime.run(|| {
///     let tasks: Vec<_> = (0..10).map(|n| spawn(move || n * n)).collect();
///     tasks.into_iter().map(|task| task.join().unwrap()).sum()
/// });
/// assert_eq!(sum, 285);
/// # Ok::<(), fairground_runtime::BuildError>(())
/// ```
pub struct Runtime {
    shared: Arc<Shared>,
    stopped: bool,
}

impl Runtime {
    /// To choose what a runtime is like.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// A runtime with a worker for each core that this process may use.
    ///
    /// # Errors
    /// See [`RuntimeBuilder::build`].
    pub fn new() -> Result<Runtime, BuildError> {
        Runtime::builder().build()
    }

    /// The runtime of tasks that are spawned outside of any other; made at its first use.
    ///
    /// # Panics
    /// It cannot be made: no memory, or no further threads.
    pub fn global() -> &'static Runtime {
        static GLOBAL: OnceLock<Runtime> = OnceLock::new();
        GLOBAL.get_or_init(|| Runtime::new().unwrap_or_else(|error| panic!("the global runtime: {error}")))
    }

    /// Runs `f` as a task, and waits for it. A panic of `f` goes on here. Tasks that `f` spawned and did not wait for go on.
    ///
    /// # Panics
    /// If `f` does, or there is no memory for a task.
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: what it borrows lives until this returns, which is after the task's end: `join` does not unwind here, for a
        // plain thread is not cancelled, and a task that is cancelled in the wait is caught by the guard.
        let task = unsafe { Builder::new().spawn_in(&self.shared, f) }.unwrap_or_else(|error| panic!("{error}"));
        crate::scope::join_whatever_happens(task)
    }

    /// Spawns a task on this runtime.
    ///
    /// # Panics
    /// There is no memory for it; [`Builder::spawn_on`] returns that as an error.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new().spawn_on(self, f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Number of its cpus.
    pub fn workers(&self) -> usize {
        self.shared.cpus.len()
    }

    /// Tasks that do not give way are preempted, and blocked ones let others run: see [`RuntimeBuilder::migrating`].
    pub fn is_preemptive(&self) -> bool {
        self.shared.preempts
    }

    /// Tasks that have not ended.
    pub fn live_tasks(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the runtime: cancels all tasks and waits for them, at most as long as `timeout` says. Returns how many tasks were cancelled.
    ///
    /// # Errors
    /// The time is over; the runtime comes back, with the tasks that have not ended.
    pub fn shutdown(mut self, timeout: Duration) -> Result<usize, Runtime> {
        let cancelled = self.cancel_all();
        if self.wait_for_none(Some(timeout)) {
            self.stop();
            Ok(cancelled)
        } else {
            Err(self)
        }
    }

    fn cancel_all(&self) -> usize {
        self.tasks().inspect(|task| task.cancel()).count()
    }

    /// All tasks that have not ended, by id.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskRef> {
        self.shared.tasks()
    }

    /// True if no task is live.
    fn wait_for_none(&self, timeout: Option<Duration>) -> bool {
        let none = |_: &mut ()| self.shared.live.load(Ordering::Acquire) != 0;
        let (lock, condition) = &self.shared.none_live;
        let guard = lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match timeout {
            Some(timeout) => {
                !condition.wait_timeout_while(guard, timeout, none).is_ok_and(|(_, result)| result.timed_out())
            }
            None => condition.wait_while(guard, none).is_ok(),
        }
    }

    /// No task is live: the kernel threads go.
    fn stop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.stopped = true;
        self.shared.cpus.iter().for_each(|cpu| {
            cpu.wake();
            cpu.watch.ends();
        });
        self.shared.watchdog.ends();
        self.shared.kthreads.stop();
        // Sockets may outlive their runtime, in plain threads.
        self.shared.cpus.iter().for_each(|cpu| cpu.reactor.end());
    }
}

/// How long the end of a runtime waits before it says for whom.
const PATIENCE: Duration = Duration::from_secs(1);

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        let cancelled = self.cancel_all();
        if cancelled != 0 {
            eprintln!("fairground: a runtime was dropped with {cancelled} tasks alive; they are cancelled");
            if !self.wait_for_none(Some(PATIENCE)) {
                self.name_the_living();
                self.wait_for_none(None);
            }
        }
        self.stop();
    }
}

impl Runtime {
    fn name_the_living(&self) {
        let mut left: Vec<_> = self.tasks().collect();
        let n = left.len();
        left.truncate(10);
        for task in left {
            let task = crate::task::Task::new(task);
            eprintln!("fairground: task {} '{}' is still {:?}", task.id(), task.name().unwrap_or(""), task.state());
        }
        eprintln!("fairground: waiting for {n} tasks that have not come to a suspension point, see Task::cancel");
    }
}

/// Chooses what a runtime is like.
#[derive(Clone, Debug)]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    stack_size: StackSize,
    tunables: Option<Tunables>,
    policy: PolicyRef,
    migrating: bool,
    pin: bool,
    preempt: bool,
    signal: i32,
    kernel_threads: Option<usize>,
    stall_warning: Option<Duration>,
}

impl RuntimeBuilder {
    fn new() -> RuntimeBuilder {
        RuntimeBuilder {
            workers: None,
            stack_size: StackSize::default(),
            tunables: None,
            policy: PolicyRef::default(),
            migrating: false,
            pin: true,
            preempt: true,
            signal: libc::SIGURG,
            kernel_threads: None,
            stall_warning: Some(Duration::from_secs(1)),
        }
    }

    /// How many cpus: 1 to 1,024. Without this, as many as the process may use.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> RuntimeBuilder {
        self.workers = Some(workers);
        self
    }

    /// How large the stacks of tasks are that do not choose themselves.
    #[must_use]
    pub fn stack_size(mut self, size: StackSize) -> RuntimeBuilder {
        self.stack_size = size;
        self
    }

    /// Who of the tasks with nice values runs next; without this, CFS. See [`sched::policy`](crate::sched::policy).
    ///
    /// # Examples
    /// ```
    /// use fairground_runtime::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).policy("eevdf".parse()?).build()?;
    /// assert_eq!(runtime.run(|| 7), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn policy(mut self, policy: PolicyRef) -> RuntimeBuilder {
        self.policy = policy;
        self
    }

    /// The fair class' constants: without this [`Tunables::default`], and in runtimes that preempt [`Tunables::preemptive`].
    #[must_use]
    pub fn tunables(mut self, tunables: Tunables) -> RuntimeBuilder {
        self.tunables = Some(tunables);
        self
    }

    /// Whether kernel threads are pinned to their cores; they are, unless told otherwise.
    #[must_use]
    pub fn pin(mut self, pin: bool) -> RuntimeBuilder {
        self.pin = pin;
        self
    }

    /// Whether the migrating mode preempts tasks that do not give way, and takes cpus from tasks that are blocked in the kernel; it does, unless told
    /// otherwise.
    #[must_use]
    pub fn preempt(mut self, preempt: bool) -> RuntimeBuilder {
        self.preempt = preempt;
        self
    }

    /// The signal that preempts tasks. Without this, SIGURG, which is ignored by default and which few programs use.
    #[must_use]
    pub fn preempt_signal(mut self, signal: i32) -> RuntimeBuilder {
        self.signal = signal;
        self
    }

    /// Most kernel threads that tasks may run on, in the migrating mode: two for each worker, at least. A task that is preempted or blocked in the kernel keeps
    /// its own until it goes on and waits or yields by itself. Without this, 64 for each worker. With all in use, tasks that have one go on taking turns, and
    /// others wait until one is free; that is said on stderr once.
    #[must_use]
    pub fn kernel_threads(mut self, most: usize) -> RuntimeBuilder {
        self.kernel_threads = Some(most);
        self
    }

    /// How long a task may hold its cpu while others wait for it before that is said on stderr, with a backtrace; `None`: it is never said. Without this, a
    /// second. Times below 10 ms count as that. In the migrating mode such tasks are preempted, and nothing is said.
    #[must_use]
    pub fn stall_warning(mut self, after: Option<Duration>) -> RuntimeBuilder {
        self.stall_warning = after;
        self
    }

    /// The migrating mode: tasks are preempted at any instruction, blocked calls let others run, and a task may go on on another kernel thread after each
    /// suspension.
    ///
    /// A task that is preempted, or blocked in the kernel (a system call, std's locks, a C library's), notices nothing: it goes on on the same kernel thread,
    /// with its thread-locals, its errno and its locks as they were. Only where it suspends by itself it may come back on another.
    ///
    /// # Safety
    /// No task keeps, over a suspension point (yield, lock, receive, sleep, sockets, join ...), anything that belongs to its kernel thread: a
    /// reference to a thread-local value, an `Rc` that is also reachable from one, a guard that must be dropped by the thread that made it
    /// (std's MutexGuard), or any other value that is not `Send`.
    #[must_use]
    pub unsafe fn migrating(mut self) -> RuntimeBuilder {
        self.migrating = true;
        self
    }

    /// Makes the runtime and starts its kernel threads.
    ///
    /// # Errors
    /// A number of workers that is not allowed; no memory; no further threads.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let topology = Topology::detect();
        let workers = match self.workers {
            Some(workers) if workers == 0 || workers > CPUS_MAX => {
                return Err(BuildError::Workers { workers, most: CPUS_MAX });
            }
            Some(workers) => workers,
            None => topology.workers().get().min(CPUS_MAX),
        };
        let preempts = self.migrating && self.preempt && self.signal_is_ours()?;
        let kernel_threads = self.most_threads(workers, preempts)?;
        if preempts {
            crate::preempt::tell_the_allocator();
        }
        overflow::install().map_err(BuildError::System)?;
        overflow::set_namer(worker::name_running_task);
        let places = NonZeroUsize::new(workers).map_or(Vec::new(), |workers| topology.placement(workers));
        clock::calibrate();
        let registry = Idr::new();
        let tunables = self.tunables.unwrap_or(if preempts { Tunables::preemptive() } else { Tunables::default() });
        let cpus = (0..workers)
            .map(|index| {
                let stacks = StackCache::new(self.stack_size).map_err(BuildError::Stacks)?;
                let rq = RunQueue::new(index as u32, tunables, self.policy.clone());
                let processor = places.get(index).copied().filter(|_| self.pin && workers <= topology.cpus().len());
                Cpu::new(index as u32, processor, workers, preempts, rq, stacks, registry.range())
                    .map_err(BuildError::System)
            })
            .collect::<Result<Box<[Cpu]>, BuildError>>()?;
        let shared = Arc::new_cyclic(|this| Shared {
            this: Weak::clone(this),
            cpus,
            registry,
            near: topology.near(&places),
            policy: self.policy.clone(),
            migrating: self.migrating,
            preempts,
            kthreads: Kthreads::new(kernel_threads, self.signal),
            groups: Groups::default(),
            watchdog: Watchdog::new(),
            stack_size: self.stack_size,
            sleepers: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            none_live: (Mutex::new(()), Condvar::new()),
            next_cpu: AtomicUsize::new(0),
        });
        remember(&shared);
        let mut runtime = Runtime { shared, stopped: false };
        // If the program has a handler for it the watchdog says where tasks are without their help.
        let asks_by = if preempts { None } else { kthread::interrupt::install(self.signal).ok().map(|()| self.signal) };
        let stalls = self.stall_warning.filter(|_| !preempts).map(|limit| (limit.max(SHORTEST_STALL), asks_by));
        if let Err(error) = runtime.start_threads(stalls) {
            runtime.stop();
            return Err(BuildError::System(error));
        }
        Ok(runtime)
    }

    /// # Errors
    /// The signal cannot be used, or the program does.
    fn signal_is_ours(&self) -> Result<bool, BuildError> {
        let signal = self.signal;
        let allowed = [libc::SIGURG, libc::SIGIO, libc::SIGUSR1, libc::SIGUSR2].contains(&signal)
            || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal);
        if !allowed {
            return Err(BuildError::NoSuchSignal { signal });
        }
        kthread::interrupt::install(signal)?;
        Ok(true)
    }

    fn most_threads(&self, workers: usize, preempts: bool) -> Result<usize, BuildError> {
        let (least, most) = (2 * workers, THREADS_MAX);
        match self.kernel_threads {
            _ if !preempts => Ok(workers),
            Some(threads) if threads < least || threads > most => {
                Err(BuildError::KernelThreads { threads, least, most })
            }
            Some(threads) => Ok(threads),
            None => Ok((THREADS_PER_CPU * workers).min(most)),
        }
    }
}

impl Runtime {
    fn start_threads(&self, stalls: Option<(Duration, Option<i32>)>) -> std::io::Result<()> {
        let (shared, kthreads) = (&self.shared, &self.shared.kthreads);
        for cpu in 0..shared.cpus.len() {
            kthreads.start(shared, cpu, true)?;
        }
        if let Some((limit, signal)) = stalls {
            let theirs = Arc::clone(shared);
            let body = move || kthread::watchdog::main(&theirs, limit, signal);
            kthreads.start_other("fairground-watchdog".into(), body)?;
        }
        if shared.preempts {
            let watched = if kthread::can_rescue() { shared.cpus.len() } else { 0 };
            for cpu in 0..watched {
                let theirs = Arc::clone(shared);
                let body = move || kthread::watch(&theirs, &theirs.cpus[cpu]);
                kthreads.start_other(format!("fairground-idle/{cpu}"), body)?;
            }
            let theirs = Arc::clone(shared);
            kthreads.start_other("fairground-kthreadd".into(), move || kthread::kthreadd::main(&theirs))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.workers()).field("live_tasks", &self.live_tasks()).finish()
    }
}

impl TaskStruct {
    /// The id under which the registry has it.
    pub(crate) fn id(&self) -> TaskId {
        self.slot.id()
    }

    pub(crate) fn shared(&self) -> NonNull<Shared> {
        self.shared
    }
}
