//! Green threads on per-core fair run queues.
//!
//! | folder | what it is | may use |
//! |---|---|---|
//! | `sync`, `channel` | locks and channels for tasks and plain threads alike | `park` |
//! | `time`, `net` | sleeping, timeouts, sockets | `park`, `cpu` |
//! | `park` | the one way to wait and to wake, for tasks and plain threads | `cpu`, `task` |
//! | `cpu` | a core: its kernel thread, its run queue, its timers, its reactor | `sched`, `task` |
//! | `task` | a green thread: its states, id, stack, context | - |
//! | `sched` | who runs next: arithmetic without clocks, threads or system calls | - |
//! | `preempt` | the count that forbids switching | - |
//! | `topology` | packages, cores, siblings, capacities, nodes, quota | - |

#[macro_use]
pub(crate) mod atomic;
pub mod channel;
pub(crate) mod park;
pub mod preempt;
pub mod sched;
pub mod sync;
pub mod task;
pub mod topology;
