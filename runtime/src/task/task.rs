//! A task: the kernel's `task_struct`.
//!
//! A task is one object from a slab cache: what the scheduler needs first, then the *payload*, which is the closure until it is
//! run and the result after it. It has no stack before it first runs: a thousand tasks that are spawned and finish one
//! after the other use one stack, and it is warm. What does not fit the object (a large closure or result) is in a
//! larger one. All memory of a task is Fairground's, for the scheduler gives it back, and it may not wait for another allocator's locks.
//!
//! # Who may touch what
//!
//! | field | who |
//! |---|---|
//! | `state` | everybody, by its moves (`state.rs`) |
//! | `entity`, `movable` | the holder of the lock of the run queue of cpu `cpu` |
//! | `cpu` | written under the locks of the queue it leaves and the one it goes to; read by anybody as a hint |
//! | `context`, `payload`, `locals`, `unwinds` | the cpu that runs the task, on or off its stack; the joiner's is the result of a DEAD task |
//! | `joiner` | the joiner, or the task's end: see JOINER in `state.rs` |
//! | `timer` | the holder of the lock of the timers it is linked into |
//! | all others | set before the task is queued; constant |
//!
//! # Who keeps it alive
//!
//! `refs` counts handles, one for each [`TaskRef`]; the run queue, the timers and the registry count as one, from spawn to the
//! task's end. The last one gives the object back.

use super::id::{Slot, TaskId};
use super::name::Name;
use super::stack::{Stack, StackSize};
use super::state::{Phase, State};
use crate::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, UnsafeCell, fence};
use crate::cpu::timers::Timer;
use crate::kthread::Kthread;
use crate::runtime::Shared;
use crate::sched::Entity;
use corosensei::{Coroutine, Yielder};
use fairground_allocator::Fairground;
use fairground_allocator::cache::{CacheFlags, RawCache};
use intrusive_collections::LinkedListLink;
use std::alloc::{GlobalAlloc, Layout};
use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Why a task left its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Others may run; it goes on when it is its turn again.
    Yield,
    /// Until somebody wakes it.
    Park,
}

pub(crate) type Context = Coroutine<(), Leave, (), Stack>;
pub(crate) type Resumer = Yielder<(), Leave>;

/// What a task ends with.
pub(crate) type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// See the module's text.
#[repr(C)]
pub(crate) struct TaskStruct {
    pub(crate) entity: Entity,
    pub(crate) state: State,
    refs: AtomicU32,
    pub(crate) cpu: AtomicU32,
    /// May not leave its cpu even before it started.
    pub(crate) pinned: bool,
    /// It stays on its kernel thread whatever it does.
    pub(crate) own_thread: bool,
    /// It left its stack while it unwound, so it goes on where it was: that a panic is on its way is known to the kernel thread, and it
    /// would count as none elsewhere.
    pub(crate) unwinds: Cell<bool>,
    /// Suspension points do not unwind though it is cancelled. Only the task itself touches it.
    pub(super) shielded: AtomicBool,
    /// It can only go on on this kernel thread, as it was preempted or blocked there. See `kthread`.
    pub(crate) bound: AtomicPtr<Kthread>,
    vtable: &'static Vtable,
    pub(crate) shared: NonNull<Shared>,
    pub(crate) stack_size: StackSize,
    pub(crate) context: UnsafeCell<Option<Context>>,
    pub(crate) resumer: UnsafeCell<Option<NonNull<Resumer>>>,
    pub(crate) timer: Timer,
    /// Its place in the list of what may move, while it is queued.
    pub(crate) movable: LinkedListLink,
    joiner: UnsafeCell<Option<Joiner>>,
    pub(crate) slot: Slot<TaskStruct>,
    pub(crate) parent: Option<TaskId>,
    pub(crate) name: Option<Name>,
    pub(crate) stats: TaskStats,
    pub(crate) locals: UnsafeCell<Option<Box<super::local::Locals>>>,
}

