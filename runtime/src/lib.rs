//! Green threads on per-core fair run queues.
//!
//! | folder | what it is | may use |
//! |---|---|---|
//! | `sync`, `channel` | locks and channels for tasks and plain threads alike | `park` |
//! | `time`, `net` | sleeping, timeouts, sockets | `park`, `cpu`, `blocking` |
//! | `fs` | files, by helper threads | `blocking` |
//! | `blocking` | kernel threads for calls that block | `park` |
//! | `park`, `parker` | the one way to wait and to wake, for tasks and plain threads | `cpu`, `task` |
//! | `cpu` | a core: its run queue, its timers, its reactor, and the loop that drives it | `sched`, `task`, `kthread` |
//! | `kthread` | kernel threads: who has which cpu; preemption, blocked calls | `cpu`, `task` |
//! | `task` | a green thread: its states, id, stack, context | - |
//! | `sched` | who runs next: arithmetic without clocks, threads or system calls | - |
//! | `sim` | the simulator: `sched` in virtual time | `sched`, `topology` |
//! | `preempt` | the count that forbids switching | - |
//! | `arch` | what differs between processors | - |
//! | `topology` | packages, cores, siblings, capacities, nodes, quota | - |

pub(crate) mod arch;
#[macro_use]
pub(crate) mod atomic;
#[cfg(not(loom))]
mod blocking;
pub mod channel;
#[cfg(not(loom))]
pub(crate) mod clock;
#[cfg(not(loom))]
pub(crate) mod cpu;
#[cfg(all(loom, test))]
#[path = "cpu/sleep.rs"]
mod cpu_sleep;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
pub mod fs;
#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
pub mod inspect;
#[cfg(not(loom))]
pub(crate) mod kthread;
#[cfg(all(loom, test))]
#[path = "kthread/owner.rs"]
mod kthread_owner;
#[cfg(all(loom, test))]
#[path = "kthread/word.rs"]
mod kthread_word;
#[cfg(not(loom))]
pub mod net;
pub(crate) mod park;
#[cfg(not(loom))]
mod parker;
#[cfg(not(loom))]
pub(crate) mod pin;
pub mod preempt;
#[cfg(not(loom))]
mod runtime;
pub mod sched;
#[cfg(not(loom))]
mod scope;
#[cfg(not(loom))]
pub mod sim;
#[cfg(not(loom))]
mod spawn;
pub(crate) mod spin;
pub mod sync;
pub mod task;
#[cfg(not(loom))]
pub mod time;
pub mod topology;

#[cfg(not(loom))]
pub use blocking::unblock;
#[cfg(not(loom))]
pub use error::{BuildError, SpawnError};
#[cfg(not(loom))]
pub use future::{block_on, spawn_future};
#[cfg(not(loom))]
pub use group::Group;
#[cfg(not(loom))]
pub use runtime::{Runtime, RuntimeBuilder};
#[cfg(not(loom))]
pub use scope::{Scope, ScopedJoinHandle, scope};
#[cfg(not(loom))]
pub use spawn::{Builder, spawn, yield_now};
#[cfg(not(loom))]
pub use task::join::{JoinError, JoinHandle};
