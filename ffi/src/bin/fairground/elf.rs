//! What the ELF headers of a file say about preloading.
//!
//! `LD_PRELOAD` is read by the dynamic loader, which the kernel starts because the file names it in a PT_INTERP
//! segment. No PT_INTERP, no loader, no preload: that is what 'statically linked' means here (static-pie included).
//! The loader maps only libraries of its own machine and class. And it looks symbols up in the program first: a
//! program that *exports* a malloc of its own uses that one, and ours lies idle; this is worth a warning, not a
//! refusal, for such a program still runs.
//!
//! Facts are read here and judged by `run`. The file is mapped, not read: only the touched pages of a 100 MB
//! executable are loaded, and exec is about to load them anyway.

use memmap2::Mmap;
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::{Endianness, FileKind};
use std::fs::File;
use std::io;
use std::path::Path;

/// Word size and byte order and machine: two files that agree in these can live in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub bits: u8,
    pub machine: elf::Machine,
}

impl Target {
    /// The name people use for it.
    pub fn name(self) -> String {
        let name = match self.machine {
            elf::EM_X86_64 => "x86-64",
            elf::EM_386 => "x86 (i386)",
            elf::EM_AARCH64 => "aarch64",
            elf::EM_ARM => "arm",
            elf::EM_RISCV => "riscv",
            elf::EM_PPC64 => "powerpc64",
            elf::EM_S390 => "s390",
            other => return format!("ELF machine {other}, {}-bit", self.bits),
        };
        format!("{name}, {}-bit", self.bits)
    }
}

/// The headers that matter for preloading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub target: Target,
    /// The dynamic loader (PT_INTERP); none in a static program, and none in most libraries.
    pub loader: Option<String>,
    /// The libraries it asks for (DT_NEEDED).
    pub needed: Vec<String>,
    /// Its dynamic symbol table defines malloc.
    pub exports_malloc: bool,
}

/// Why there are no facts.
#[derive(Debug)]
pub enum Unreadable {
    Io(io::Error),
    /// Begins with the ELF magic, but a header points outside the file or contradicts another.
    Malformed(String),
    /// Does not begin with the ELF magic.
    NotElf,
}

/// Reads the facts of the file at `path`.
pub fn inspect(path: &Path) -> Result<Facts, Unreadable> {
    let file = File::open(path).map_err(Unreadable::Io)?;
    if file.metadata().map_err(Unreadable::Io)?.len() == 0 {
        return Err(Unreadable::NotElf); // an empty file cannot be mapped
    }
    // SAFETY: the mapping is private and read-only, and lives only for this call. Should another process shorten the
    // file meanwhile, the launcher dies of SIGBUS before it has started anything; no memory is corrupted.
    let map = unsafe { Mmap::map(&file) }.map_err(Unreadable::Io)?;
    parse(&map)
}

/// Reads the facts from the bytes of a file.
pub fn parse(bytes: &[u8]) -> Result<Facts, Unreadable> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Unreadable::NotElf);
    }
    let malformed = |error: object::Error| Unreadable::Malformed(error.to_string());
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => parse_class::<elf::FileHeader64<Endianness>>(bytes, 64).map_err(malformed),
        Ok(FileKind::Elf32) => parse_class::<elf::FileHeader32<Endianness>>(bytes, 32).map_err(malformed),
        Ok(kind) => Err(Unreadable::Malformed(format!("not an ELF file but {kind:?}"))),
        Err(error) => Err(malformed(error)),
    }
}

fn parse_class<H: FileHeader<Endian = Endianness>>(bytes: &[u8], bits: u8) -> object::Result<Facts> {
    let header = H::parse(bytes)?;
    let endian = header.endian()?;
    let target = Target { bits, machine: header.e_machine(endian) };

    let mut loader = None;
    for segment in header.program_headers(endian, bytes)? {
        if let Some(name) = segment.interpreter(endian, bytes)? {
            loader = Some(String::from_utf8_lossy(name).into_owned());
        }
    }

    // Section headers may be stripped; then there is nothing to warn of, and that is all they are used for.
    let sections = header.sections(endian, bytes)?;
    let mut needed = Vec::new();
    if let Some((entries, strings_index)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings_index)?;
        for entry in entries {
            if entry.d_tag(endian) == elf::DT_NEEDED {
                needed.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
            }
        }
    }
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
    let strings = symbols.strings();
    let mut exports_malloc = false;
    for symbol in symbols.iter() {
        if !symbol.is_undefined(endian) && symbol.name(endian, strings)? == b"malloc" {
            exports_malloc = true;
        }
    }
    Ok(Facts { target, loader, needed, exports_malloc })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A 64-byte ELF header and nothing else: enough for class, byte order and machine.
    pub fn bare_header(bits: u8, machine: elf::Machine) -> Vec<u8> {
        let mut bytes = vec![0u8; if bits == 64 { 64 } else { 52 }];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if bits == 64 { 2 } else { 1 }, 1, 1]);
        bytes[16] = 2; // ET_EXEC
        bytes[18..20].copy_from_slice(&machine.0.to_le_bytes());
        bytes[20] = 1;
        bytes
    }

    #[test]
    fn header_of_another_machine_is_read_without_segments() {
        let facts = parse(&bare_header(64, elf::EM_AARCH64)).unwrap();
        assert_eq!(facts.target, Target { bits: 64, machine: elf::EM_AARCH64 });
        assert_eq!(facts.loader, None);
        let facts = parse(&bare_header(32, elf::EM_386)).unwrap();
        assert_eq!(facts.target.name(), "x86 (i386), 32-bit");
    }

    #[test]
    fn what_is_not_elf_is_told_from_what_is_damaged() {
        assert!(matches!(parse(b"#!/bin/sh\n"), Err(Unreadable::NotElf)));
        assert!(matches!(parse(b""), Err(Unreadable::NotElf)));
        assert!(matches!(parse(b"\x7fELF\x02\x01"), Err(Unreadable::Malformed(_))));
        let mut bytes = bare_header(64, elf::EM_X86_64);
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes()); // e_phoff
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&3u16.to_le_bytes());
        assert!(matches!(parse(&bytes), Err(Unreadable::Malformed(_))));
    }

    #[test]
    fn a_dynamic_program_names_its_loader_and_needs_libc() {
        let facts = inspect(Path::new("/proc/self/exe")).unwrap();
        assert!(facts.loader.is_some());
        assert!(facts.needed.iter().any(|name| name.starts_with("libc.")));
        assert!(!facts.exports_malloc);
    }

    #[test]
    fn a_program_that_exports_malloc_is_seen_and_a_static_one_has_no_loader() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("own.c");
        std::fs::write(&source, "void *malloc(unsigned long n) { return 0; }\nint main(void) { return 0; }\n").unwrap();
        let compile = |output: &Path, flags: &[&str]| {
            let made = Command::new("cc").args(flags).arg("-fno-builtin").arg("-o").arg(output).arg(&source).status();
            made.expect("cc (Debian: apt-get install gcc libc6-dev)").success()
        };
        let exporting = dir.path().join("exporting");
        assert!(compile(&exporting, &["-rdynamic"]));
        assert!(inspect(&exporting).unwrap().exports_malloc);

        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let fixed = dir.path().join("static");
        assert!(compile(&fixed, &["-static"]));
        assert_eq!(inspect(&fixed).unwrap().loader, None);
        let pie = dir.path().join("static-pie");
        assert!(compile(&pie, &["-static-pie"]));
        assert_eq!(inspect(&pie).unwrap().loader, None);
    }
}
