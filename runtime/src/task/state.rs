//! The states of a task, and every legal move between them.
//!
//! One word: a phase and some flags. Whoever makes a move does it by one atomic step on the word, so exactly one thread wins it,
//! and with it the duty that the last column names.
//!
//! ```text
//! phase     who moves it                          to        duty of who did
//! NEW,READY the cpu that picks it                 RUNNING   give it a stack, if it has none
//! NEW,READY the cpu that picked it, STOP set,     STOPPED   -
//!           after it left the queue
//! RUNNING   its cpu, after it left its stack      READY     queue it (yield; or park with TOKEN set, which is taken)
//! RUNNING   its cpu, after it left its stack      PARKED    forget it: from here on a waker may run it elsewhere
//! RUNNING   its kernel thread, as it is preempted READY     queue it, bound to the thread
//! RUNNING   who takes the cpu from its thread,    BLOCKED   -
//!           which is blocked in the kernel
//! BLOCKED   its kernel thread, back from there    READY     queue it, bound to the thread
//! RUNNING   the task itself, at its end           DEAD      wake the joiner, if JOINER; drop the result, if DETACHED
//! PARKED    any waker                             READY     queue it
//! STOPPED   whoever clears STOP                   READY     queue it
//! ```
//!
//! DEAD is for ever: a task that is preempted or blocked after that, still on its stack, stays DEAD.
//!
//! In all other phases a wake-up sets TOKEN, and the next park returns at once. PARKED and TOKEN exclude each other.
//!
//! | flag | meaning |
//! |---|---|
//! | TOKEN | a wake-up came while the task was not parked |
//! | STOP | the task shall not be run until somebody clears this (SIGSTOP of processes) |
//! | CANCEL | the task's next suspension point unwinds; never cleared |
//! | DETACHED | nobody will take the result; never cleared |
//! | JOINER | the joiner's cell is filled and belongs to the task's end; cleared by the joiner to have it back |
//!
//! Memory ordering: every move is AcqRel. What the waker did before is visible to the task after its park; what the task wrote
//! (its result, its saved context) is visible to whoever sees it PARKED, READY or DEAD.

use crate::atomic::{AtomicU32, Ordering};

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    New = 0,
    Ready = 1,
    Running = 2,
    Parked = 3,
    Stopped = 4,
    Dead = 5,
    Blocked = 6,
}

const PHASE: u32 = 7;
const TOKEN: u32 = 1 << 3;
const STOP: u32 = 1 << 4;
const CANCEL: u32 = 1 << 5;
const JOINER: u32 = 1 << 6;
const DETACHED: u32 = 1 << 7;

/// What a task has to do after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Died {
    /// Wake the joiner, whose cell is the task's now.
    pub(crate) joiner: bool,
    /// Drop the result.
    pub(crate) detached: bool,
}

/// The word. See the module's text.
#[derive(Debug)]
pub(crate) struct State(AtomicU32);

impl State {
    pub(crate) fn new() -> State {
        State(AtomicU32::new(Phase::New as u32))
    }

    pub(crate) fn phase(&self) -> Phase {
        phase_of(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.phase() == Phase::Dead
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CANCEL != 0
    }

    /// Whether the task shall be stopped, as a hint.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word & STOP != 0 && phase_of(word) != Phase::Dead
    }

    /// NEW or READY to RUNNING, by the cpu that picked the task.
    #[inline]
    pub(crate) fn pick(&self) {
        self.moves(&[Phase::New, Phase::Ready], Phase::Running);
    }

    /// RUNNING to READY, by the task's kernel thread as it is preempted.
    pub(crate) fn preempted(&self) {
        self.moves(&[Phase::Running], Phase::Ready);
    }

    /// RUNNING to BLOCKED, by who took the cpu.
    pub(crate) fn blocked(&self) {
        self.moves(&[Phase::Running], Phase::Blocked);
    }

    /// BLOCKED to READY, by the task's kernel thread.
    pub(crate) fn unblocked(&self) {
        self.moves(&[Phase::Blocked], Phase::Ready);
    }

