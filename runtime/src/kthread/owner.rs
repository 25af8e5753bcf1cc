//! Who drives a cpu, and how a cpu is taken from an owner that is blocked in the kernel without asking it.
//!
//! The owner enters the runtime: it counts up (preemption is off), and looks whether the cpu is its own still. The rescuer makes the cpu nobody's, and
//! looks whether the owner's count is zero still. Between its two steps each has a full barrier, so at least one sees the other (Dekker). The owner's
//! must be free, as it enters all the time: it is a barrier for the compiler, and the rescuer's membarrier(2) makes it one for the processor.
//!
//! Only one rescuer at a time, under the queue's lock. An owner that finds its cpu nobody's takes that lock, and so waits for the answer.

use crate::atomic::{AtomicPtr, Ordering, fence};
use std::ptr::{NonNull, null_mut};

/// See the module's text. Threads are compared, never looked into.
#[derive(Debug)]
pub(crate) struct Owner<T>(AtomicPtr<T>);

impl<T> Owner<T> {
    pub(crate) fn new() -> Owner<T> {
        Owner(AtomicPtr::new(null_mut()))
    }

    /// Who drives it, if somebody does. A hint, but under the queue's lock.
    #[inline]
    pub(crate) fn get(&self) -> Option<NonNull<T>> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }

    /// By a thread that has counted up: is the cpu its own?
    #[inline]
    pub(crate) fn is(&self, thread: &T) -> bool {
        entrance();
        std::ptr::eq(self.0.load(Ordering::Acquire), thread)
    }

    /// By the owner, or a rescuer that succeeded, under the queue's lock.
    #[inline]
    pub(crate) fn set(&self, thread: &T) {
        self.0.store((&raw const *thread).cast_mut(), Ordering::Release);
    }

    /// By a rescuer, under the queue's lock: takes the cpu from its owner, if `blocked` says of it that it has not entered the runtime and is where it
    /// was. True: the cpu is nobody's.
    pub(crate) fn take_from(&self, owner: NonNull<T>, blocked: impl FnOnce() -> bool) -> bool {
        if self.0.compare_exchange(owner.as_ptr(), null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        barrier();
        if blocked() {
            return true;
        }
        self.0.store(owner.as_ptr(), Ordering::Release);
        false
    }
}

/// The owner's barrier.
#[cfg(not(loom))]
#[inline]
fn entrance() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

#[cfg(loom)]
fn entrance() {
    fence(Ordering::SeqCst);
}

/// The rescuer's, for both.
#[cfg(not(loom))]
fn barrier() {
    fence(Ordering::SeqCst);
    // SAFETY: changes nothing. It cannot fail after `register_barrier` said yes.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) };
}

#[cfg(loom)]
fn barrier() {
    fence(Ordering::SeqCst);
}

/// Tells the kernel that this process will use the barrier; false if it has none, and then no cpu may be taken.
#[cfg(not(loom))]
pub(super) fn register_barrier() -> bool {
    // SAFETY: changes nothing but what the kernel knows of the process.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::atomic::{AtomicU32, UnsafeCell};
    use loom::sync::Arc;
    use loom::sync::Mutex;
    use loom::thread;

    struct Thread {
        count: AtomicU32,
    }

    struct Cpu {
        owner: Owner<Thread>,
        /// The queue's lock.
        lock: Mutex<()>,
        /// What only the owner touches, with its count up.
        own: UnsafeCell<u32>,
    }

    /// The owner enters the runtime while another takes the cpu: never are both in it, and if the cpu was taken the owner knows.
    #[test]
    fn a_cpu_has_one_driver() {
        loom::model(|| {
            let all = Arc::new((
                Cpu { owner: Owner::new(), lock: Mutex::new(()), own: UnsafeCell::new(0) },
                Thread { count: AtomicU32::new(0) },
                Thread { count: AtomicU32::new(0) },
            ));
            all.0.owner.set(&all.1);
            let rescuer = {
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    let (cpu, owner, this) = (&all.0, &all.1, &all.2);
                    let lock = cpu.lock.lock().unwrap();
                    let taken = cpu.owner.take_from(NonNull::from(owner), || owner.count.load(Ordering::Acquire) == 0);
                    if taken {
                        cpu.owner.set(this);
                    }
                    drop(lock);
                    if taken {
                        // SAFETY: the model's own question: only the owner is here.
                        cpu.own.with_mut(|own| unsafe { *own += 1 });
                    }
                    taken
                })
            };
            let (cpu, this) = (&all.0, &all.1);
            let mut knows = false;
            for _ in 0..2 {
                this.count.store(1, Ordering::Relaxed);
                let mine = cpu.owner.is(this) || {
                    let _lock = cpu.lock.lock().unwrap();
                    cpu.owner.is(this)
                };
                if mine {
                    // SAFETY: as above.
                    cpu.own.with_mut(|own| unsafe { *own += 1 });
                }
                knows = !mine;
                this.count.store(0, Ordering::Release);
                if !mine {
                    break;
                }
            }
            let taken = rescuer.join().expect("no panic");
            assert!(!knows || taken, "the owner gave up what is its own");
        });
    }
}
