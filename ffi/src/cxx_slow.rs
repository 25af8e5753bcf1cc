//! operator new beyond its fast path, and what it does when memory runs out, without linking a C++ runtime.
//!
//! ## What is needed of the runtime, and how it is found
//!
//! `std::get_new_handler`, `std::__throw_bad_alloc`, `__cxa_begin_catch`, `__cxa_end_catch` and the personality routine
//! `__gxx_personality_v0` (the function that reads a frame's table of catch blocks while an exception unwinds). They are
//! weak references in the table `fairground_cxx_runtime`: a program that has libstdc++ or libc++ fills it when it is
//! loaded, a C program leaves nulls. A runtime that comes later, by dlopen (an extension module of Python), is looked
//! for when a null is met: `dlopen` with `RTLD_NOLOAD`, which loads nothing and runs nothing, and `dlsym`. Elsewhere in
//! an allocator `dlsym` is forbidden, for it may allocate and be called too early; here an operator of C++ has failed,
//! no lock is held, and a failure of `dlsym` is one more null.
//!
//! With no runtime at all there is nobody to throw to: one line on stderr, and abort.
//!
//! ## The three routines
//!
//! All take (size, alignment), and are reached by a jump from an operator, so their caller is the C++ program:
//!
//! ```text
//!   throwing_slow   loop { p = allocate(); if p return p; h = handler(); if !h break; h() }  throw
//!   nothrow_slow    loop { p = allocate(); if p return p; h = handler(); if !h break; try { h() } catch (...) { break } }  null
//!   bad_alignment   throw
//! ```
//!
//! They are assembly because an exception passes through the first and third and is caught in the second, and Rust can
//! do neither with `panic = "abort"`. The directives say:
//!
//! * `.cfi_def_cfa_offset`, `.cfi_offset`: where the return address and the saved registers are after each push, so that
//!   the unwinder walks through the frame and the program's registers are restored.
//! * `.cfi_personality`, in `nothrow_slow` only: this frame has a table of catch blocks in C++'s format. The routine is
//!   found through the last pointer of the table above (0x9b: indirect, relative, 4 bytes). A null there means 'no
//!   personality' to the unwinder: a C program.
//! * `.cfi_lsda` and the table: one call site, the call of the handler; its landing pad; action 1, which is the type at
//!   index 1, which is null: `catch (...)`. This is what g++ emits for `try { h(); } catch (...) {}`.
//!
//! The landing pad gets the exception in the first return register and passes it to `swallow`, which begins and ends the
//! catch and so destroys it. Then null is returned. As in libstdc++, `catch (...)` also stops pthread_exit or a
//! cancellation inside a handler, and the runtime then ends the program: 'exception not rethrown'.
//!
//! The frame, on x86-64 (on aarch64 x19, x20 and the pair x29, x30, also 32 bytes):
//!
//! ```text
//!   CFA ->  |                | caller's
//!   CFA-8   | return address |
//!   CFA-16  | rbx            | size
//!   CFA-24  | r12            | alignment
//!   CFA-32  | padding        | rsp here: a multiple of 16 at calls
//! ```
//!
//! Everything these routines call but the handler and the throw is `extern "C"` Rust that does not unwind.

use core::arch::global_asm;
use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Release};
use fairground_allocator::{malloc as core_malloc, report_line};

/// A routine to which operator new jumps: (size, alignment or 0), returns what the operator returns.
#[cfg(panic = "abort")]
pub(crate) type Slow = unsafe extern "C" fn(usize, usize) -> *mut u8;
/// A routine to which operator new jumps: (size, alignment or 0), returns what the operator returns.
#[cfg(not(panic = "abort"))]
pub(crate) type Slow = unsafe extern "C-unwind" fn(usize, usize) -> *mut u8;

/// Declares the routines: see `cxx` for why the ABI depends on the kind of panic.
macro_rules! slow_paths {
    ($abi:literal) => {
        unsafe extern $abi {
            #[link_name = "fairground_throwing_slow"]
            pub(crate) fn throwing_slow(size: usize, align: usize) -> *mut u8;
            #[link_name = "fairground_nothrow_slow"]
            pub(crate) fn nothrow_slow(size: usize, align: usize) -> *mut u8;
            #[link_name = "fairground_bad_alignment"]
            pub(crate) fn bad_alignment(size: usize, align: usize) -> *mut u8;
        }
    };
}
#[cfg(panic = "abort")]
slow_paths!("C");
#[cfg(not(panic = "abort"))]
slow_paths!("C-unwind");