    /// The phase is one of `from`, and becomes `to`; DEAD stays.
    #[inline]
    fn moves(&self, from: &[Phase], to: Phase) {
        self.update(|word| {
            let phase = phase_of(word);
            debug_assert!(phase == Phase::Dead || from.contains(&phase), "{phase:?} to {to:?}");
            (phase != Phase::Dead).then_some(with(word, to))
        });
    }

    /// NEW or READY to STOPPED, by the cpu that picked the task, after it left the queue and under the queue's lock: from here on whoever
    /// ends the stop queues it. False if nobody wants it stopped any more.
    pub(crate) fn stopped(&self) -> bool {
        self.update(|word| (word & STOP != 0).then_some(with(word, Phase::Stopped))).is_some()
    }

    /// RUNNING to READY, by its cpu.
    #[inline]
    pub(crate) fn yielded(&self) {
        let word = self.0.fetch_sub(Phase::Running as u32 - Phase::Ready as u32, Ordering::AcqRel);
        debug_assert_eq!(phase_of(word), Phase::Running);
    }

    /// RUNNING to PARKED, by its cpu; false if a token ended the wait first, and the task is READY.
    #[inline]
    pub(crate) fn parked(&self) -> bool {
        let running = |word| debug_assert_eq!(phase_of(word), Phase::Running);
        let word = self.update(|word| {
            running(word);
            Some(if word & TOKEN == 0 { with(word, Phase::Parked) } else { with(word, Phase::Ready) & !TOKEN })
        });
        word.is_some_and(|word| word & TOKEN == 0)
    }

    /// RUNNING to DEAD, by the task itself.
    pub(crate) fn died(&self) -> Died {
        let word = self.update(|word| {
            debug_assert_eq!(phase_of(word), Phase::Running);
            Some(with(word, Phase::Dead))
        });
        let word = word.unwrap_or(0);
        Died { joiner: word & JOINER != 0, detached: word & DETACHED != 0 }
    }

    /// By the only joiner, who goes: false if the task is DEAD, and the result is the joiner's to drop.
    pub(crate) fn detach(&self) -> bool {
        self.update(|word| (phase_of(word) != Phase::Dead).then_some(word | DETACHED)).is_some()
    }

    /// By the task itself: takes the token, if one is there.
    #[inline]
    pub(crate) fn take_token(&self) -> bool {
        self.0.load(Ordering::Relaxed) & TOKEN != 0 && self.0.fetch_and(!TOKEN, Ordering::AcqRel) & TOKEN != 0
    }

    /// By anybody: true if the task was PARKED and is READY, so that the caller must queue it.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        let word = self.update(|word| match phase_of(word) {
            Phase::Parked => Some(with(word, Phase::Ready)),
            Phase::Dead => None,
            _ => Some(word | TOKEN),
        });
        word.is_some_and(|word| phase_of(word) == Phase::Parked)
    }

    /// By anybody. The caller wakes the task then.
    pub(crate) fn cancel(&self) {
        self.0.fetch_or(CANCEL, Ordering::AcqRel);
    }

    /// By anybody: the task is not picked again before [`resume`](State::resume).
    pub(crate) fn stop(&self) {
        self.0.fetch_or(STOP, Ordering::AcqRel);
    }

    /// By anybody: true if the task was STOPPED and is READY, so that the caller must queue it.
    pub(crate) fn resume(&self) -> bool {
        let word = self.update(|word| {
            let ready = if phase_of(word) == Phase::Stopped { with(word, Phase::Ready) } else { word };
            Some(ready & !STOP)
        });
        word.is_some_and(|word| phase_of(word) == Phase::Stopped)
    }

    /// By the only joiner, who has filled its cell: false if the task is DEAD, and the cell is still the joiner's.
    pub(crate) fn set_joiner(&self) -> bool {
        self.update(|word| (phase_of(word) != Phase::Dead).then_some(word | JOINER)).is_some()
    }

    /// By the only joiner: true if the cell is the joiner's again, false if the task's end has it.
    pub(crate) fn take_joiner(&self) -> bool {
        let word = self.0.load(Ordering::Acquire);
        if word & JOINER == 0 {
            // Nobody but the joiner sets it.
            return phase_of(word) != Phase::Dead;
        }
        self.update(|word| (phase_of(word) != Phase::Dead).then_some(word & !JOINER)).is_some()
    }

    /// The word before the step; None if there was none to take.
    #[inline]
    fn update(&self, mut step: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let next = step(word)?;
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(word),
                Err(now) => word = now,
            }
        }
    }
}

