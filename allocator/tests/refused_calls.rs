//! System calls that are refused: forbidden by a sandbox, not known to the kernel, or failing at any moment.
//!
//! What a refusal may do: a request is answered with null, a feature is off. What it may not: lose or damage memory, end the
//! process, or leave anything unusable once calls succeed again. A sandbox in which the calls of the list in
//! `docs/architecture.md` succeed and any other kills notices nothing at all.

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
#[path = "support/blocks.rs"]
mod blocks;
#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
#[path = "support/seccomp.rs"]
mod seccomp;
mod support;

use std::process::ExitCode;

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
mod cases {
    use super::blocks::Blocks;
    use super::seccomp::{Faults, allow_only, refuse};
    use super::support::Case;
    use fairground_allocator::malloc::{free, malloc, totals, trim};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Calls of a child that fail, one child for each: the first this many.
    const TURNS: usize = 200;

    /// Those that the allocator needs, and those it can do without.
    const MEMORY_CALLS: [i64; 5] =
        [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise];

    /// Runs `body` in a child; panics unless it ends well.
    fn in_a_child(what: &str, body: impl FnOnce()) {
        // SAFETY: this process has one thread, so the child may do anything.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork");
        if child == 0 {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without what belongs to the parent.
            unsafe { libc::_exit(i32::from(ended.is_err())) };
        }
        let mut status = 0;
        // SAFETY: our child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "{what}");
    }