/// The C++ runtime's functions; null where there is none. The assembly below lays it out, in this order.
#[repr(C)]
struct Runtime {
    get_new_handler: AtomicPtr<c_void>,
    throw_bad_alloc: AtomicPtr<c_void>,
    begin_catch: AtomicPtr<c_void>,
    end_catch: AtomicPtr<c_void>,
    personality: AtomicPtr<c_void>,
}

unsafe extern "C" {
    #[link_name = "fairground_cxx_runtime"]
    static RUNTIME: Runtime;
}

// Filled by the loader through ordinary relocations, so this part needs no architecture of its own.
global_asm!(
    ".weak _ZSt15get_new_handlerv",
    ".weak _ZSt17__throw_bad_allocv",
    ".weak __cxa_begin_catch",
    ".weak __cxa_end_catch",
    ".weak __gxx_personality_v0",
    ".pushsection .data.fairground_cxx_runtime, \"aw\", %progbits",
    ".p2align 3",
    ".globl fairground_cxx_runtime",
    ".hidden fairground_cxx_runtime",
    ".type fairground_cxx_runtime, %object",
    "fairground_cxx_runtime:",
    ".8byte _ZSt15get_new_handlerv",
    ".8byte _ZSt17__throw_bad_allocv",
    ".8byte __cxa_begin_catch",
    ".8byte __cxa_end_catch",
    ".Lfairground_personality:",
    ".8byte __gxx_personality_v0",
    ".size fairground_cxx_runtime, . - fairground_cxx_runtime",
    ".popsection",
);

type Handler = unsafe extern "C-unwind" fn();
type GetNewHandler = unsafe extern "C" fn() -> Option<Handler>;
type BeginCatch = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type EndCatch = unsafe extern "C" fn();

impl Runtime {
    /// Looks for a runtime that was loaded after us, and fills what is still null.
    #[cold]
    fn look_for_late(&self) {
        let entries: [(&AtomicPtr<c_void>, &CStr); 5] = [
            (&self.get_new_handler, c"_ZSt15get_new_handlerv"),
            (&self.throw_bad_alloc, c"_ZSt17__throw_bad_allocv"),
            (&self.begin_catch, c"__cxa_begin_catch"),
            (&self.end_catch, c"__cxa_end_catch"),
            (&self.personality, c"__gxx_personality_v0"),
        ];
        for library in [c"libstdc++.so.6", c"libc++.so.1"] {
            // SAFETY: the name is a C string. RTLD_NOLOAD finds a library that is loaded already. The handle is never
            // closed: the library must stay for as long as the table points into it.
            let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
            if handle.is_null() {
                continue;
            }
            for (entry, name) in entries {
                if entry.load(Acquire).is_null() {
                    // SAFETY: the handle is open and the name a C string.
                    entry.store(unsafe { libc::dlsym(handle, name.as_ptr()) }, Release);
                }
            }
            return;
        }
    }

    /// An entry of the table, looked for again if it is null.
    fn find(&self, entry: impl Fn(&Runtime) -> &AtomicPtr<c_void>) -> *mut c_void {
        let found = entry(self).load(Acquire);
        if !found.is_null() {
            return found;
        }
        self.look_for_late();
        entry(self).load(Acquire)
    }
}

fn runtime() -> &'static Runtime {
    // SAFETY: the assembly defines the table with this layout, in writable memory, for the life of the program; only
    // atomic accesses are made to it (and, by the unwinder, reads of a pointer that changes at most once).
    unsafe { &RUNTIME }
}

/// The handler the program has set, if any.
extern "C" fn handler() -> Option<Handler> {
    let get = runtime().find(|runtime| &runtime.get_new_handler);
    // SAFETY: the entry is null (None) or the runtime's std::get_new_handler, which has this type and does not throw.
    let get: Option<GetNewHandler> = unsafe { transmute(get) };
    // SAFETY: std::get_new_handler may be called at any time.
    get.and_then(|get| unsafe { get() })
}

/// The function that throws std::bad_alloc; aborts if there is none.
extern "C" fn thrower(size: usize, align: usize) -> *mut c_void {
    let throw = runtime().find(|runtime| &runtime.throw_bad_alloc);
    if throw.is_null() {
        report_line(|text| {
            text.text("operator new cannot give ").number(size).text(" bytes");
            if align != 0 {
                text.text(" aligned to ").number(align);
            }
            text.text(", and there is no C++ runtime to throw std::bad_alloc");
        });
        // SAFETY: abort takes no argument and does not return.
        unsafe { libc::abort() }
    }
    throw
}

/// A block as malloc or memalign give it, or null.
extern "C" fn allocate(size: usize, align: usize) -> *mut u8 {
    if align == 0 { core_malloc::malloc(size) } else { core_malloc::memalign(align, size) }
}

