//! Ctrl-C in the middle of the demo.
//!
//! The programs run in process groups of their own, so that a stuck one can be killed with its children; the price is
//! that the terminal's Ctrl-C does not reach them. A thread waits for the signals that end the demo, kills the groups
//! that run at that moment, removes the temporary directory and ends with the status a shell expects (128 + signal).
//!
//! The lock is held over the spawn of a group and over its end, so no group can start unseen while the thread cleans
//! up: it takes the lock and never gives it back.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// The leaders of the groups that run now.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans up and ends the process when it is asked to end.
pub fn clean_up_on_signal(dir: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let groups = groups();
            groups.iter().for_each(|leader| kill_group(*leader));
            let _ = std::fs::remove_dir_all(&dir);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Starts a command as the leader of a group of its own.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut groups = groups();
    let child = command.process_group(0).spawn()?;
    groups.push(child.id());
    Ok(child)
}

/// The leader has ended and is about to be reaped: its id must not be used again.
pub fn forget(leader: u32) {
    groups().retain(|group| *group != leader);
}

/// Kills a whole group whose leader is not reaped yet.
pub fn kill_group(leader: u32) {
    // SAFETY: a system call without pointers; while the leader is not reaped the id cannot belong to another group.
    unsafe { libc::killpg(leader as libc::pid_t, libc::SIGKILL) };
}
