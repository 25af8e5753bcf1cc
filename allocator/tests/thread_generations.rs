//! Generations of threads: ten come, allocate from every engine, and go; their blocks are freed by threads of the next
//! generation and by one that never allocates. A thousand threads later memory is where it was after a hundred.
//!
//! They take turns, so that every round is the same round: how much memory a peak takes depends on who meets whom, and what
//! piles up would hide behind it. (Threads that do meet: `threads`, `shadow_stress`.)
//!
//! What could pile up: heaps of threads that are gone, sheaves nobody empties, slabs and bins that no living thread owns.

#[path = "support/blocks.rs"]
mod blocks;
mod support;

use blocks::{Blocks, SIZES};
use fairground_allocator::malloc::{totals, trim};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use support::Case;

const ROUNDS: usize = 100;
const THREADS: usize = 10;
/// After so many rounds the allocator has what it needs.
const SETTLED: usize = 10;
/// Resident bytes that may be more at the end than then, for each 4 KiB of the system's pages.
const SLACK: usize = 1 << 20;
/// Mapped bytes that may be more: memory comes in pieces of this size, and one may be missing where blocks lie otherwise.
const PIECE: usize = 4 << 20;
/// Steps of a thread, and blocks it leaves to others.
const STEPS: usize = 60;
const LEFT: usize = 30;

/// Bytes of this process that occupy pages.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<usize>().ok()).expect("a number of pages");
    // SAFETY: asks the system for a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

/// Whose turn it is.
#[derive(Default)]
struct Turn(Mutex<usize>, Condvar);

impl Turn {
    fn wait_for(&self, turn: usize) {
        drop(self.1.wait_while(self.0.lock().expect("no thread fails"), |now| *now != turn).expect("no thread fails"));
    }

    fn next(&self) {
        *self.0.lock().expect("no thread fails") += 1;
        self.1.notify_all();
    }
}

/// Blocks for the thread that frees, and whom to tell.
type Parcel = (Blocks, Sender<()>);

/// A thread: frees what one of the last generation left, works, and leaves blocks of its own.
fn live(me: usize, inherited: Option<Blocks>, turn: &Turn, to: &Sender<Parcel>) -> Option<Blocks> {
    turn.wait_for(me);
    if let Some(mut inherited) = inherited {
        inherited.free_all();
    }
    // The same steps in every round: memory differs only by what the allocator does.
    let mut own = Blocks::new(100 + me as u64, LEFT, SIZES[SIZES.len() - 1]);
    (0..STEPS).for_each(|_| own.step());
    assert_eq!(own.refused, 0, "requests were refused");
    let mut left = None;
    if me.is_multiple_of(2) {
        let (freed, answer) = channel();
        to.send((own, freed)).expect("the thread that frees listens");
        answer.recv().expect("it frees them");
    } else {
        left = Some(own);
    }
    turn.next();
    // All ten are there at a time, and go one after the other.
    turn.wait_for(THREADS + me);
    left
}

fn generations() {
    let (to, from) = channel::<Parcel>();
    // Never allocates from Fairground: what it frees goes where blocks of other threads go.
    let only_frees = std::thread::spawn(move || {
        for (mut blocks, freed) in from {
            blocks.free_all();
            freed.send(()).expect("its owner waits");
        }
    });
    let mut left: Vec<Option<Blocks>> = (0..THREADS).map(|_| None).collect();
    // The memory of an emulator or of a sanitizer is not ours to judge, and both are slow.
    let watched = support::emulated() || support::sanitizer().is_some();
    let rounds = if watched { 2 * SETTLED } else { ROUNDS };
    let mut settled = (0, 0);
    for round in 1..=rounds {
        let turn = Arc::new(Turn::default());
        let threads: Vec<_> = (0..THREADS)
            .map(|me| {
                let (inherited, turn, to) = (left[(me + 1) % THREADS].take(), turn.clone(), to.clone());
                std::thread::spawn(move || live(me, inherited, &turn, &to))
            })
            .collect();
        left = threads
            .into_iter()
            .map(|thread| {
                let left = thread.join().expect("no thread fails");
                turn.next();
                left
            })
            .collect();
        if round.is_multiple_of(SETTLED) {
            // Without blocks: their pages may be resident or not, by what lay there before and touched them.
            left.iter_mut().flatten().for_each(Blocks::free_all);
            trim(0);
            let now = (resident(), totals().mapped);
            println!("round {round}: {} KiB resident, {} KiB mapped", now.0 >> 10, now.1 >> 10);
            if round == SETTLED {
                settled = now;
            }
            if round == rounds {
                let (resident, mapped) = settled;
                let slack = SLACK * (fairground_allocator::page_size() / 4096);
                assert!(
                    watched || now.0 <= resident + slack,
                    "{resident} bytes resident after {SETTLED} rounds: {now:?}"
                );
                // While pages are being given back they are away, and a chunk more may be taken: address space, not memory.
                assert!(now.1 <= mapped + PIECE + mapped / 16, "{mapped} bytes mapped after {SETTLED} rounds: {now:?}");
            }
        }
    }
    drop(to);
    only_frees.join().expect("it frees all");
    assert_eq!(totals().huge_count, 0, "large blocks are left though all is freed");
}

fn main() -> ExitCode {
    support::run(vec![Case::new("a thousand threads in generations", None, generations)])
}
