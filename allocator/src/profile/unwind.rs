//! Backtraces: the return addresses on this thread's stack, by the images' call frame information.
//!
//! Nothing is locked (but the loader's lock, see `image.rs`), nothing allocated, and no system call made, so that a backtrace
//! can be taken wherever `malloc` is called: in the loader, before constructors, in a handler of a signal. Where the
//! information ends (code made at run time, assembly without it), the backtrace ends.
//!
//! Frame pointers would be faster, but few distributions compile with them, and a register that holds something else sends a
//! walk along them anywhere.

use super::cfi::{self, Frame, Row, Rule};
use super::image::{self, Code};
use core::arch::asm;

/// Frames kept of a backtrace, the innermost ones.
pub(crate) const MAX_DEPTH: usize = 64;

/// Registers kept track of, by DWARF's numbers.
#[cfg(target_arch = "x86_64")]
pub(crate) const NR_REGISTERS: usize = 17;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const NR_REGISTERS: usize = 32;

pub(crate) type Registers = [usize; NR_REGISTERS];

/// The stack pointer's number.
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: usize = 7;
#[cfg(not(target_arch = "x86_64"))]
const STACK_POINTER: usize = 31;

/// No frame is larger: a distance beyond it is not one. The largest usual stack has 8 MiB.
const LARGEST_FRAME: usize = 64 << 20;

/// Return addresses without what may be in their upper bits (aarch64 signs them).
const ADDRESS_MASK: usize = (1 << 48) - 1;

/// A backtrace, innermost frame first. The addresses lie in the calling instructions.
pub(crate) struct Backtrace {
    frames: [usize; MAX_DEPTH],
    depth: usize,
}

impl Backtrace {
    /// This thread's, from the first frame that is not the allocator's.
    ///
    /// Where `malloc` is a library's of ours, that is all of this image; in a program that has the allocator compiled in, and
    /// in one that is linked statically, it cannot be told by addresses (readers of the profile tell by names).
    #[inline(never)]
    pub(crate) fn take() -> Backtrace {
        let mut backtrace = Backtrace { frames: [0; MAX_DEPTH], depth: 0 };
        if let Some((mut registers, pc)) = registers() {
            backtrace.walk(&mut registers, pc);
        }
        backtrace
    }

    pub(crate) fn frames(&self) -> &[usize] {
        &self.frames[..self.depth]
    }

    fn walk(&mut self, registers: &mut Registers, mut pc: usize) {
        let Some(mut code) = image::code_at(pc) else { return };
        let malloc = libc::malloc as *const () as usize;
        let ours = if code.range.contains(&malloc) && !code.of_program { code.range.clone() } else { 0..0 };
        // The innermost address is where we are, not one returned to.
        let (mut exact, mut innermost) = (true, true);
        let mut outside = false;
        while self.depth < MAX_DEPTH {
            let within = if exact { pc } else { pc - 1 };
            outside |= !ours.contains(&within);
            if outside && !innermost {
                self.frames[self.depth] = within;
                self.depth += 1;
            }
            innermost = false;
            if !code.range.contains(&within) {
                code = match image::code_at(within) {
                    Some(code) => code,
                    None => return,
                };
            }
            match step(registers, &code, within) {
                Some((caller, signal)) if caller != 0 => (pc, exact) = (caller, signal),
                _ => return,
            }
        }
    }
}

/// Replaces a frame's registers by its caller's. Returns where the caller goes on, and whether it was interrupted there.
fn step(registers: &mut Registers, code: &Code, within: usize) -> Option<(usize, bool)> {
    let found = cfi::find(code.eh_frame_hdr?, within)?;
    let frame = frame_address(&found.row, registers)?;
    let sp = registers[STACK_POINTER];
    if frame < sp || frame - sp > LARGEST_FRAME || !frame.is_multiple_of(align_of::<usize>()) {
        return None;
    }
    let old = *registers;
    registers[STACK_POINTER] = frame;
    for (register, rule) in found.row.rules.iter().enumerate() {
        let load = |at: usize| {
            // SAFETY: the call frame information says that the frame has saved a register there; the frame is checked above.
            at.is_multiple_of(align_of::<usize>())
                .then(|| unsafe { core::ptr::with_exposed_provenance::<usize>(at).read() })
        };
        registers[register] = match *rule {
            Rule::Same => continue,
            Rule::Undefined => 0,
            Rule::At(distance) => load(frame.wrapping_add_signed(distance))?,
            Rule::Value(distance) => frame.wrapping_add_signed(distance),
            Rule::In(other) => old[other],
            // SAFETY: the registers are this frame's.
            Rule::AtExpression(expression) => load(unsafe { cfi::evaluate(expression, &old, Some(frame)) }?)?,
            // SAFETY: as above.
            Rule::ValueOf(expression) => unsafe { cfi::evaluate(expression, &old, Some(frame)) }?,
        };
    }
    // A frame that says nothing of its return address would be its own caller.
    let no_caller =
        matches!(found.row.rules[found.return_address], Rule::Same) && found.return_address != LINK_REGISTER;
    (!no_caller).then_some((registers[found.return_address] & ADDRESS_MASK, found.signal))
}

/// Where a return address may still be in the innermost frame: nowhere on x86-64.
#[cfg(target_arch = "x86_64")]
const LINK_REGISTER: usize = usize::MAX;
#[cfg(not(target_arch = "x86_64"))]
const LINK_REGISTER: usize = 30;