    /// What every turn does: steps over all engines, extents enough for their table to grow, trimming, a thread.
    fn work(blocks: &mut Blocks) {
        for _ in 0..250 {
            blocks.step();
        }
        let mut others = Blocks::new(77, 30, 5 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..150).for_each(|_| others.step()));
        });
        // More than the smallest reservation holds, in blocks that are not extents.
        let runs: Vec<_> = (0..90).map(|_| malloc(3 << 20)).filter(|run| !run.is_null()).collect();
        let extents: Vec<_> = (0..140).map(|_| malloc(33 << 20)).filter(|extent| !extent.is_null()).collect();
        // SAFETY: each freed once.
        extents.into_iter().chain(runs).for_each(|extent| unsafe { free(extent) });
        // By another thread than the one that allocated them.
        others.free_all();
        trim(0);
        for _ in 0..100 {
            blocks.step();
        }
    }

    /// One turn: the calls from `first` on, `count` of them, fail; the program goes on, and afterwards all is as it should be.
    fn turn(seed: u64, first: usize, count: usize, largest: usize) -> usize {
        let faults = Faults::install(&MEMORY_CALLS, first, count, libc::ENOMEM);
        let mut blocks = Blocks::new(seed, 40, largest);
        work(&mut blocks);
        faults.end();
        blocks.one_of_each();
        (0..200).for_each(|_| blocks.step());
        blocks.free_all();
        trim(0);
        let left = totals();
        assert!(left.in_use < 4 << 20, "in use though all is freed: {left:?}");
        faults.count()
    }

    /// Under which circumstances the turns are taken.
    #[derive(Clone, Copy)]
    struct Surroundings {
        name: &'static str,
        /// The least that can be asked for, so that chunks outside it are used too.
        small_reservation: bool,
        /// Of address space, in MiB; under this one there is no reservation.
        limit: Option<usize>,
        largest: usize,
    }

    const SURROUNDINGS: [Surroundings; 3] = [
        Surroundings { name: "", small_reservation: false, limit: None, largest: usize::MAX },
        Surroundings { name: ", small reservation", small_reservation: true, limit: None, largest: 10 << 20 },
        Surroundings { name: ", no reservation", small_reservation: false, limit: Some(240), largest: 1 << 20 },
    ];

    impl Surroundings {
        fn prepare(&self) {
            // SAFETY: this process has one thread. The system's allocator would take 64 MiB for every other.
            unsafe {
                libc::mallopt(libc::M_ARENA_MAX, 1);
                if self.small_reservation {
                    std::env::set_var("FAIRGROUND_CONF", "reserve:256M");
                }
            }
        }
    }

    fn each_call_fails_once(surroundings: Surroundings) {
        surroundings.prepare();
        let largest = surroundings.largest;
        in_a_child("without a failure", || {
            let calls = turn(1, usize::MAX, 0, largest);
            assert!(calls > TURNS, "{calls} calls: not enough for all turns");
        });
        for nth in 1..=TURNS {
            in_a_child(&format!("call {nth} fails"), || _ = turn(1, nth, 1, largest));
        }
    }

    fn calls_fail_for_a_while(surroundings: Surroundings) {
        surroundings.prepare();
        let largest = surroundings.largest;
        for nth in (1..=TURNS).step_by(20) {
            for count in [7, 60, usize::MAX] {
                in_a_child(&format!("{count} calls from {nth} on fail"), || _ = turn(nth as u64, nth, count, largest));
            }
        }
    }

    /// Threads that wait for each other at the allocator's locks.
    fn threads() {
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for me in 0..4 {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut blocks = Blocks::new(me, 60, 5 << 20);
                    barrier.wait();
                    (0..3_000).for_each(|_| blocks.step());
                    blocks.free_all();
                });
            }
        });
    }

    fn call_refused(call: i64, error: i32) {
        // Its own threads and lists come from the system's allocator, which would not get on without some of these calls.
        let mut blocks = Blocks::new(5, 60, usize::MAX);
        blocks.one_of_each();
        refuse(&[call], error);
        for _ in 0..2_000 {
            blocks.step();
        }
        assert_eq!(blocks.refused, 0, "refusing a call that is not needed fails no request");
        blocks.free_all();
        trim(0);
        threads();
    }

    /// From before the first allocation on.
    fn call_never_known(call: i64, error: i32) {
        refuse(&[call], error);
        let mut blocks = Blocks::new(5, 60, usize::MAX);
        for _ in 0..2_000 {
            blocks.step();
        }
        assert_eq!(blocks.refused, 0, "refusing a call that is not needed fails no request");
        blocks.free_all();
        trim(0);
        threads();
    }

    /// Calls that memory is made of: without them there may be none, but what is there stays as it is.
    fn needed_call_refused(call: i64, error: i32) {
        let mut blocks = Blocks::new(5, 60, usize::MAX);
        (0..300).for_each(|_| blocks.step());
        blocks.free_all();
        blocks.one_of_each();
        refuse(&[call], error);
        for _ in 0..2_000 {
            blocks.step();
        }
        blocks.free_all();
        let small = malloc(100);
        assert!(!small.is_null(), "what is there already can be had");
        // SAFETY: freed once.
        unsafe { free(small) };
    }

    /// Only the calls of the list, after the first allocation; any other kills.
    fn others_kill() {
        // SAFETY: freed once.
        unsafe { free(malloc(1)) };
        let mut blocks = Blocks::new(9, 60, usize::MAX);
        let mut listed = MEMORY_CALLS.to_vec();
        listed.extend([libc::SYS_futex, libc::SYS_write]);
        // What the test itself needs: an end.
        listed.push(libc::SYS_exit_group);
        allow_only(&listed);
        for _ in 0..5_000 {
            blocks.step();
        }
        blocks.free_all();
        trim(0);
        totals();
        fairground_allocator::malloc::check_at_exit();
        // SAFETY: ends the process at once: what std does at the end is not the allocator's.
        unsafe { libc::_exit(0) };
    }

    /// The same for threads that exist before the filter, and wait for each other's locks under it.
    fn others_kill_threads() {
        // SAFETY: freed once.
        unsafe { free(malloc(1)) };
        let mut listed = MEMORY_CALLS.to_vec();
        listed.extend([libc::SYS_futex, libc::SYS_write]);
        // A thread's end, by the C library.
        listed.extend([
            libc::SYS_exit,
            libc::SYS_exit_group,
            libc::SYS_rt_sigprocmask,
            libc::SYS_sigaltstack,
            libc::SYS_sched_getaffinity,
        ]);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for me in 0..4 {
                let (barrier, listed) = (&barrier, &listed);
                scope.spawn(move || {
                    let mut blocks = Blocks::new(me, 60, 5 << 20);
                    barrier.wait();
                    allow_only(listed);
                    (0..3_000).for_each(|_| blocks.step());
                    blocks.free_all();
                });
            }
        });
    }

    /// A thread under such a filter cannot wake those that sleep without one.
    fn futex_refused_in_one_thread(error: i32) {
        // Not with std's barriers and scopes, whose own wake-ups would be refused; the kernel itself wakes who joins.
        static READY: AtomicUsize = AtomicUsize::new(0);
        let threads: Vec<_> = (0..4)
            .map(|me| {
                std::thread::spawn(move || {
                    let mut blocks = Blocks::new(me, 60, 5 << 20);
                    if me == 0 {
                        refuse(&[libc::SYS_futex], error);
                    }
                    READY.fetch_add(1, Relaxed);
                    while READY.load(Relaxed) != 4 {
                        std::thread::yield_now();
                    }
                    (0..3_000).for_each(|_| blocks.step());
                    blocks.free_all();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
    }

    pub fn all() -> Vec<Case> {
        let mut cases = vec![
            Case::new("only the listed calls, others kill", None, others_kill).plain(),
            Case::new("only the listed calls, threads", None, others_kill_threads).plain(),
        ];
        for (error_name, error) in [("ENOSYS", libc::ENOSYS), ("EPERM", libc::EPERM)] {
            for (name, call) in [("madvise", libc::SYS_madvise), ("mremap", libc::SYS_mremap)] {
                cases.push(Case::new(&format!("{name} answered with {error_name}"), None, move || {
                    call_refused(call, error)
                }));
                cases.push(Case::new(&format!("{name} answered with {error_name} from the start"), None, move || {
                    call_never_known(call, error)
                }));
            }
            for (name, call) in
                [("mmap", libc::SYS_mmap), ("mprotect", libc::SYS_mprotect), ("munmap", libc::SYS_munmap)]
            {
                cases.push(Case::new(&format!("{name} answered with {error_name}"), None, move || {
                    needed_call_refused(call, error)
                }));
            }
            cases.push(
                Case::new(&format!("futex answered with {error_name} in one thread"), None, move || {
                    futex_refused_in_one_thread(error)
                })
                .plain(),
            );
        }
        for surroundings in SURROUNDINGS {
            let (name, limit) = (surroundings.name, surroundings.limit.map(|mib| (libc::RLIMIT_AS, mib << 20)));
            cases.push(
                Case::new(&format!("each call fails once{name}"), limit, move || each_call_fails_once(surroundings))
                    .plain(),
            );
            cases.push(
                Case::new(&format!("calls fail for a while{name}"), limit, move || {
                    calls_fail_for_a_while(surroundings)
                })
                .plain(),
            );
        }
        cases
    }
}

#[cfg(all(target_arch = "x86_64", not(fairground_portable)))]
fn main() -> ExitCode {
    support::run(cases::all())
}

/// The handler knows the registers of one processor.
#[cfg(not(all(target_arch = "x86_64", not(fairground_portable))))]
fn main() -> ExitCode {
    eprintln!("SKIPPED refused_calls: written for x86-64");
    support::run(vec![support::Case::new(
        "skipped: written for x86-64 and its system calls by our own assembly",
        None,
        || {},
    )])
}
