//! Makes kernel threads ahead of need, and ends those that nobody needed for long: what a signal handler cannot do. Named after the kernel's thread
//! that makes its threads.

use super::word::Word;
use super::{Kthread, interrupt};
use crate::atomic::{Arc, AtomicBool, AtomicUsize, Ordering};
use crate::cpu::{Cpu, worker};
use crate::runtime::Shared;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Spare threads that each cpu shall have. Preempting takes one where the next task has no thread of its own; making one takes some 50 us.
const SPARES: usize = 4;

/// The kernel threads of a runtime.
pub(crate) struct Kthreads {
    /// All that may be; those in use come first.
    pub(crate) all: Box<[Kthread]>,
    /// The signal of ticks.
    signal: libc::c_int,
    in_use: AtomicUsize,
    word: Word,
    said: AtomicBool,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Kthreads {
    pub(crate) fn new(most: usize, signal: libc::c_int) -> Kthreads {
        Kthreads {
            all: (0..most).map(|_| Kthread::new()).collect(),
            signal,
            in_use: AtomicUsize::new(0),
            word: Word::new(),
            said: AtomicBool::new(false),
            handles: Mutex::new(Vec::new()),
        }
    }

    /// Threads there are.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// After a spare thread of the cpu was used.
    pub(crate) fn spare_used(&self, cpu: &Cpu) {
        if cpu.spares.len() <= SPARES / 2 {
            self.word.wake();
        }
    }

    /// Starts a thread: with a cpu, or as a spare of one.
    ///
    /// # Errors
    /// There are as many as may be, or the system has no more.
    pub(crate) fn start(&self, shared: &Arc<Shared>, cpu: usize, drives: bool) -> io::Result<()> {
        let Some(index) = self.all.iter().position(Kthread::reserve) else {
            return Err(io::Error::other("there are as many kernel threads as may be"));
        };
        let kthread = &self.all[index];
        if drives {
            kthread.is_given(&shared.cpus[cpu]);
        }
        let theirs = Arc::clone(shared);
        let name = if drives { format!("fairground-{cpu}") } else { format!("fairground-{cpu}/{index}") };
        let started = std::thread::Builder::new().name(name).spawn(move || {
            let kthread = &theirs.kthreads.all[index];
            worker::main(kthread, &theirs, (!drives).then(|| &theirs.cpus[cpu]));
            theirs.kthreads.in_use.fetch_sub(1, Ordering::Relaxed);
        });
        match started {
            Ok(handle) => {
                self.in_use.fetch_add(1, Ordering::Relaxed);
                let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                handles.retain(|handle| !handle.is_finished());
                handles.push(handle);
                Ok(())
            }
            Err(error) => {
                kthread.unreserve();
                Err(error)
            }
        }
    }

    /// Starts a thread that drives no cpu: a watcher, or kthreadd.
    pub(crate) fn start_other(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let handle = std::thread::Builder::new().name(name).spawn(body)?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// At the end: no task is left. Waits for all threads.
    pub(crate) fn stop(&self) {
        while self.all.iter().any(Kthread::is_busy) {
            // Its task has ended, and is about to leave its stack.
            std::thread::yield_now();
        }
        loop {
            self.word.wake();
            self.all.iter().for_each(Kthread::poke);
            let handle = self.handles.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(handle) = handle else { return };
            // One that panicked has said so itself.
            let _ = handle.join();
        }
    }

    pub(crate) fn signal(&self) -> libc::c_int {
        self.signal
    }
}

/// How long spare threads are kept that nobody needs.
const KEEP: Duration = Duration::from_secs(10);

/// kthreadd's life.
pub(crate) fn main(shared: &Arc<Shared>) {
    let kthreads = &shared.kthreads;
    while !shared.is_over() {
        for cpu in shared.cpus.iter() {
            while !shared.is_over() && cpu.spares.len_soon() < SPARES {
                cpu.spares.comes();
                if let Err(error) = kthreads.start(shared, cpu.index as usize, false) {
                    cpu.spares.came();
                    kthreads.say(&error);
                    break;
                }
            }
        }
        if !kthreads.word.sleep_for(KEEP) {
            shared.cpus.iter().for_each(end_not_needed);
        }
    }
}

/// What a cpu did not need for a while goes, down to what it shall have.
fn end_not_needed(cpu: &Cpu) {
    for _ in SPARES..cpu.spares.not_needed() {
        let queue = cpu.queue.lock();
        if cpu.spares.len() > SPARES
            && let Some(kthread) = cpu.spares.pop(&queue)
        {
            kthread.end();
        }
    }
}

impl Kthreads {
    fn say(&self, error: &io::Error) {
        if !self.said.swap(true, Ordering::Relaxed) {
            // To nobody, if there is no stderr.
            let _ = writeln!(
                io::stderr(),
                "fairground: no further kernel thread beside {} ({error}); tasks that have not started wait until one is free, see \
                 RuntimeBuilder::kernel_threads",
                self.in_use()
            );
        }
    }
}

/// What a new thread does before it works: signals, timers. Preemption is off already.
pub(crate) fn prepare(kthread: &Kthread, shared: &Shared) {
    if !shared.preempts {
        return;
    }
    interrupt::unblock(shared.kthreads.signal());
    // Without timers tasks are not preempted while this thread drives a cpu; it is said.
    if let Err(error) = kthread.tick.create(shared.kthreads.signal()) {
        shared.kthreads.say(&error);
    }
}

/// A thread that goes: its timers go before it.
pub(crate) fn finish(kthread: &Kthread) {
    kthread.tick.delete();
}