fn frame_address(row: &Row, registers: &Registers) -> Option<usize> {
    match row.frame {
        Frame::Offset(register, distance) => Some(registers[register].wrapping_add_signed(distance)),
        // SAFETY: the registers are this frame's.
        Frame::Expression(expression) => unsafe { cfi::evaluate(expression, registers, None) },
    }
}

/// The registers that a function keeps for its caller, the stack pointer, and where this is.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn registers() -> Option<(Registers, usize)> {
    let mut registers = [0; NR_REGISTERS];
    let pc: usize;
    // SAFETY: stores registers into the array; 3 is rbx, 6 rbp, 7 rsp, 12 to 15 are r12 to r15.
    unsafe {
        asm!(
            "mov [{out} + 24], rbx",
            "mov [{out} + 48], rbp",
            "mov [{out} + 56], rsp",
            "mov [{out} + 96], r12",
            "mov [{out} + 104], r13",
            "mov [{out} + 112], r14",
            "mov [{out} + 120], r15",
            "lea {pc}, [rip]",
            out = in(reg) &raw mut registers,
            pc = lateout(reg) pc,
            options(nostack, preserves_flags),
        );
    }
    Some((registers, pc))
}

/// The registers that a function keeps for its caller, the stack pointer, and where this is.
#[inline(always)]
#[cfg(target_arch = "aarch64")]
fn registers() -> Option<(Registers, usize)> {
    let mut registers = [0; NR_REGISTERS];
    let pc: usize;
    // SAFETY: stores x19 to x30 and the stack pointer into the array.
    unsafe {
        asm!(
            "stp x19, x20, [{out}, #152]",
            "stp x21, x22, [{out}, #168]",
            "stp x23, x24, [{out}, #184]",
            "stp x25, x26, [{out}, #200]",
            "stp x27, x28, [{out}, #216]",
            "stp x29, x30, [{out}, #232]",
            "mov {pc}, sp",
            "str {pc}, [{out}, #248]",
            "adr {pc}, .",
            out = in(reg) &raw mut registers,
            pc = out(reg) pc,
            options(nostack, preserves_flags),
        );
    }
    Some((registers, pc))
}

/// Not known for this processor: samples have no places.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers() -> Option<(Registers, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(n: usize, then: &mut dyn FnMut()) -> usize {
        if n == 0 {
            then();
            return 0;
        }
        // Frames of changing size, and something to do after the call.
        let mut room = vec![n; n];
        let below = deep(n - 1, then);
        room[n / 2] += below;
        core::hint::black_box(&room)[n / 2]
    }

    fn by_libc() -> Vec<usize> {
        let mut frames = [core::ptr::null_mut(); 256];
        // SAFETY: room for 256 addresses.
        let n = unsafe { libc::backtrace(frames.as_mut_ptr(), 256) };
        frames[..n as usize].iter().map(|f| *f as usize - 1).collect()
    }

    /// Compared from the outermost frame inward, all but the innermost two, which are this test's own.
    fn same(ours: &[usize], libcs: &[usize]) {
        assert!(ours.len() > 5, "{ours:x?}");
        let n = ours.len().min(libcs.len()) - 2;
        assert_eq!(&ours[ours.len() - n..], &libcs[libcs.len() - n..], "\n{ours:x?}\n{libcs:x?}");
    }

    #[test]
    fn backtraces_are_those_of_glibc() {
        for depth in 0..30 {
            let mut both = (Vec::new(), Vec::new());
            deep(depth, &mut || both = (Backtrace::take().frames().to_vec(), by_libc()));
            same(&both.0, &both.1);
        }
    }

    #[test]
    fn a_backtrace_goes_through_callbacks_of_the_c_library() {
        static SEEN: std::sync::Mutex<(Vec<usize>, Vec<usize>)> = std::sync::Mutex::new((Vec::new(), Vec::new()));
        unsafe extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
            *SEEN.lock().unwrap() = (Backtrace::take().frames().to_vec(), by_libc());
            0
        }
        let mut numbers = [3, 1, 2];
        // SAFETY: three numbers and a function that leaves them alone.
        unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 3, 4, Some(compare)) };
        let seen = SEEN.lock().unwrap();
        same(&seen.0, &seen.1);
    }

    #[test]
    fn a_backtrace_goes_through_the_frame_of_a_signal() {
        if std::env::var_os("FAIRGROUND_TEST_RUNNER").is_some() {
            return println!("skipped: an emulator's trampoline for signals has no call frame information");
        }
        static SEEN: std::sync::Mutex<(Vec<usize>, Vec<usize>)> = std::sync::Mutex::new((Vec::new(), Vec::new()));
        extern "C" fn handler(_: libc::c_int) {
            *SEEN.lock().unwrap() = (Backtrace::take().frames().to_vec(), by_libc());
        }
        // SAFETY: a handler that is called by raise below, on this thread.
        unsafe {
            libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t);
            libc::raise(libc::SIGUSR2);
        }
        let seen = SEEN.lock().unwrap();
        // libc's list has the signal's frame one lower, for its caller was interrupted: compare what is beyond.
        let at = |frames: &[usize]| frames[frames.len() - 6..].to_vec();
        assert!(seen.0.len() > 8, "{:x?} {:x?}", seen.0, seen.1);
        assert_eq!(at(&seen.0), at(&seen.1));
    }

    #[test]
    fn a_deep_stack_is_cut_at_its_outer_end() {
        let mut frames = Vec::new();
        deep(200, &mut || frames = Backtrace::take().frames().to_vec());
        assert_eq!(frames.len(), MAX_DEPTH);
        let place = deep as *const () as usize;
        assert!(frames[10..].iter().all(|f| f.wrapping_sub(place) < 4096), "{place:x} {frames:x?}");
    }
}