/// Counted beside the event by the cpu that runs the task; read by anybody.
#[derive(Debug, Default)]
pub(crate) struct TaskStats {
    /// Nanoseconds READY before it ran.
    pub(crate) wait: AtomicU64,
    /// Since when it is READY, by the scheduler's clock.
    pub(crate) ready_since: AtomicU64,
    pub(crate) switches: AtomicU64,
    pub(crate) migrations: AtomicU64,
    pub(crate) preemptions: AtomicU64,
}

/// How the task's end reaches who waits for it.
pub(crate) enum Joiner {
    Parked(crate::park::Unparker),
    Future(std::task::Waker),
}

/// What depends on the types of closure and result.
struct Vtable {
    /// Runs the closure and leaves the result in its place.
    run: unsafe fn(NonNull<TaskStruct>),
    /// Drops a closure that was never run, and leaves a result that says so.
    discard: unsafe fn(NonNull<TaskStruct>),
    /// Moves the result to where the last argument, an `Option<Outcome<T>>`, says.
    take_result: unsafe fn(NonNull<TaskStruct>, *mut ()),
    /// Drops the result, if nobody took it.
    drop_result: unsafe fn(NonNull<TaskStruct>),
    layout: Layout,
}

/// Bytes of a task's object: the smallest number of cache lines that leaves a small closure its place. With a stack page it is
/// what a parked task costs.
const OBJECT: usize = 512;

union Payload<F, T> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<Option<Outcome<T>>>,
}

#[repr(C)]
struct Whole<F, T> {
    task: TaskStruct,
    payload: UnsafeCell<Payload<F, T>>,
}

fn cache() -> &'static RawCache {
    static CACHE: OnceLock<RawCache> = OnceLock::new();
    CACHE.get_or_init(|| {
        // The one reason left is that there is no memory for a descriptor of a few hundred bytes.
        RawCache::new("task", OBJECT, 64, CacheFlags::CACHE_LINE).expect("memory for the cache of tasks")
    })
}

/// The parts of a new task that its maker chooses.
pub(crate) struct New {
    pub(crate) entity: Entity,
    pub(crate) cpu: u32,
    pub(crate) pinned: bool,
    pub(crate) own_thread: bool,
    pub(crate) slot: Slot<TaskStruct>,
    pub(crate) parent: Option<TaskId>,
    pub(crate) name: Option<Name>,
    pub(crate) stack_size: StackSize,
    pub(crate) shared: NonNull<Shared>,
}

/// A task with two handles: the caller's, and that of the runtime's queues. If there is no memory the closure is dropped and the
/// slot comes back.
///
/// # Safety
/// What the closure and its result borrow outlives the task's run and the last look at its result.
pub(crate) unsafe fn make<F, T>(new: New, closure: F) -> Result<TaskRef, Slot<TaskStruct>>
where
    F: FnOnce() -> T,
{
    let layout = const { Layout::new::<Whole<F, T>>() };
    let memory = if fits(layout) {
        cache().alloc()
    } else {
        // SAFETY: the layout is not of size 0.
        NonNull::new(unsafe { Fairground.alloc(layout) })
    };
    let Some(memory) = memory else { return Err(new.slot) };
    let whole = memory.cast::<Whole<F, T>>();
    let task = TaskStruct {
        entity: new.entity,
        state: State::new(),
        refs: AtomicU32::new(2),
        cpu: AtomicU32::new(new.cpu),
        pinned: new.pinned,
        own_thread: new.own_thread,
        unwinds: Cell::new(false),
        shielded: AtomicBool::new(false),
        bound: AtomicPtr::new(std::ptr::null_mut()),
        vtable: const {
            &Vtable {
                run: run::<F, T>,
                discard: discard::<F, T>,
                take_result: take_result::<F, T>,
                drop_result: drop_result::<F, T>,
                layout: Layout::new::<Whole<F, T>>(),
            }
        },
        shared: new.shared,
        stack_size: new.stack_size,
        context: UnsafeCell::new(None),
        resumer: UnsafeCell::new(None),
        timer: Timer::new(),
        movable: LinkedListLink::new(),
        joiner: UnsafeCell::new(None),
        slot: new.slot,
        parent: new.parent,
        name: new.name,
        stats: TaskStats::default(),
        locals: UnsafeCell::new(None),
    };
    // SAFETY: the memory is large enough, aligned, and nobody else's.
    unsafe { whole.write(Whole { task, payload: UnsafeCell::new(Payload { closure: ManuallyDrop::new(closure) }) }) };
    Ok(TaskRef(whole.cast()))
}

