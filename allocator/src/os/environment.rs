//! The environment, read without allocating and before `main`.
//!
//! `environ` is libc's, and empty until libc has initialised itself; the loader may call a preloaded malloc before that. Then
//! the kernel's copy in `/proc/self/environ` is read instead: three system calls, at the first allocation.

use crate::arch::syscall6;
use core::ffi::{CStr, c_char};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Longest setting read from the kernel's copy.
const LONGEST: usize = 4096;

/// Calls `each` with the value of a variable, if it is set. Not in a process that has gained privileges, for there the
/// environment is the caller's.
pub(crate) fn with_variable(name: &str, each: impl FnOnce(&[u8])) {
    // SAFETY: reads the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    // SAFETY: libc's own variable; nobody changes the environment before the first allocation.
    let mut at = unsafe { environ };
    if at.is_null() {
        return with_variable_of_the_kernel(name, each);
    }
    // SAFETY: a list of texts that ends with a null.
    unsafe {
        while !(*at).is_null() {
            if let Some(value) = value_of(CStr::from_ptr(*at).to_bytes(), name) {
                return each(value);
            }
            at = at.add(1);
        }
    }
}

fn value_of<'a>(setting: &'a [u8], name: &str) -> Option<&'a [u8]> {
    setting.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cold]
fn with_variable_of_the_kernel(name: &str, each: impl FnOnce(&[u8])) {
    const AT_FDCWD: usize = -100isize as usize;
    // SAFETY: the path ends with a zero byte.
    let file = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        syscall6(libc::SYS_openat as usize, [AT_FDCWD, c"/proc/self/environ".as_ptr() as usize, flags, 0, 0, 0])
    };
    if file < 0 {
        return;
    }
    // A window over the file: settings are cut at zero bytes; one that does not fit is not ours, and skipped.
    let mut window = [0u8; LONGEST];
    let (mut held, mut skipping) = (0, false);
    let mut found = None;
    while found.is_none() {
        // SAFETY: the rest of the window is writable.
        let got = unsafe {
            let to = window.as_mut_ptr().add(held) as usize;
            syscall6(libc::SYS_read as usize, [file as usize, to, LONGEST - held, 0, 0, 0])
        };
        if got <= 0 {
            break;
        }
        held += got as usize;
        while let Some(end) = window[..held].iter().position(|&byte| byte == 0) {
            if !skipping && value_of(&window[..end], name).is_some() {
                found = Some(end);
                break;
            }
            skipping = false;
            window.copy_within(end + 1..held, 0);
            held -= end + 1;
        }
        if held == LONGEST {
            (held, skipping) = (0, true);
        }
    }
    // SAFETY: our own descriptor.
    unsafe { syscall6(libc::SYS_close as usize, [file as usize, 0, 0, 0, 0, 0]) };
    if let Some(value) = found.and_then(|end| value_of(&window[..end], name)) {
        each(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_of_the_environment_agree() {
        let path = std::env::var("PATH").expect("PATH is set where tests run");
        let mut seen = Vec::new();
        with_variable("PATH", |value| seen.push(value.to_vec()));
        with_variable_of_the_kernel("PATH", |value| seen.push(value.to_vec()));
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|value| value == path.as_bytes()));
        with_variable_of_the_kernel("FAIRGROUND_NO_SUCH", |_| panic!("not set"));
    }
}
