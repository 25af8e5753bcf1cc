//! System calls refused, for tests: filters of the kernel (`seccomp(2)`), which no program can take off again.
//!
//! Three kinds. [`refuse`] answers some calls with an error. [`allow_only`] kills the process at any call it does not name.
//! [`Faults`] counts calls, and lets those fail whose turn has been chosen beforehand: the filter sends a signal, whose handler
//! counts and makes the call itself from the one instruction the filter lets through. Counted are only calls made from this
//! program's own code, where the allocator under test is; the C library's are left alone. All that is needed lies in static
//! memory, so the handler may run in the middle of the allocator.

// Each test binary compiles this module and uses a part of it.
#![allow(dead_code)]

use std::arch::global_asm;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Goes on `yes` or `no` instructions further.
fn jump(how: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | how | libc::BPF_K) as u16, jt: yes, jf: no, k }
}

fn load(offset: usize) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32)
}

fn answer(what: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, what)
}

const NUMBER: usize = std::mem::offset_of!(libc::seccomp_data, nr);
const ADDRESS: usize = std::mem::offset_of!(libc::seccomp_data, instruction_pointer);

/// Puts a filter on this thread and those it starts.
fn install(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is read during the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0, "no new privileges");
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0, "the filter is taken");
    }
}

/// Answers these calls with an error from now on.
pub fn refuse(calls: &[i64], error: i32) {
    let mut filter = vec![load(NUMBER)];
    for &call in calls {
        filter.push(jump(libc::BPF_JEQ, call as u32, 0, 1));
        filter.push(answer(libc::SECCOMP_RET_ERRNO | error as u32));
    }
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    install(&mut filter);
}

/// Kills the process at any call but these from now on.
pub fn allow_only(calls: &[i64]) {
    let mut filter = vec![load(NUMBER)];
    for &call in calls {
        filter.push(jump(libc::BPF_JEQ, call as u32, 0, 1));
        filter.push(answer(libc::SECCOMP_RET_ALLOW));
    }
    filter.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    install(&mut filter);
}

// test_system_call(number, six arguments): the kernel's answer. The filter knows it by the address behind its `syscall`.
global_asm!(
    ".globl test_system_call",
    "test_system_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    ".globl test_system_call_behind",
    "test_system_call_behind:",
    "ret",
);

unsafe extern "C" {
    fn test_system_call(number: i64, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64;
    static test_system_call_behind: u8;
    /// The linker's: where this program's code begins and ends.
    static __executable_start: u8;
    static etext: u8;
}

/// Which calls fail: counted from 1, those from `FIRST` on and before `END`.
static FIRST: AtomicUsize = AtomicUsize::new(usize::MAX);
static END: AtomicUsize = AtomicUsize::new(usize::MAX);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static ERROR: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_call(_signal: i32, _info: *const libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes the registers of the call, and takes its result from them.
    unsafe {
        let registers = &mut (*context).uc_mcontext.gregs;
        let nth = COUNT.fetch_add(1, Relaxed) + 1;
        let result = if (FIRST.load(Relaxed)..END.load(Relaxed)).contains(&nth) {
            -i64::from(ERROR.load(Relaxed))
        } else {
            let argument = |register: i32| registers[register as usize];
            test_system_call(
                argument(libc::REG_RAX),
                argument(libc::REG_RDI),
                argument(libc::REG_RSI),
                argument(libc::REG_RDX),
                argument(libc::REG_R10),
                argument(libc::REG_R8),
                argument(libc::REG_R9),
            )
        };
        registers[libc::REG_RAX as usize] = result;
    }
}

/// Counts and fails calls of this process's allocator.
pub struct Faults;

impl Faults {
    /// Counts these calls from now on, and lets those from the `first` on, `calls_to_fail` of them, fail with `error`.
    pub fn install(calls: &[i64], first: usize, calls_to_fail: usize, error: i32) -> Faults {
        FIRST.store(first, Relaxed);
        END.store(first.saturating_add(calls_to_fail), Relaxed);
        ERROR.store(error, Relaxed);
        // SAFETY: the handler is for this signal and calls nothing; the addresses are the linker's.
        let (from, to, behind) = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_call as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()), 0);
            let address = |place: &u8| std::ptr::from_ref(place).addr();
            (address(&__executable_start), address(&etext), address(&test_system_call_behind))
        };
        // Code that lies across a multiple of 4 GiB is looked for below it alone: then later calls are not counted.
        let (high, low, end) =
            ((from >> 32) as u32, from as u32, if to >> 32 == from >> 32 { to as u32 } else { u32::MAX });
        let mut filter = vec![
            load(ADDRESS + 4),
            jump(libc::BPF_JEQ, high, 1, 0),
            answer(libc::SECCOMP_RET_ALLOW),
            load(ADDRESS),
            jump(libc::BPF_JGE, low, 1, 0),
            answer(libc::SECCOMP_RET_ALLOW),
            jump(libc::BPF_JGT, end, 0, 1),
            answer(libc::SECCOMP_RET_ALLOW),
            jump(libc::BPF_JEQ, behind as u32, 0, 1),
            answer(libc::SECCOMP_RET_ALLOW),
            load(NUMBER),
        ];
        for &call in calls {
            filter.push(jump(libc::BPF_JEQ, call as u32, 0, 1));
            filter.push(answer(libc::SECCOMP_RET_TRAP));
        }
        filter.push(answer(libc::SECCOMP_RET_ALLOW));
        install(&mut filter);
        Faults
    }

    /// Calls so far.
    pub fn count(&self) -> usize {
        COUNT.load(Relaxed)
    }

    /// From here on all calls succeed.
    pub fn end(&self) {
        FIRST.store(usize::MAX, Relaxed);
    }
}