const fn fits(layout: Layout) -> bool {
    layout.size() <= OBJECT && layout.align() <= 64
}

/// # Safety
/// Of a task made with these types, NEW and picked, on its own stack.
unsafe fn run<F: FnOnce() -> T, T>(task: NonNull<TaskStruct>) {
    // SAFETY: `Whole` begins with the task, and was made with these types.
    let payload = unsafe { &task.cast::<Whole<F, T>>().as_ref().payload };
    // SAFETY: the payload is the closure, and this runs once.
    let closure = payload.with_mut(|payload| unsafe { ManuallyDrop::take(&mut (*payload).closure) });
    // A panic leaves nothing of ours half done; what the closure shares with others is its author's concern, as with threads.
    let outcome = Some(std::panic::catch_unwind(std::panic::AssertUnwindSafe(closure)));
    payload.with_mut(|payload| {
        // SAFETY: still this cpu's, and the closure has left it.
        unsafe { (*payload).result = ManuallyDrop::new(outcome) };
    });
}

/// # Safety
/// As for `run`, instead of it.
unsafe fn discard<F, T>(task: NonNull<TaskStruct>) {
    // SAFETY: as in `run`.
    let payload = unsafe { &task.cast::<Whole<F, T>>().as_ref().payload };
    // SAFETY: as in `run`.
    let closure = payload.with_mut(|payload| unsafe { ManuallyDrop::take(&mut (*payload).closure) });
    // What it captured is dropped as the task's own code, so a panic in it is the task's.
    let outcome = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(closure))) {
        Ok(()) => Err(Box::new(super::cancel::Cancelled) as Box<dyn Any + Send>),
        Err(panic) => Err(panic),
    };
    payload.with_mut(|payload| {
        // SAFETY: as in `run`.
        unsafe { (*payload).result = ManuallyDrop::new(Some(outcome)) };
    });
}

/// # Safety
/// The task is DEAD, the caller has its result, and `to` is an `Option<Outcome<T>>`.
unsafe fn take_result<F, T>(task: NonNull<TaskStruct>, to: *mut ()) {
    // SAFETY: as in `run`; the payload of a DEAD task is its result.
    let payload = unsafe { &task.cast::<Whole<F, T>>().as_ref().payload };
    // SAFETY: the caller's.
    let result = payload.with_mut(|payload| unsafe {
        let result = &mut (*payload).result;
        result.take()
    });
    // SAFETY: of this type, by this function's contract.
    unsafe { *to.cast::<Option<Outcome<T>>>() = result };
}

/// # Safety
/// The task is DEAD, and the caller has its result.
unsafe fn drop_result<F, T>(task: NonNull<TaskStruct>) {
    // SAFETY: as in `run`; the payload of a DEAD task is its result.
    let payload = unsafe { &task.cast::<Whole<F, T>>().as_ref().payload };
    // SAFETY: the caller's.
    let result = payload.with_mut(|payload| unsafe {
        let result = &mut (*payload).result;
        result.take()
    });
    // A panic in it is nobody's.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(result)));
}

impl TaskStruct {
    /// The task's body: called once, on the task's stack.
    ///
    /// # Safety
    /// By the cpu that picked the task, once.
    pub(crate) unsafe fn run(&self) {
        let this = NonNull::from(self);
        if self.state.is_cancelled() {
            // SAFETY: picked, once.
            unsafe { (self.vtable.discard)(this) };
        } else {
            // SAFETY: as above.
            unsafe { (self.vtable.run)(this) };
        }
        self.locals.with_mut(|locals| {
            // SAFETY: this cpu's.
            drop(unsafe { (*locals).take() });
        });
    }