/// Catches and destroys the exception a handler has thrown out of a nothrow form.
extern "C" fn swallow(exception: *mut c_void) {
    let begin = runtime().find(|runtime| &runtime.begin_catch);
    let end = runtime().find(|runtime| &runtime.end_catch);
    // SAFETY: null (None) or the runtime's functions of these types.
    let (begin, end) = unsafe {
        (transmute::<*mut c_void, Option<BeginCatch>>(begin), transmute::<*mut c_void, Option<EndCatch>>(end))
    };
    if let (Some(begin), Some(end)) = (begin, end) {
        // SAFETY: the landing pad passes the exception in flight, once; the catch is ended after it has begun.
        unsafe {
            begin(exception);
            end();
        }
    }
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.fairground_cxx_slow, \"ax\", %progbits",
    ".p2align 4",
    ".globl fairground_throwing_slow",
    ".hidden fairground_throwing_slow",
    ".type fairground_throwing_slow, %function",
    "fairground_throwing_slow:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbx, -16",
    "push r12",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset r12, -24",
    "sub rsp, 8",
    ".cfi_def_cfa_offset 32",
    "mov rbx, rdi",
    "mov r12, rsi",
    "2:",
    "mov rdi, rbx",
    "mov rsi, r12",
    "call {allocate}",
    "test rax, rax",
    "jnz 4f",
    "call {handler}",
    "test rax, rax",
    "jz 3f",
    "call rax", // may throw: through this frame to the caller
    "jmp 2b",
    "3:",
    "mov rdi, rbx",
    "mov rsi, r12",
    "call {thrower}",
    "call rax", // throws
    "ud2",
    "4:",
    "add rsp, 8",
    ".cfi_def_cfa_offset 24",
    "pop r12",
    ".cfi_restore r12",
    ".cfi_def_cfa_offset 16",
    "pop rbx",
    ".cfi_restore rbx",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_endproc",
    ".size fairground_throwing_slow, . - fairground_throwing_slow",
    "",
    ".p2align 4",
    ".globl fairground_bad_alignment",
    ".hidden fairground_bad_alignment",
    ".type fairground_bad_alignment, %function",
    "fairground_bad_alignment:",
    ".cfi_startproc",
    "sub rsp, 8",
    ".cfi_def_cfa_offset 16",
    "call {thrower}",
    "call rax", // throws
    "ud2",
    ".cfi_endproc",
    ".size fairground_bad_alignment, . - fairground_bad_alignment",
    "",
    ".p2align 4",
    ".globl fairground_nothrow_slow",
    ".hidden fairground_nothrow_slow",
    ".type fairground_nothrow_slow, %function",
    "fairground_nothrow_slow:",
    ".cfi_startproc",
    ".cfi_personality 0x9b, .Lfairground_personality",
    ".cfi_lsda 0x1b, .Lfairground_nothrow_table",
    "push rbx",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbx, -16",
    "push r12",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset r12, -24",
    "sub rsp, 8",
    ".cfi_def_cfa_offset 32",
    "mov rbx, rdi",
    "mov r12, rsi",
    "2:",
    "mov rdi, rbx",
    "mov rsi, r12",
    "call {allocate}",
    "test rax, rax",
    "jnz 4f",
    "call {handler}",
    "test rax, rax",
    "jz 3f",
    ".Lfairground_nothrow_try:",
    "call rax",
    ".Lfairground_nothrow_try_end:",
    "jmp 2b",
    ".Lfairground_nothrow_catch:",
    "mov rdi, rax",
    "call {swallow}",
    "3:",
    "xor eax, eax",
    "4:",
    "add rsp, 8",
    ".cfi_def_cfa_offset 24",
    "pop r12",
    ".cfi_restore r12",
    ".cfi_def_cfa_offset 16",
    "pop rbx",
    ".cfi_restore rbx",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_endproc",
    ".size fairground_nothrow_slow, . - fairground_nothrow_slow",
    ".popsection",
    handler = sym handler,
    allocate = sym allocate,
    thrower = sym thrower,
    swallow = sym swallow,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text.fairground_cxx_slow, \"ax\", %progbits",
    ".p2align 4",
    ".globl fairground_throwing_slow",
    ".hidden fairground_throwing_slow",
    ".type fairground_throwing_slow, %function",
    "fairground_throwing_slow:",
    ".cfi_startproc",
    "stp x29, x30, [sp, #-32]!",
    ".cfi_def_cfa_offset 32",
    ".cfi_offset x29, -32",
    ".cfi_offset x30, -24",
    "stp x19, x20, [sp, #16]",
    ".cfi_offset x19, -16",
    ".cfi_offset x20, -8",
    "mov x29, sp",
    "mov x19, x0",
    "mov x20, x1",
    "2:",
    "mov x0, x19",
    "mov x1, x20",
    "bl {allocate}",
    "cbnz x0, 4f",
    "bl {handler}",
    "cbz x0, 3f",
    "blr x0", // may throw: through this frame to the caller
    "b 2b",
    "3:",
    "mov x0, x19",
    "mov x1, x20",
    "bl {thrower}",
    "blr x0", // throws
    "brk #1",
    "4:",
    "ldp x19, x20, [sp, #16]",
    ".cfi_restore x19",
    ".cfi_restore x20",
    "ldp x29, x30, [sp], #32",
    ".cfi_restore x29",
    ".cfi_restore x30",
    ".cfi_def_cfa_offset 0",
    "ret",
    ".cfi_endproc",
    ".size fairground_throwing_slow, . - fairground_throwing_slow",
    "",
    ".p2align 4",
    ".globl fairground_bad_alignment",
    ".hidden fairground_bad_alignment",
    ".type fairground_bad_alignment, %function",
    "fairground_bad_alignment:",
    ".cfi_startproc",
    "stp x29, x30, [sp, #-16]!",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset x29, -16",
    ".cfi_offset x30, -8",
    "mov x29, sp",
    "bl {thrower}",
    "blr x0", // throws
    "brk #1",
    ".cfi_endproc",
    ".size fairground_bad_alignment, . - fairground_bad_alignment",
    "",
    ".p2align 4",
    ".globl fairground_nothrow_slow",
    ".hidden fairground_nothrow_slow",
    ".type fairground_nothrow_slow, %function",
    "fairground_nothrow_slow:",
    ".cfi_startproc",
    ".cfi_personality 0x9b, .Lfairground_personality",
    ".cfi_lsda 0x1b, .Lfairground_nothrow_table",
    "stp x29, x30, [sp, #-32]!",
    ".cfi_def_cfa_offset 32",
    ".cfi_offset x29, -32",
    ".cfi_offset x30, -24",
    "stp x19, x20, [sp, #16]",
    ".cfi_offset x19, -16",
    ".cfi_offset x20, -8",
    "mov x29, sp",
    "mov x19, x0",
    "mov x20, x1",
    "2:",
    "mov x0, x19",
    "mov x1, x20",
    "bl {allocate}",
    "cbnz x0, 4f",
    "bl {handler}",
    "cbz x0, 3f",
    ".Lfairground_nothrow_try:",
    "blr x0",
    ".Lfairground_nothrow_try_end:",
    "b 2b",
    ".Lfairground_nothrow_catch:",
    "bl {swallow}", // the exception is in x0 already
    "3:",
    "mov x0, xzr",
    "4:",
    "ldp x19, x20, [sp, #16]",
    ".cfi_restore x19",
    ".cfi_restore x20",
    "ldp x29, x30, [sp], #32",
    ".cfi_restore x29",
    ".cfi_restore x30",
    ".cfi_def_cfa_offset 0",
    "ret",
    ".cfi_endproc",
    ".size fairground_nothrow_slow, . - fairground_nothrow_slow",
    ".popsection",
    handler = sym handler,
    allocate = sym allocate,
    thrower = sym thrower,
    swallow = sym swallow,
);

// The table of catch blocks of `nothrow_slow`.
global_asm!(
    ".pushsection .gcc_except_table.fairground, \"a\", %progbits",
    ".p2align 2",
    ".Lfairground_nothrow_table:",
    ".byte 0xff", // landing pads count from the function's start
    ".byte 0x9b", // types: indirect, relative, 4 bytes
    ".uleb128 .Lfairground_nothrow_types - .Lfairground_nothrow_header",
    ".Lfairground_nothrow_header:",
    ".byte 0x01", // call sites: uleb128
    ".uleb128 .Lfairground_nothrow_sites_end - .Lfairground_nothrow_sites",
    ".Lfairground_nothrow_sites:",
    ".uleb128 .Lfairground_nothrow_try - fairground_nothrow_slow",
    ".uleb128 .Lfairground_nothrow_try_end - .Lfairground_nothrow_try",
    ".uleb128 .Lfairground_nothrow_catch - fairground_nothrow_slow",
    ".uleb128 1", // action 1: the pair of bytes below
    ".Lfairground_nothrow_sites_end:",
    ".byte 1", // type 1
    ".byte 0", // no further action
    ".p2align 2",
    ".long 0", // type 1: null, catch (...)
    ".Lfairground_nothrow_types:",
    ".popsection",
);
