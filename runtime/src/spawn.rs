//! Making tasks.

use crate::cpu::{self, wake};
use crate::error::SpawnError;
use crate::group::Group;
use crate::runtime::{Runtime, Shared};
use crate::sched::{Class, Enqueue, Entity, Nice, Params};
use crate::task::join::JoinHandle;
use crate::task::name::Name;
use crate::task::stack::StackSize;
use crate::task::task::{self, New, TaskStruct};
use std::ptr::NonNull;

/// Runs `f` as a task: of the runtime that the caller is a task of, else of the [global](Runtime::global) one.
///
/// # Panics
/// There is no memory for a task; [`Builder::spawn`] returns that as an error.
///
/// # Examples
/// ```
/// let hello = fairground_runtime::spawn(|| "hello from a green thread");
/// assert_eq!(hello.join().unwrap(), "hello from a green thread");
/// ```
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).unwrap_or_else(|error| panic!("{error}"))
}

/// Lets other tasks of this cpu run, if it is their turn. In plain threads: other threads.
#[inline]
pub fn yield_now() {
    crate::park::yield_now();
}

/// Chooses what a task is like.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<Box<str>>,
    cpu: Option<usize>,
    class: Class,
    group: Option<Group>,
    stack_size: Option<StackSize>,
    own_thread: bool,
}

impl Builder {
    /// A task without a name, of nice 0, with the runtime's stack size, wherever there is room.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// What listings, messages of panics and of stack overflows call it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// The only cpu it may run on, by the runtime's counting from 0.
    #[must_use]
    pub fn cpu(mut self, cpu: usize) -> Builder {
        self.cpu = Some(cpu);
        self
    }

    /// Its share against other tasks of its cpu: each step is a factor of about 1.25.
    #[must_use]
    pub fn nice(self, nice: Nice) -> Builder {
        self.class(Class::Fair(nice))
    }

    /// How it is scheduled; fair, unless told otherwise.
    #[must_use]
    pub fn class(mut self, class: Class) -> Builder {
        self.class = class;
        self
    }

    /// The group whose weight and quota it shares in. Without this it is in none, whatever its parent is in. Real-time and idle tasks are
    /// scheduled outside of groups.
    #[must_use]
    pub fn group(mut self, group: &Group) -> Builder {
        self.group = Some(group.clone());
        self
    }

    /// How large its stack is.
    #[must_use]
    pub fn stack_size(mut self, size: StackSize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// It stays on one kernel thread for life, as a thread of std's does, whatever it waits for: for C libraries that keep thread-locals over callbacks, and for
    /// what must be dropped by the thread that made it. It is scheduled as all others are, but a switch to it costs microseconds, and it takes one of the
    /// runtime's [kernel threads](crate::RuntimeBuilder::kernel_threads). Only in runtimes that preempt; without that a started task stays on its kernel
    /// thread anyway, if the runtime is not migrating.
    #[must_use]
    pub fn own_thread(mut self) -> Builder {
        self.own_thread = true;
        self
    }

    /// As [`spawn`].
    ///
    /// # Errors
    /// The runtime has no such cpu, the group is another runtime's, or there is no memory.
    pub fn spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: nothing is borrowed.
        unsafe {
            match cpu::current_task() {
                Some(task) => self.spawn_in(task.shared().as_ref(), f),
                None => self.spawn_in(Runtime::global().shared(), f),
            }
        }
    }

    /// Spawns on a runtime.
    ///
    /// # Errors
    /// The runtime has no such cpu, the group is another runtime's, or there is no memory.
    pub fn spawn_on<F, T>(self, runtime: &Runtime, f: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: nothing is borrowed.
        unsafe { self.spawn_in(runtime.shared(), f) }
    }

    /// # Safety
    /// What `f` and its result borrow outlives the task.
    pub(crate) unsafe fn spawn_in<F, T>(self, shared: &Shared, f: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if let Some(group) = self.group.as_ref().filter(|group| !group.is_of(shared)) {
            return Err(SpawnError::OtherRuntimesGroup { group: group.name().into() });
        }
        let cpus = shared.cpus.len();
        if let Some(cpu) = self.cpu.filter(|cpu| *cpu >= cpus) {
            return Err(SpawnError::NoSuchCpu { cpu, cpus });
        }
        if self.own_thread && shared.migrating && !shared.preempts {
            return Err(SpawnError::NoOwnThread);
        }
        let name = self.name.as_deref().and_then(Name::new);
        let (here, slot) = {
            let guard = cpu::get_cpu();
            match guard.as_ref().map(|guard| guard.cpu).filter(|cpu| shared.owns(cpu)) {
                Some(here) => (Some(here.index), here.own.ids.borrow_mut().reserve()),
                None => (None, shared.registry.reserve()),
            }
        };
        let slot = slot.map_err(|_| SpawnError::OutOfMemory)?;
        let cpu = self.cpu.map(|cpu| cpu as u32).or(here).unwrap_or_else(|| shared.some_cpu());
        let new = New {
            entity: Entity::new(Params { class: self.class, group: self.group.map(|group| group.inner) }),
            cpu,
            pinned: self.cpu.is_some(),
            own_thread: self.own_thread,
            parent: cpu::current_task().map(TaskStruct::id),
            slot,
            name,
            stack_size: self.stack_size.unwrap_or(shared.stack_size),
            shared: NonNull::from(shared),
        };
        // SAFETY: by this function's contract.
        let task = match unsafe { task::make(new, f) } {
            Ok(task) => task,
            Err(slot) => {
                // SAFETY: of this registry.
                unsafe { shared.registry.remove(slot) };
                return Err(SpawnError::OutOfMemory);
            }
        };
        shared.one_more();
        task.slot.publish(NonNull::from(&*task));
        // SAFETY: new, so on no queue, and nobody else queues it. The handle keeps it.
        unsafe { wake::enqueue(&task, Enqueue::New) };
        // SAFETY: made with this result type; the only joiner.
        Ok(unsafe { JoinHandle::new(task) })
    }
}
