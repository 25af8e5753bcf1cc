//! Where messages lie between a send and a receive: `crossbeam-queue`'s lock-free queues.
//!
//! Both let a thread that found another halfway through its operation spin until that is done. So preemption is off meanwhile.
//! Neither queue has room for messages before the first is sent, the unbounded one; the bounded one has room for all at once.

#[cfg(not(loom))]
mod real {
    use crate::preempt;
    use crossbeam_queue::{ArrayQueue, SegQueue};

    pub(crate) struct Unbounded<T>(SegQueue<T>);

    impl<T> Unbounded<T> {
        pub(crate) fn new() -> Unbounded<T> {
            Unbounded(SegQueue::new())
        }

        #[inline]
        pub(crate) fn push(&self, value: T) {
            let _guard = preempt::disable();
            self.0.push(value);
        }

        #[inline]
        pub(crate) fn pop(&self) -> Option<T> {
            let _guard = preempt::disable();
            self.0.pop()
        }

        #[inline]
        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        #[inline]
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }

    pub(crate) struct Bounded<T>(ArrayQueue<T>);

    impl<T> Bounded<T> {
        pub(crate) fn new(capacity: usize) -> Bounded<T> {
            Bounded(ArrayQueue::new(capacity))
        }

        #[inline]
        pub(crate) fn push(&self, value: T) -> Result<(), T> {
            let _guard = preempt::disable();
            self.0.push(value)
        }

        #[inline]
        pub(crate) fn pop(&self) -> Option<T> {
            let _guard = preempt::disable();
            self.0.pop()
        }

        #[inline]
        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        #[inline]
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        #[inline]
        pub(crate) fn is_full(&self) -> bool {
            self.0.is_full()
        }

        pub(crate) fn capacity(&self) -> usize {
            self.0.capacity()
        }
    }
}

/// For models: the messages under a lock, their number beside it. Whether it is empty or full is asked without the lock, so that
/// nothing but the fences around orders it, as with the real queues.
#[cfg(loom)]
mod real {
    use crate::atomic::{AtomicUsize, Ordering};
    use loom::sync::Mutex;
    use std::collections::VecDeque;

    pub(crate) struct Bounded<T> {
        messages: Mutex<VecDeque<T>>,
        len: AtomicUsize,
        capacity: usize,
    }

    impl<T> Bounded<T> {
        pub(crate) fn new(capacity: usize) -> Bounded<T> {
            Bounded { messages: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0), capacity }
        }

        pub(crate) fn push(&self, value: T) -> Result<(), T> {
            let mut messages = self.messages.lock().unwrap();
            if messages.len() == self.capacity {
                return Err(value);
            }
            messages.push_back(value);
            self.len.store(messages.len(), Ordering::Relaxed);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let mut messages = self.messages.lock().unwrap();
            let value = messages.pop_front();
            self.len.store(messages.len(), Ordering::Relaxed);
            value
        }

        pub(crate) fn len(&self) -> usize {
            self.len.load(Ordering::Relaxed)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) fn is_full(&self) -> bool {
            self.len() == self.capacity
        }

        pub(crate) fn capacity(&self) -> usize {
            self.capacity
        }
    }

    pub(crate) struct Unbounded<T>(Bounded<T>);

    impl<T> Unbounded<T> {
        pub(crate) fn new() -> Unbounded<T> {
            Unbounded(Bounded::new(usize::MAX))
        }

        pub(crate) fn push(&self, value: T) {
            _ = self.0.push(value);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.pop()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }
}

pub(crate) use real::{Bounded, Unbounded};

pub(crate) enum Storage<T> {
    Unbounded(Unbounded<T>),
    Bounded(Bounded<T>),
}

impl<T> Storage<T> {
    #[inline]
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        match self {
            Storage::Unbounded(queue) => {
                queue.push(value);
                Ok(())
            }
            Storage::Bounded(queue) => queue.push(value),
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        match self {
            Storage::Unbounded(queue) => queue.pop(),
            Storage::Bounded(queue) => queue.pop(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Storage::Unbounded(queue) => queue.len(),
            Storage::Bounded(queue) => queue.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Storage::Unbounded(queue) => queue.is_empty(),
            Storage::Bounded(queue) => queue.is_empty(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        match self {
            Storage::Unbounded(_) => false,
            Storage::Bounded(queue) => queue.is_full(),
        }
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        match self {
            Storage::Unbounded(_) => None,
            Storage::Bounded(queue) => Some(queue.capacity()),
        }
    }

    pub(crate) fn is_bounded(&self) -> bool {
        matches!(self, Storage::Bounded(_))
    }
}