    /// Takes the joiner at the task's end.
    ///
    /// # Safety
    /// The caller has the cell: `State::died` said so.
    pub(crate) unsafe fn take_joiner(&self) -> Option<Joiner> {
        // SAFETY: the caller's.
        self.joiner.with_mut(|joiner| unsafe { (*joiner).take() })
    }

    /// By the only joiner: leaves word of who waits; false if the task is dead.
    pub(crate) fn set_joiner(&self, who: Joiner) -> bool {
        // SAFETY: the cell is the joiner's while JOINER is not set.
        self.joiner.with_mut(|joiner| unsafe { *joiner = Some(who) });
        self.state.set_joiner() || {
            // SAFETY: not handed over, so still the joiner's.
            self.joiner.with_mut(|joiner| unsafe { *joiner = None });
            false
        }
    }

    /// By the only joiner: nobody waits any more. False if the task is dead.
    pub(crate) fn clear_joiner(&self) -> bool {
        let back = self.state.take_joiner();
        if back {
            // SAFETY: the joiner's again.
            self.joiner.with_mut(|joiner| unsafe { *joiner = None });
        }
        back
    }

    /// Drops the result, if nobody took it. In the code of a task or thread, where it may wait; never in the scheduler.
    ///
    /// # Safety
    /// The task is DEAD, and the caller is its only joiner, or the task itself if it is detached.
    pub(crate) unsafe fn drop_result(&self) {
        // SAFETY: by this function's contract.
        unsafe { (self.vtable.drop_result)(NonNull::from(self)) };
    }

    /// The result, once.
    ///
    /// # Safety
    /// By the only joiner, of a task that it sees DEAD and that was made with result type `T`.
    pub(crate) unsafe fn take_result<T>(&self) -> Option<Outcome<T>> {
        debug_assert_eq!(self.state.phase(), Phase::Dead);
        let mut result: Option<Outcome<T>> = None;
        // SAFETY: by this function's contract.
        unsafe { (self.vtable.take_result)(NonNull::from(self), (&raw mut result).cast()) };
        result
    }
}

/// A handle that keeps a task's object.
pub(crate) struct TaskRef(NonNull<TaskStruct>);

// SAFETY: what of a task may be touched by whom does not depend on who has a handle; see the module's text.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}
// No step of ours is half done when a task's code unwinds.
impl std::panic::UnwindSafe for TaskRef {}
impl std::panic::RefUnwindSafe for TaskRef {}

impl TaskRef {
    /// Another handle to a task that somebody keeps alive.
    #[inline]
    pub(crate) fn new(task: &TaskStruct) -> TaskRef {
        task.refs.fetch_add(1, Ordering::Relaxed);
        TaskRef(NonNull::from(task))
    }

    /// The handle of the runtime's queues, at the task's end.
    ///
    /// # Safety
    /// Once for each task, by its end.
    pub(crate) unsafe fn of_the_queues(task: NonNull<TaskStruct>) -> TaskRef {
        TaskRef(task)
    }
}

impl std::fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task {}", self.slot.id())
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> TaskRef {
        TaskRef::new(self)
    }
}

impl Deref for TaskRef {
    type Target = TaskStruct;

    #[inline]
    fn deref(&self) -> &TaskStruct {
        // SAFETY: alive as long as a handle is.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            release(self.0);
        }
    }
}

#[inline(never)]
fn release(task: NonNull<TaskStruct>) {
    // SAFETY: the last handle is gone, so it is ours alone.
    let vtable = unsafe { task.as_ref() }.vtable;
    // Its result is gone: taken, or dropped by who was to take it.
    // SAFETY: ours alone, and not used again.
    unsafe { task.drop_in_place() };
    if fits(vtable.layout) {
        // SAFETY: from this cache.
        unsafe { cache().free(task.cast()) };
    } else {
        // SAFETY: from this allocator, with this layout.
        unsafe { Fairground.dealloc(task.as_ptr().cast(), vtable.layout) };
    }
}
