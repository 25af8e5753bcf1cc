//! Tells of tasks that hold their cpu for long while others wait: what they are, and where. In the default mode nothing can be done about them but that tasks which
//! have not started go to other cpus; in the migrating mode they are preempted, and this stays silent.
//!
//! It looks twice in the time that is allowed. The backtrace is taken by the stalled thread itself, in a signal handler, as addresses; names are found here.
//! A thread that is blocked in the kernel is not signalled.

use super::Kthread;
use super::word::Word;
use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::cpu::Cpu;
use crate::runtime::Shared;
use crate::task::Task;
use crate::task::state::Phase;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Frames of a backtrace.
const FRAMES: usize = 48;

/// Where a thread was when it was asked.
#[derive(Debug)]
pub(super) struct Trace {
    wanted: AtomicBool,
    len: AtomicUsize,
    frames: [AtomicUsize; FRAMES],
}

impl Trace {
    pub(super) fn new() -> Trace {
        Trace {
            wanted: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            frames: [const { AtomicUsize::new(0) }; FRAMES],
        }
    }

    /// In the signal handler: writes down where the thread is, if somebody wants to know.
    pub(super) fn take(&self) {
        if !self.wanted.load(Ordering::Acquire) {
            return;
        }
        let mut len = 0;
        // SAFETY: what this must not run beside is another of its kind in the same thread, and the handler is not interrupted by its own signal. It takes no
        // lock but the dynamic linker's, which a thread may take again.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                self.frames[len].store(frame.ip().addr(), Ordering::Relaxed);
                len += 1;
                len < FRAMES
            });
        }
        self.len.store(len, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Release);
    }

    /// Asks the thread, for some milliseconds.
    fn ask(&self, tid: libc::pid_t, signal: libc::c_int) -> Vec<usize> {
        self.len.store(0, Ordering::Relaxed);
        self.wanted.store(true, Ordering::Release);
        // SAFETY: a thread of this process, or none any more, which is an error without effect; the signal has a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
        for _ in 0..100 {
            if !self.wanted.load(Ordering::Acquire) {
                let len = self.len.load(Ordering::Relaxed);
                return self.frames[..len].iter().map(|frame| frame.load(Ordering::Relaxed)).collect();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.wanted.store(false, Ordering::Release);
        Vec::new()
    }
}

/// Ends the watchdog's sleep at the runtime's end.
#[derive(Debug)]
pub(crate) struct Watchdog {
    word: Word,
}

impl Watchdog {
    pub(crate) fn new() -> Watchdog {
        Watchdog { word: Word::new() }
    }

    pub(crate) fn ends(&self) {
        self.word.wake();
    }
}

/// What was seen of a cpu at the last look.
#[derive(Clone, Copy)]
struct Seen {
    switches: u64,
    since: Instant,
    cpu_time: Option<u64>,
    told: bool,
}

/// The watchdog's life. `signal`: the one to ask threads by, if it is the runtime's.
pub(crate) fn main(shared: &Shared, limit: Duration, signal: Option<libc::c_int>) {
    let nothing = Seen { switches: 0, since: Instant::now(), cpu_time: None, told: true };
    let mut seen = vec![nothing; shared.cpus.len()];
    while !shared.is_over() {
        shared.watchdog.word.sleep_for(limit / 2);
        for (cpu, seen) in shared.cpus.iter().zip(&mut seen) {
            look(shared, cpu, seen, limit, signal);
        }
    }
}

fn look(shared: &Shared, cpu: &Cpu, seen: &mut Seen, limit: Duration, signal: Option<libc::c_int>) {
    let switches = cpu.stats.switches.load(Ordering::Relaxed);
    // SAFETY: records live as long as the runtime.
    let owner = cpu.owner.get().map(|owner| unsafe { owner.as_ref() });
    let Some(owner) = owner.filter(|owner| owner.current().is_some() && cpu.queued.load(Ordering::Relaxed) != 0) else {
        seen.told = true;
        seen.switches = u64::MAX;
        return;
    };
    let cpu_time = owner.cpu_time();
    if switches != seen.switches {
        *seen = Seen { switches, since: Instant::now(), cpu_time, told: false };
    } else if !seen.told && seen.since.elapsed() >= limit {
        seen.told = true;
        // To nobody, if there is no stderr.
        let _ = std::io::stderr().write_all(report(shared, cpu, owner, seen, signal).as_bytes());
    } else {
        seen.cpu_time = cpu_time;
    }
}

fn report(shared: &Shared, cpu: &Cpu, owner: &Kthread, seen: &Seen, signal: Option<libc::c_int>) -> String {
    let holds = |task: &Task| {
        let task = task.task();
        task.cpu.load(Ordering::Relaxed) == cpu.index && task.state.phase() == Phase::Running
    };
    let task = shared.tasks().map(Task::new).find(holds);
    let name = task.as_ref().and_then(Task::name).unwrap_or("without a name");
    let id = task.as_ref().map_or_else(|| "?".into(), |task| task.id().to_string());
    let (held, waiting) = (seen.since.elapsed().as_secs_f64(), cpu.queued.load(Ordering::Relaxed));
    let mut text = format!(
        "fairground: task {id} '{name}' has held cpu {} for {held:.1} s, and {waiting} wait for it; see RuntimeBuilder::stall_warning\n",
        cpu.index
    );
    let tid = owner.tid.load(Ordering::Relaxed);
    if owner.cpu_time() == seen.cpu_time {
        let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().filter(|number| number.parse::<u32>().is_ok());
        let _ = writeln!(text, "  it is blocked in the kernel, in system call {}", number.unwrap_or("(unknown)"));
        return text;
    }
    let frames = signal.map_or_else(Vec::new, |signal| owner.trace.ask(tid, signal));
    // The handler's own frames, down to the one that the kernel made for the signal, are not the task's.
    let mut named = Vec::new();
    for frame in frames {
        backtrace::resolve(frame as *mut _, |symbol| {
            let name = symbol.name().map_or_else(|| "?".into(), |name| format!("{name:#}"));
            let file = symbol.filename();
            let place = file.map(|file| format!(" at {}:{}", file.display(), symbol.lineno().unwrap_or(0)));
            let is_the_body = file.is_some_and(|file| file.ends_with("runtime/src/task/task.rs"));
            named.push((format!("{name}{}", place.unwrap_or_default()), is_the_body));
        });
    }
    let first = named.iter().position(|(name, _)| name.contains("on_signal")).map_or(0, |handler| handler + 1);
    // Nor are those of the scheduler below it.
    let its_own = named[first..].iter().take_while(|(_, is_the_body)| !is_the_body);
    for (index, (name, _)) in its_own.filter(|(name, _)| !name.contains("__restore_rt")).enumerate() {
        let _ = writeln!(text, "  {index:>2}: {name}");
    }
    text
}
