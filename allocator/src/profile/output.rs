//! The file a profile goes to: opened, filled and closed by system calls, for libc's streams allocate.
//!
//! Several processes may have been told the same name (a program and what it starts): the file is locked while it is replaced,
//! so it holds one whole profile, of the process that ended last.

use crate::arch::syscall6;
use crate::report;
use crate::text::Text;
use core::ffi::CStr;
use core::fmt;

/// Why a profile could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// No profile is being taken: the configuration has neither `profile:true` nor `leaks:true`.
    NotProfiling,
    /// The system refused, with this `errno`.
    System(i32),
}

impl WriteError {
    /// The error as a number for C.
    pub fn errno(self) -> i32 {
        match self {
            WriteError::NotProfiling => libc::ENODATA,
            WriteError::System(errno) => errno,
        }
    }

    /// What the system's commonest refusals mean.
    fn reason(self) -> Option<&'static str> {
        match self {
            WriteError::System(libc::ENOENT) => Some("no such directory"),
            WriteError::System(libc::EACCES | libc::EROFS) => Some("not allowed"),
            WriteError::System(libc::ENOSPC) => Some("no space left"),
            _ => None,
        }
    }

    pub(crate) fn report(self, path: &CStr) {
        report::line(|text| {
            text.text("the profile could not be written to ").bytes(path.to_bytes()).text(": ");
            match self.reason() {
                Some(reason) => text.text(reason),
                None => text.text("error ").number(self.errno() as usize),
            };
            text.text(". profile_to:PATH names another file");
        });
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.reason()) {
            (WriteError::NotProfiling, _) => {
                f.write_str("no profile is being taken; profile:true in FAIRGROUND_CONF or configure! takes one")
            }
            (WriteError::System(_), Some(reason)) => write!(f, "the profile could not be written: {reason}"),
            (WriteError::System(errno), None) => write!(f, "the profile could not be written: error {errno}"),
        }
    }
}

impl core::error::Error for WriteError {}

/// A file being written. Errors are kept to the end.
pub(crate) struct Output {
    fd: usize,
    buffer: [u8; 4096],
    len: usize,
    error: Option<WriteError>,
}

fn check(result: isize) -> Result<usize, WriteError> {
    if result < 0 { Err(WriteError::System(-result as i32)) } else { Ok(result as usize) }
}

impl Output {
    /// Makes the file, or empties one that is there.
    pub(crate) fn create(path: &CStr) -> Result<Output, WriteError> {
        const AT_FDCWD: usize = -100isize as usize;
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC) as usize;
        // SAFETY: the path ends with a zero byte.
        let fd = check(unsafe {
            syscall6(libc::SYS_openat as usize, [AT_FDCWD, path.as_ptr() as usize, flags, 0o666, 0, 0])
        })?;
        // SAFETY: our own descriptor. Where these make no sense (a pipe), they fail, and need not have been.
        unsafe {
            syscall6(libc::SYS_flock as usize, [fd, libc::LOCK_EX as usize, 0, 0, 0, 0]);
            syscall6(libc::SYS_ftruncate as usize, [fd, 0, 0, 0, 0, 0]);
        }
        Ok(Output { fd, buffer: [0; 4096], len: 0, error: None })
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.len == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
        }
    }

    fn flush(&mut self) {
        let mut rest = &self.buffer[..self.len];
        while !rest.is_empty() && self.error.is_none() {
            // SAFETY: the slice is readable for its length.
            let written =
                unsafe { syscall6(libc::SYS_write as usize, [self.fd, rest.as_ptr() as usize, rest.len(), 0, 0, 0]) };
            match check(written) {
                Ok(written) => rest = &rest[written..],
                Err(WriteError::System(libc::EINTR)) => {}
                Err(error) => self.error = Some(error),
            }
        }
        self.len = 0;
    }

    /// Writes the rest, and says whether all went well.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        self.flush();
        // SAFETY: our own descriptor, which nobody uses again.
        unsafe { syscall6(libc::SYS_close as usize, [self.fd, 0, 0, 0, 0, 0]) };
        self.error.map_or(Ok(()), Err)
    }
}

/// Calls `each` with the configured path, `%p` in it replaced by the process id.
pub(crate) fn with_path(configured: &[u8], each: impl FnOnce(&CStr)) {
    const DEFAULT: &[u8] = b"fairground.%p.heap.pb";
    let configured = if configured.is_empty() { DEFAULT } else { configured };
    // Room for the longest path of the configuration with a few process ids in it; cut off beyond that.
    let mut path = [0u8; 512];
    let mut len = 0;
    let mut sink = |bytes: &[u8]| {
        let n = bytes.len().min(path.len() - 1 - len);
        path[len..len + n].copy_from_slice(&bytes[..n]);
        len += n;
    };
    let mut text = Text::new(&mut sink);
    let mut rest = configured;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"%p") {
            // SAFETY: has no preconditions.
            text.number(unsafe { libc::getpid() } as usize);
            rest = after;
        } else {
            text.bytes(&[byte]);
            rest = after;
        }
    }
    drop(text);
    each(CStr::from_bytes_until_nul(&path).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_is_put_into_the_path() {
        let pid = std::process::id();
        with_path(b"/a/%p%/%pb", |path| assert_eq!(path.to_str().unwrap(), format!("/a/{pid}%/{pid}b")));
        with_path(b"", |path| assert_eq!(path.to_str().unwrap(), format!("fairground.{pid}.heap.pb")));
    }

    #[test]
    fn errors_say_what_to_do_or_what_the_system_said() {
        assert!(WriteError::NotProfiling.to_string().contains("profile:true in FAIRGROUND_CONF"));
        assert!(WriteError::System(libc::ENOSPC).to_string().ends_with(": no space left"));
        assert!(WriteError::System(libc::EIO).to_string().ends_with(": error 5"));
    }

    #[test]
    fn what_the_system_refuses_is_told() {
        assert_eq!(Output::create(c"/no/such/directory").err(), Some(WriteError::System(libc::ENOENT)));
        let mut full = Output::create(c"/dev/full").unwrap();
        full.bytes(&[1; 10_000]);
        assert_eq!(full.finish(), Err(WriteError::System(libc::ENOSPC)));
    }
}
