//! What the kernel says of the allocator's mappings: `/proc/self/smaps`, read with bare system calls into a small window.
//!
//! The kernel merges neighbouring mappings of the same kind, so a mapping that begins in our memory counts as ours whole, and
//! one that holds an extent too. Only asked for when somebody wants statistics: the kernel walks all page tables for it.

use super::collect::{Mapping, whose};
use crate::arch::syscall6;
use crate::lock::Patience;

/// What is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resident {
    /// Resident bytes of all mappings of the allocator.
    pub bytes: usize,
    /// The part in huge pages.
    pub huge_bytes: usize,
    /// The part that is the allocator's tables.
    pub metadata_bytes: usize,
}

/// The longest line that matters: longer ones (paths) are cut, nothing of interest is behind.
const LINE: usize = 128;

/// Reads the file; None if it cannot be opened.
pub(super) fn read(patience: Patience) -> Option<Resident> {
    let at = libc::AT_FDCWD as isize as usize;
    // SAFETY: the path ends with a zero byte.
    let file = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        syscall6(libc::SYS_openat as usize, [at, c"/proc/self/smaps".as_ptr() as usize, flags, 0, 0, 0])
    };
    if file < 0 {
        return None;
    }
    let mut scan = Scan { found: Resident::default(), mapping: None, line: [0; LINE], len: 0 };
    let mut window = [0u8; 1024];
    loop {
        // SAFETY: the window is writable.
        let got = unsafe {
            let to = window.as_mut_ptr() as usize;
            syscall6(libc::SYS_read as usize, [file as usize, to, window.len(), 0, 0, 0])
        };
        if got == -(libc::EINTR as isize) {
            continue;
        }
        if got <= 0 {
            break;
        }
        scan.bytes(&window[..got as usize], |start, end| whose(start, end, patience));
    }
    // SAFETY: our own descriptor.
    unsafe { syscall6(libc::SYS_close as usize, [file as usize, 0, 0, 0, 0, 0]) };
    Some(scan.found)
}

struct Scan {
    found: Resident,
    mapping: Option<Mapping>,
    line: [u8; LINE],
    len: usize,
}

impl Scan {
    fn bytes(&mut self, bytes: &[u8], whose: impl Fn(usize, usize) -> Option<Mapping>) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.len < LINE {
                    self.line[self.len] = byte;
                    self.len += 1;
                }
                continue;
            }
            let line = self.line;
            self.take(&line[..self.len], &whose);
            self.len = 0;
        }
    }

    fn take(&mut self, line: &[u8], whose: &impl Fn(usize, usize) -> Option<Mapping>) {
        if let Some((start, end)) = range(line) {
            self.mapping = whose(start, end);
        } else if let Some(mapping) = self.mapping {
            if let Some(bytes) = kib(line, b"Rss:") {
                self.found.bytes += bytes;
                if mapping == Mapping::Tables {
                    self.found.metadata_bytes += bytes;
                }
            } else if let Some(bytes) = kib(line, b"AnonHugePages:") {
                self.found.huge_bytes += bytes;
            }
        }
    }
}

/// The range at the head of a mapping's first line.
fn range(line: &[u8]) -> Option<(usize, usize)> {
    let dash = line.iter().position(|&byte| byte == b'-')?;
    let end = dash + 1 + line[dash + 1..].iter().position(|&byte| byte == b' ')?;
    Some((hex(&line[..dash])?, hex(&line[dash + 1..end])?))
}

fn hex(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

/// The value of a line `Name:  123 kB`, in bytes.
fn kib(line: &[u8], name: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(line.strip_prefix(name)?).ok()?;
    Some(text.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_mappings_count_wherever_the_reads_are_cut() {
        let text = b"1000-3000 rw-p 00000000 00:00 0 \nSize: 8 kB\nRss:  8 kB\nAnonHugePages: 4 kB\n\
            3000-4000 r--p 00000000 00:00 0 /a/very-long-name\nRss: 4 kB\nAnonHugePages: 0 kB\n\
            7000-9000 rw-p 00000000 00:00 0\nRss: 2 kB\nVmFlags: rd\n";
        let whose = |start, _| match start {
            0x1000 => Some(Mapping::Blocks),
            0x7000 => Some(Mapping::Tables),
            _ => None,
        };
        for cut in 1..text.len() {
            let mut scan = Scan { found: Resident::default(), mapping: None, line: [0; LINE], len: 0 };
            scan.bytes(&text[..cut], whose);
            scan.bytes(&text[cut..], whose);
            assert_eq!(scan.found, Resident { bytes: 10240, huge_bytes: 4096, metadata_bytes: 2048 });
        }
    }
}