#[inline]
fn with(word: u32, phase: Phase) -> u32 {
    word & !PHASE | phase as u32
}

#[inline]
fn phase_of(word: u32) -> Phase {
    match word & PHASE {
        0 => Phase::New,
        1 => Phase::Ready,
        2 => Phase::Running,
        3 => Phase::Parked,
        4 => Phase::Stopped,
        6 => Phase::Blocked,
        _ => Phase::Dead,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn running() -> State {
        let state = State::new();
        state.pick();
        state
    }

    #[test]
    fn a_wake_up_before_the_park_is_kept_once() {
        let state = running();
        assert!(!state.wake() && !state.wake(), "there is nobody to queue");
        assert!(!state.parked(), "the token ends the wait");
        assert_eq!(state.phase(), Phase::Ready);
        state.pick();
        assert!(state.parked(), "there was one token only");
    }

    #[test]
    fn one_of_several_wakers_queues_a_parked_task() {
        let state = running();
        assert!(state.parked());
        assert!(state.wake());
        assert!(!state.wake());
        state.pick();
        assert!(state.take_token(), "the second wake-up is a token");
        assert!(!state.take_token());
    }

    #[test]
    fn a_stopped_task_is_not_run_and_keeps_its_wake_ups() {
        let state = running();
        state.stop();
        assert!(state.parked(), "it parks as if nothing were");
        assert!(state.wake(), "and is queued");
        assert!(state.is_stopping() && state.stopped());
        assert!(!state.wake(), "nobody queues it now");
        assert!(state.resume(), "but who lets it go on");
        assert!(!state.resume());
        state.pick();
        assert!(state.take_token());
    }

    #[test]
    fn the_joiner_is_woken_by_the_end_or_knows_of_it() {
        let state = running();
        assert!(state.set_joiner());
        assert!(state.take_joiner());
        assert!(state.set_joiner());
        assert!(state.died().joiner);
        assert!(!state.take_joiner(), "the end has the cell");
        let state = running();
        assert!(!state.died().joiner);
        assert!(!state.set_joiner(), "too late: it is dead already");
        assert!(!state.wake() && state.is_dead());
    }

    #[test]
    fn cancelling_is_for_ever() {
        let state = running();
        state.cancel();
        assert!(!state.wake());
        assert!(!state.parked());
        state.pick();
        assert!(state.is_cancelled());
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// The task parks once; a waker sets its condition and wakes. Whoever wins, the task runs again exactly once, and sees it.
    #[test]
    fn no_wake_up_is_lost_and_none_queues_twice() {
        loom::model(|| {
            let state = Arc::new((State::new(), AtomicU32::new(0), AtomicU32::new(0)));
            state.0.pick();
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let state = Arc::clone(&state);
                    thread::spawn(move || {
                        state.1.fetch_add(1, Ordering::Relaxed);
                        if state.0.wake() {
                            state.2.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let waited = state.0.parked();
            for waker in wakers {
                waker.join().expect("no panic");
            }
            let queued = state.2.load(Ordering::Relaxed);
            assert_eq!(queued, u32::from(waited), "parked: one waker queues it; not parked: its cpu does");
            assert_eq!(state.0.phase(), Phase::Ready);
            state.0.pick();
            assert!(state.1.load(Ordering::Relaxed) >= 1);
        });
    }

    #[test]
    fn the_end_and_the_joiner_agree_on_the_cell() {
        loom::model(|| {
            let state = Arc::new((State::new(), crate::atomic::UnsafeCell::new(0)));
            state.0.pick();
            let joiner = {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    // SAFETY: the cell is the joiner's until `set_joiner` has succeeded.
                    state.1.with_mut(|cell| unsafe { *cell = 1 });
                    if state.0.set_joiner() && state.0.take_joiner() {
                        // SAFETY: it is the joiner's again.
                        state.1.with_mut(|cell| unsafe { *cell = 2 });
                    }
                })
            };
            if state.0.died().joiner {
                // SAFETY: it is the end's.
                state.1.with(|cell| assert_eq!(unsafe { *cell }, 1));
            }
            joiner.join().expect("no panic");
        });
    }
}
