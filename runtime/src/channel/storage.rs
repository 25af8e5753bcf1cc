//! Where messages lie between a send and a receive: our own list of blocks (`unbounded.rs`), or `crossbeam-queue`'s ring.
//!
//! The ring lets a thread that finds another halfway through its operation spin until that is done. So preemption is off meanwhile.

#[cfg(not(loom))]
mod real {
    use crate::preempt;
    use crossbeam_queue::ArrayQueue;

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
/// nothing but the fences around orders it, as with the real ring.
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
}

pub(crate) use super::unbounded::Unbounded;
pub(crate) use real::Bounded;

/// What a channel needs of either.
pub(crate) trait Storage<T> {
    /// May a push fail, and so a sender wait?
    const BOUNDED: bool;

    fn push(&self, value: T) -> Result<(), T>;
    fn pop(&self) -> Option<T>;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn capacity(&self) -> Option<usize>;
}

impl<T> Storage<T> for Unbounded<T> {
    const BOUNDED: bool = false;

    #[inline]
    fn push(&self, value: T) -> Result<(), T> {
        self.push(value);
        Ok(())
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn is_full(&self) -> bool {
        false
    }

    fn capacity(&self) -> Option<usize> {
        None
    }
}

impl<T> Storage<T> for Bounded<T> {
    const BOUNDED: bool = true;

    #[inline]
    fn push(&self, value: T) -> Result<(), T> {
        self.push(value)
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.capacity())
    }
}
