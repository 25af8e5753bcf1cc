//! A task that overflows its stack is named, and the process aborted.
//!
//! The guard below a stack turns an overflow into SIGSEGV. The handler runs on the kernel thread's alternate stack ([`AltStack`]), for
//! there is no room on the task's. It looks the address up in the registry of stacks; if it lies in a task's guard, and the task was running
//! on that very stack (a wild pointer into another's guard is no overflow), it writes one line to stderr and aborts. Everything else is
//! the business of the handler that was there before, be it std's, which names overflowing threads, or the program's.
//!
//! In the handler: raw system calls, loads of atomics that are never changed again, formatting into an array; no lock, no
//! allocation. The same is asked of the namer.

use super::stack::{StackExtent, find};
use crate::arch;
use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, transmute};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of a message; with a name of 300 bytes it still fits. What is longer is cut.
const MESSAGE: usize = 512;

/// Text in an array, cut where it ends.
pub(crate) struct Message {
    bytes: [u8; MESSAGE],
    len: usize,
}

impl Message {
    const fn new() -> Message {
        Message { bytes: [0; MESSAGE], len: 0 }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

/// Writes name and id of the task that runs on a stack: `'parser' (17)`. Called in a signal handler: reads memory, writes into the
/// message, and does nothing else.
pub(crate) type Namer = fn(StackExtent, &mut Message);

static NAMER: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Who is asked for a task's name.
pub(crate) fn set_namer(namer: Namer) {
    NAMER.store(namer as *mut (), Ordering::Release);
}

/// A signal, and who handled it before.
struct Fault {
    signal: c_int,
    previous: AtomicPtr<libc::sigaction>,
}

static FAULTS: [Fault; 2] = [
    Fault { signal: libc::SIGSEGV, previous: AtomicPtr::new(null_mut()) },
    Fault { signal: libc::SIGBUS, previous: AtomicPtr::new(null_mut()) },
];

/// Installs the handler, once in the process's life; later calls do nothing.
///
/// # Errors
/// The system refuses a handler.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    for fault in &FAULTS {
        let previous = Box::leak(Box::new(sigaction(fault.signal, None)?));
        fault.previous.store(previous, Ordering::Release);
        // SAFETY: zeroes are a valid sigaction, with an empty mask.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        sigaction(fault.signal, Some(&action))?;
    }
    *installed = true;
    Ok(())
}

