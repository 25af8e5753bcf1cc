//! The ELF images in the process, as the loader lists them: where their code is, what unwinds it, and from which file it came.
//!
//! `dl_iterate_phdr` takes the loader's lock and allocates nothing. It must not be called with a lock of ours held: the loader
//! allocates under its own.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ops::Range;

/// The kind of note that holds a build id.
const NT_GNU_BUILD_ID: u32 = 3;

/// An image, as long as the loader is being asked.
pub(crate) struct Image<'a> {
    base: usize,
    name: *const c_char,
    headers: &'a [libc::Elf64_Phdr],
}

impl Image<'_> {
    /// The file's path as the loader knows it; empty for the program itself.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: the loader's own text; null is possible for the program.
        if self.name.is_null() { c"" } else { unsafe { CStr::from_ptr(self.name) } }
    }

    /// Its executable segments: addresses, and the offset in the file of the first.
    pub(crate) fn code(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        let loaded = self.headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0);
        loaded.map(|h| {
            let start = self.base.wrapping_add(h.p_vaddr as usize);
            (start..start + h.p_memsz as usize, h.p_offset as usize)
        })
    }

    /// Where its `.eh_frame_hdr` is.
    fn eh_frame_hdr(&self) -> Option<usize> {
        let header = self.headers.iter().find(|h| h.p_type == libc::PT_GNU_EH_FRAME)?;
        Some(self.base.wrapping_add(header.p_vaddr as usize))
    }

    /// The build id, if the file has one.
    pub(crate) fn build_id(&self) -> Option<&[u8]> {
        self.headers.iter().filter(|h| h.p_type == libc::PT_NOTE).find_map(|h| {
            let (mut at, end) = (self.base.wrapping_add(h.p_vaddr as usize), h.p_memsz as usize);
            let end = at.wrapping_add(end);
            // A note: the lengths of name and contents, a type, the name, the contents, each padded to four bytes.
            while at + 12 <= end {
                // SAFETY: notes of a loaded image are readable from `p_vaddr` to the segment's end, and checked against it.
                let [name, contents, kind] = unsafe { core::ptr::with_exposed_provenance::<[u32; 3]>(at).read() };
                let start = at + 12 + (name as usize).next_multiple_of(4);
                let next = start + (contents as usize).next_multiple_of(4);
                if next > end {
                    return None;
                }
                if kind == NT_GNU_BUILD_ID && name == 4 {
                    // SAFETY: as above.
                    return Some(unsafe {
                        core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), contents as usize)
                    });
                }
                at = next;
            }
            None
        })
    }
}

/// Calls `each` with the images in the loader's order, the program first, until it returns false.
pub(crate) fn for_each(mut each: impl FnMut(&Image) -> bool) {
    unsafe extern "C" fn call<F: FnMut(&Image) -> bool>(
        info: *mut libc::dl_phdr_info,
        _: usize,
        each: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid description, and the closure that `for_each` gave it.
        unsafe {
            let (info, each) = (&*info, &mut *each.cast::<F>());
            let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize);
            let image = Image { base: info.dlpi_addr as usize, name: info.dlpi_name, headers };
            c_int::from(!each(&image))
        }
    }
    fn callback<F: FnMut(&Image) -> bool>(
        _: &F,
    ) -> unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int {
        call::<F>
    }
    let call = callback(&each);
    // SAFETY: the closure outlives the call, and is of the type that `call` was made for.
    unsafe { libc::dl_iterate_phdr(Some(call), (&raw mut each).cast()) };
}

/// A stretch of code, and what unwinds it.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) range: Range<usize>,
    pub(crate) eh_frame_hdr: Option<usize>,
    /// Of the program itself, not of a library.
    pub(crate) of_program: bool,
}

/// The code an address lies in.
pub(crate) fn code_at(address: usize) -> Option<Code> {
    let mut found = None;
    for_each(|image| {
        found = image.code().find(|(range, _)| range.contains(&address)).map(|(range, _)| Code {
            range,
            eh_frame_hdr: image.eh_frame_hdr(),
            of_program: image.name().is_empty(),
        });
        found.is_none()
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_its_c_library_are_found() {
        let here = code_at(the_program_and_its_c_library_are_found as *const () as usize).expect("this program");
        assert!(here.eh_frame_hdr.is_some());
        assert!(here.of_program);
        let there = code_at(libc::getpid as *const () as usize).expect("libc");
        let is_static = cfg!(target_feature = "crt-static");
        assert_eq!((here.range == there.range, there.of_program), (is_static, is_static));
        assert!(code_at(&raw const here as usize).is_none(), "a stack is no code");
        let mut names = Vec::new();
        for_each(|image| {
            names.push(image.name().to_string_lossy().into_owned());
            true
        });
        assert!(names[0].is_empty(), "{names:?}");
        assert!(is_static || names.iter().any(|name| name.contains("libc.so")), "{names:?}");
    }
}
