//! Policies: who of those in a queue runs next, and for how long.
//!
//! A cpu's fair queue (`fair.rs`) keeps those that wait in a tree, by a *key*; the smallest runs next, equal ones run
//! in the order in which they came. Queueing, groups, quotas, charging and moving between cpus are the queue's. What a [`Policy`] says is
//! which key somebody gets that comes ([`place`](Policy::place)), how long the running one goes on ([`slice`](Policy::slice)), and
//! whether one that comes interrupts it ([`preempts`](Policy::preempts)). A runtime and a [simulation](crate::sim) are made with a
//! policy by name or with one of your own: see [`PolicyRef`].
//!
//! | name | who is next | how long | nice values |
//! |---|---|---|---|
//! | `cfs` | who ran least for its weight | its part of the latency | weights |
//! | `eevdf` | of those that are owed time, who must be done first | a slice | weights |
//! | `rr` | who waits longest | a turn | ignored |
//! | `fcfs` | who came first | until it gives way | ignored |
//! | `sjf` | whose bursts were shortest of late | until it gives way | ignored |
//! | `priority` | who has the smallest nice value | a turn, among equals | strict |
//!
//! Groups are contenders like tasks, and within each the same policy says who runs. Real-time classes come before all of this, the
//! idle class after.
//!
//! CFS is called directly and the others through a pointer: the queue asks once which it is, and so CFS is as quick as if it
//! were the only one.
//!
//! # A policy of your own
//!
//! `examples/src/runtime/feedback.rs` is a complete one of 50 lines, with a simulation and a runtime that use it. In short:
//!
//! ```
//! use fairground_runtime::sched::policy::{Arrival, Contender, Policy, PolicyRef, Queue};
//! use fairground_runtime::Runtime;
//!
//! /// Who came last runs first.
//! struct Stack;
//!
//! impl Policy for Stack {
//!     fn name(&self) -> &str {
//!         "stack"
//!     }
//!
//!     fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
//!         if why != Arrival::Back {
//!             who.set_key(u64::MAX / 4 - queue.now());
//!         }
//!     }
//! }
//!
//! let runtime = Runtime::builder().workers(1).policy(PolicyRef::new(Stack)).build()?;
//! assert_eq!(runtime.run(|| 7), 7);
//! # Ok::<(), fairground_runtime::BuildError>(())
//! ```

pub(super) mod average;
mod cfs;
mod choice;
mod eevdf;
mod fcfs;
mod priority;
mod round_robin;
mod sjf;
mod view;

pub(super) use cfs::Cfs;
pub use choice::{PolicyError, PolicyRef};
pub use view::{Contender, Queue};

/// Why somebody comes to wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was in no queue before.
    New,
    /// It waited for something else than the cpu.
    Woken,
    /// It waited for another cpu until now, or its class or group changed.
    Moved,
    /// It ran, and others come first or its slice is over. (If nobody else waits it goes on at once.)
    Back,
    /// It ran, and lets others run.
    Yielded,
}

/// Who of those in a queue runs next, and for how long. See the [module](self).
///
/// All is called under the lock of the queue that it is about, on whichever cpu, and many times a millisecond: a policy must not
/// wait, nor use the runtime. What it keeps beside the [contender's own](Contender::memory) it shares between cpus by itself.
pub trait Policy: Send + Sync + 'static {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// Gives `who` the [key](Contender::set_key) by which it waits. It is not in the tree now, but counted in the queue already.
    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival);

    /// Nanoseconds that `who` may run at once, counted from when it was picked. Without this, until it gives way by itself.
    fn slice(&self, who: Contender<'_>, queue: Queue<'_>) -> u64 {
        let _ = (who, queue);
        u64::MAX
    }

    /// Asked of the running one when its slice may be over and `first` has the smallest key: should it give way? Without this, if it
    /// ran for a slice.
    fn over(&self, running: Contender<'_>, first: Contender<'_>, queue: Queue<'_>) -> bool {
        let _ = first;
        running.ran_at_once() >= self.slice(running, queue)
    }

    /// One that came should interrupt the running one. Without this, never.
    fn preempts(&self, came: Contender<'_>, running: Contender<'_>, queue: Queue<'_>) -> bool {
        let _ = (came, running, queue);
        false
    }

    /// May be picked now; else the one with the next key is asked, and the first one runs if all may not. Without this, all may.
    fn may_run(&self, who: Contender<'_>, queue: Queue<'_>) -> bool {
        let _ = (who, queue);
        true
    }

    /// The one that yields would be picked again: may `next`, the one after it, run in its place? Without this, it may.
    fn yields_to(&self, yielding: Contender<'_>, next: Contender<'_>, queue: Queue<'_>) -> bool {
        let _ = (yielding, next, queue);
        true
    }

    /// The running one stops to wait for something, or has ended.
    fn leaves(&self, who: Contender<'_>, queue: Queue<'_>) {
        let _ = (who, queue);
    }

    /// The weight of `who` was `before` until now; its lag was kept. (Weights of groups change all the time, by where their load is.)
    fn reweighted(&self, who: Contender<'_>, before: u32, queue: Queue<'_>) {
        let _ = (who, before, queue);
    }
}
