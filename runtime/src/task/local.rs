//! Task-local values: as thread-locals are to threads.
//!
//! A task has a short list of pairs, key and boxed value, that is empty until the first use. Plain threads have one too. The values are dropped
//! at the task's end, before its joiner is woken.

use crate::cpu::current_task;
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// The values of one task.
#[derive(Default)]
pub(crate) struct Locals(Vec<(usize, Rc<dyn Any>)>);

thread_local! {
    static OF_THREAD: RefCell<Locals> = const { RefCell::new(Locals(Vec::new())) };
}

/// A key, made by [`task_local!`](crate::task_local): each task has a value of its own.
#[derive(Debug)]
pub struct TaskLocal<T: 'static> {
    #[doc(hidden)]
    pub init: fn() -> T,
}

impl<T: 'static> TaskLocal<T> {
    /// Calls `f` with this task's value (this thread's, outside of tasks), which is made at the first use.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let key = &raw const *self as usize;
        // The value is held by a counted reference, so `f` may suspend and may use other keys.
        let found = with_locals(|locals| locals.get(key)).unwrap_or_else(|| {
            let fresh: Rc<dyn Any> = Rc::new((self.init)());
            with_locals(|locals| locals.insert(key, fresh))
        });
        f(found.downcast_ref().expect("a key has one type"))
    }
}

impl Locals {
    fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, value)| Rc::clone(value))
    }

    /// The value that is there now: `init` may have made one itself.
    fn insert(&mut self, key: usize, value: Rc<dyn Any>) -> Rc<dyn Any> {
        if let Some(there) = self.get(key) {
            return there;
        }
        self.0.push((key, Rc::clone(&value)));
        value
    }
}

/// `f` neither suspends nor comes here again.
fn with_locals<R>(f: impl FnOnce(&mut Locals) -> R) -> R {
    match current_task() {
        // SAFETY: the running task's own, and `f` does not come here again.
        Some(task) => task.locals.with_mut(|locals| f(unsafe { (*locals).get_or_insert_default() })),
        None => OF_THREAD.with(|locals| f(&mut locals.borrow_mut())),
    }
}

/// Declares task-local values, as `std::thread_local!` does thread-local ones.
///
/// # Examples
/// ```
/// use std::cell::Cell;
///
/// fairground_runtime::task_local! {
///     static REQUEST: Cell<u32> = Cell::new(0);
/// }
///
/// let tasks: Vec<_> = (1..=3)
///     .map(|n| fairground_runtime::spawn(move || {
///         REQUEST.with(|request| request.set(n));
///         fairground_runtime::yield_now();
///         REQUEST.with(Cell::get)
///     }))
///     .collect();
/// let seen: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
/// assert_eq!(seen, [1, 2, 3]);
/// ```
#[macro_export]
macro_rules! task_local {
    ($($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $init:expr;)*) => {
        $($(#[$attribute])* $visible static $name: $crate::task::TaskLocal<$type> =
            $crate::task::TaskLocal { init: || $init };)*
    };
}