/// Sets an action, or only asks; returns the one before.
fn sigaction(signal: c_int, action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut before = MaybeUninit::zeroed();
    let action = action.map_or(std::ptr::null(), |action| action as *const libc::sigaction);
    // SAFETY: null, or an action whose handler keeps to what signal handlers may do.
    if unsafe { libc::sigaction(signal, action, before.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by the call.
    Ok(unsafe { before.assume_init() })
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives both; the address is there for these signals when it sent them itself (a positive code).
    let (address, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
    if code > 0
        && let Some(stack) = find(address).filter(|stack| stack.guards(address))
        // SAFETY: the kernel's.
        && unsafe { arch::stack_pointer(context) }.is_none_or(|pointer| find(pointer) == Some(stack))
    {
        die(stack);
    }
    let Some(fault) = FAULTS.iter().find(|fault| fault.signal == signal) else { return };
    // SAFETY: set before the handler was installed, and stays.
    let previous = unsafe { &*fault.previous.load(Ordering::Acquire) };
    match previous.sa_sigaction {
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // What faulted faults again when we return, and then ends the process as it would have without us.
            // SAFETY: zeroes are the default action.
            let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            let _ = sigaction(signal, Some(&default));
            if code <= 0 {
                // SAFETY: arrives when we return.
                unsafe { libc::raise(signal) };
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: so the flag says.
            let handler: Handler = unsafe { transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: neither of the constants and without the flag.
            let handler: extern "C" fn(c_int) = unsafe { transmute(handler) };
            handler(signal);
        }
    }
}

/// Says who overflowed, and aborts.
fn die(stack: StackExtent) -> ! {
    let mut who = Message::new();
    let namer = NAMER.load(Ordering::Acquire);
    if !namer.is_null() {
        // SAFETY: only `set_namer` stores there.
        let namer: Namer = unsafe { transmute(namer) };
        namer(stack, &mut who);
    }
    let mut message = Message::new();
    // Writing into a message cannot fail.
    let _ = match &who.bytes[..who.len] {
        [] => message.write_str("fairground: a task"),
        who => write!(message, "fairground: task {}", std::str::from_utf8(who).unwrap_or("(name is not UTF-8)")),
    };
    let _ = writeln!(message, " overflowed its stack of {} KiB; see Builder::stack_size", stack.size() >> 10);
    // SAFETY: an array's bytes.
    unsafe { libc::write(libc::STDERR_FILENO, message.bytes.as_ptr().cast(), message.len) };
    std::process::abort()
}

/// What handlers need besides the kernel's frame: the one here two messages and the formatting, in a debug build about 4 KiB; that of the tick, which looks at
/// sockets and queues and takes backtraces, some more, beside another signal's; and the program's own. What is not used is not resident.
const HANDLER: usize = 48 << 10;

/// Bytes that an alternate stack must have here: the frame of this machine's registers (12 KiB with AMX) and the handler's.
fn alternate_size() -> usize {
    /// Not in libc for Linux (include/uapi/linux/auxvec.h).
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: reads the auxiliary vector.
    let frame = unsafe { libc::getauxval(AT_MINSIGSTKSZ) } as usize;
    let page = fairground_allocator::page_size();
    (frame.max(libc::MINSIGSTKSZ) + HANDLER).next_multiple_of(page)
}

/// The calling thread has an alternate stack of sufficient size as long as this lives: its own if that is large enough, else a new
/// one with a guard. Dropped, the former one is back.
#[derive(Debug)]
pub(crate) struct AltStack {
    /// Null: the thread's own is kept.
    mapping: *mut c_void,
    mapped: usize,
    former: libc::stack_t,
    /// Of this thread.
    not_send: PhantomData<*mut ()>,
}

impl AltStack {
    /// For the calling thread, which must not be in a signal handler on an alternate stack.
    ///
    /// # Errors
    /// There is no memory, or the thread is on its alternate stack.
    pub(crate) fn install() -> io::Result<AltStack> {
        let former = sigaltstack(None)?;
        let size = alternate_size();
        let kept = former.ss_flags & libc::SS_DISABLE == 0 && former.ss_size >= size;
        let mut this = AltStack { mapping: null_mut(), mapped: 0, former, not_send: PhantomData };
        if kept {
            return Ok(this);
        }
        let guard = fairground_allocator::page_size();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping disturbs nothing.
        let mapping = unsafe { libc::mmap(null_mut(), guard + size, libc::PROT_NONE, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        (this.mapping, this.mapped) = (mapping, guard + size);
        let start = mapping.wrapping_byte_add(guard);
        // SAFETY: the upper part of the mapping just made.
        if unsafe { libc::mprotect(start, size, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        sigaltstack(Some(&libc::stack_t { ss_sp: start, ss_flags: 0, ss_size: size }))?;
        Ok(this)
    }

    /// Whether the thread's own was not large enough.
    #[cfg(test)]
    fn is_new(&self) -> bool {
        !self.mapping.is_null()
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        if self.mapping.is_null() {
            return;
        }
        // Somebody may have put another one in its place.
        let inside = self.mapping.addr()..self.mapping.addr() + self.mapped;
        let is_current = sigaltstack(None).is_ok_and(|current| inside.contains(&current.ss_sp.addr()));
        if is_current && sigaltstack(Some(&self.former)).is_err() {
            return; // In use: it stays.
        }
        // SAFETY: ours, and no thread's alternate stack any more.
        unsafe { libc::munmap(self.mapping, self.mapped) };
    }
}

/// Sets the thread's alternate stack, or only asks; returns the one before.
fn sigaltstack(new: Option<&libc::stack_t>) -> io::Result<libc::stack_t> {
    let mut before = libc::stack_t { ss_sp: null_mut(), ss_flags: 0, ss_size: 0 };
    let new = new.map_or(std::ptr::null(), |new| new as *const libc::stack_t);
    // SAFETY: null, or memory that stays the thread's own until it is replaced.
    if unsafe { libc::sigaltstack(new, &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::child::in_child;
    use crate::task::stack::{Stack, StackCache, StackSize};
    use corosensei::Coroutine;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Output;

    fn stack(kib: usize) -> Stack {
        let size = StackSize::new(kib << 10).expect("allowed");
        StackCache::new(size).and_then(|mut cache| cache.take(size)).expect("a stack")
    }

    #[expect(unconditional_recursion, reason = "an overflow is wanted")]
    fn overflow(depth: usize) -> usize {
        let frame = std::hint::black_box([depth; 64]);
        frame[depth % 64] + overflow(depth + 1)
    }

    fn overflow_in_a_task(kib: usize) {
        install().expect("a handler");
        let _alternate = AltStack::install().expect("memory");
        let mut task = Coroutine::<(), (), usize, _>::with_stack(stack(kib), |_, ()| overflow(0));
        task.resume(());
    }

    fn stderr(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn an_overflow_names_the_task_and_aborts() {
        let name = "task::overflow::tests::an_overflow_names_the_task_and_aborts";
        let output = in_child(name, || {
            set_namer(|stack, who| {
                assert_eq!(stack.size(), 128 << 10);
                let _ = write!(who, "'parser' (17)");
            });
            overflow_in_a_task(128);
        });
        if let Some(output) = output {
            let text = "fairground: task 'parser' (17) overflowed its stack of 128 KiB; see Builder::stack_size\n";
            assert!(stderr(&output).ends_with(text), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        }
    }

    #[test]
    fn without_a_namer_it_says_how_large_the_stack_was() {
        let name = "task::overflow::tests::without_a_namer_it_says_how_large_the_stack_was";
        if let Some(output) = in_child(name, || overflow_in_a_task(1024)) {
            let text = "fairground: a task overflowed its stack of 1024 KiB; see Builder::stack_size\n";
            assert!(stderr(&output).ends_with(text), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        }
    }

    #[test]
    fn a_name_too_long_is_cut() {
        let name = "task::overflow::tests::a_name_too_long_is_cut";
        let output = in_child(name, || {
            set_namer(|_, who| (0..100).for_each(|_| _ = who.write_str("0123456789")));
            overflow_in_a_task(64);
        });
        if let Some(output) = output {
            assert!(stderr(&output).contains("fairground: task 0123456789"), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        }
    }

    #[test]
    fn an_overflow_of_a_thread_is_stds_to_report() {
        let name = "task::overflow::tests::an_overflow_of_a_thread_is_stds_to_report";
        let output = in_child(name, || {
            install().expect("a handler");
            let _alternate = AltStack::install().expect("memory");
            overflow(0);
        });
        if let Some(output) = output {
            assert!(stderr(&output).contains("has overflowed its stack"), "{}", stderr(&output));
            assert!(!stderr(&output).contains("fairground: "), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        }
    }

    /// Where nobody knows the stack pointer every fault in a guard counts as an overflow.
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(fairground_portable)))]
    #[test]
    fn a_wild_pointer_dies_as_ever() {
        let name = "task::overflow::tests::a_wild_pointer_dies_as_ever";
        let output = in_child(name, || {
            install().expect("a handler");
            // Even into a guard: another task's.
            let guard = stack(64).extent().low() - 8;
            let mut task = Coroutine::<(), (), (), _>::with_stack(stack(16), move |_, ()| {
                // SAFETY: none; it faults.
                unsafe { std::ptr::with_exposed_provenance_mut::<u64>(guard).write_volatile(1) };
            });
            task.resume(());
        });
        if let Some(output) = output {
            assert!(!stderr(&output).contains("overflowed"), "{}", stderr(&output));
            assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
        }
    }

    #[test]
    fn a_handler_of_the_program_is_asked_next() {
        extern "C" fn leave(_: c_int) {
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(42) };
        }
        let name = "task::overflow::tests::a_handler_of_the_program_is_asked_next";
        let output = in_child(name, || {
            // SAFETY: zeroes are a valid action.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            action.sa_sigaction = leave as *const () as usize;
            sigaction(libc::SIGSEGV, Some(&action)).expect("a handler");
            install().expect("a handler");
            // SAFETY: none; it faults.
            unsafe { std::ptr::with_exposed_provenance_mut::<u64>(8).write_volatile(1) };
        });
        if let Some(output) = output {
            assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
        }
    }

    #[test]
    fn a_signal_that_was_sent_ends_the_process_too() {
        let name = "task::overflow::tests::a_signal_that_was_sent_ends_the_process_too";
        let output = in_child(name, || {
            // SAFETY: the default action.
            let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            sigaction(libc::SIGBUS, Some(&default)).expect("the default");
            install().expect("a handler");
            // SAFETY: to ourselves.
            unsafe { libc::raise(libc::SIGBUS) };
        });
        if let Some(output) = output {
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{}", stderr(&output));
        }
    }

    #[test]
    fn an_alternate_stack_that_is_large_enough_is_kept_and_a_former_one_comes_back() {
        std::thread::spawn(|| {
            let stds = sigaltstack(None).expect("std's");
            let first = AltStack::install().expect("memory");
            let ours = sigaltstack(None).expect("ours");
            assert!(ours.ss_size >= alternate_size());
            let second = AltStack::install().expect("memory");
            assert!(!second.is_new(), "the first is large enough");
            assert_eq!(sigaltstack(None).expect("the same").ss_sp, ours.ss_sp);
            drop(second);
            assert_eq!(sigaltstack(None).expect("the same").ss_sp, ours.ss_sp);
            let new = first.is_new();
            drop(first);
            assert_eq!(new, stds.ss_size < alternate_size() || stds.ss_flags & libc::SS_DISABLE != 0);
            let after = sigaltstack(None).expect("std's");
            assert_eq!((after.ss_sp, after.ss_flags), (stds.ss_sp, stds.ss_flags));
        })
        .join()
        .expect("no panic");
    }
}
