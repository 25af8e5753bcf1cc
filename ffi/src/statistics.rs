//! mallinfo, mallinfo2, malloc_info and malloc_stats: the core's totals in glibc's shapes.
//!
//! glibc divides its memory into heaps, grown by brk and mmap, and blocks with a mapping of their own. The same division
//! is made here: 'huge' blocks are those with their own mapping, everything else is one heap, and
//!
//! ```text
//!   arena    = mapped, but for huge blocks      uordblks = in use - huge      fordblks = free
//!   hblkhd   = huge, hblks = how many                                         keepcost = dirty: what malloc_trim may return
//! ```
//!
//! There are no fast bins in glibc's sense, so `smblks` and `fsmblks` are 0, and the free blocks are not counted one by
//! one: `ordblks` is 1 if there are any. `mallinfo` has ints; a size that does not fit is INT_MAX, where glibc wraps
//! round. No peak is kept: where glibc's XML has a maximum, the present value stands. Counters are read without stopping
//! other threads: they may disagree by what happened meanwhile.
//!
//! malloc_info lists free blocks by size where that is known, for the size classes of slabs, with what threads keep at hand:
//! `<size from to total count>`, as glibc has them for its bins. They are no part of `fordblks`, which has whole pages.
//!
//! Nothing here allocates. malloc_info prints by `fwrite` to the stream it is given (a stream that has no buffer yet
//! makes its own), malloc_stats by write(2).

use crate::stats_api::write_all;
use core::ffi::c_int;
use fairground_allocator::Text;
use fairground_allocator::malloc as core_malloc;
use fairground_allocator::stats::{self, SlabInfo};
use libc::{EINVAL, FILE};

/// `struct mallinfo2` of malloc.h.
#[repr(C)]
struct MallInfo2 {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

/// `struct mallinfo` of malloc.h.
#[repr(C)]
struct MallInfo {
    arena: c_int,
    ordblks: c_int,
    smblks: c_int,
    hblks: c_int,
    hblkhd: c_int,
    usmblks: c_int,
    fsmblks: c_int,
    uordblks: c_int,
    fordblks: c_int,
    keepcost: c_int,
}

fn info() -> MallInfo2 {
    let totals = core_malloc::totals();
    MallInfo2 {
        arena: totals.mapped,
        ordblks: usize::from(totals.free > 0),
        smblks: 0,
        hblks: totals.huge_count,
        hblkhd: totals.huge,
        usmblks: 0,
        fsmblks: 0,
        uordblks: totals.in_use.saturating_sub(totals.huge),
        fordblks: totals.free,
        keepcost: totals.dirty,
    }
}

fn info_in_ints() -> MallInfo {
    let clamp = |size: usize| c_int::try_from(size).unwrap_or(c_int::MAX);
    let info = info();
    MallInfo {
        arena: clamp(info.arena),
        ordblks: clamp(info.ordblks),
        smblks: clamp(info.smblks),
        hblks: clamp(info.hblks),
        hblkhd: clamp(info.hblkhd),
        usmblks: clamp(info.usmblks),
        fsmblks: clamp(info.fsmblks),
        uordblks: clamp(info.uordblks),
        fordblks: clamp(info.fordblks),
        keepcost: clamp(info.keepcost),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mallinfo2() -> MallInfo2 {
    info()
}

#[unsafe(no_mangle)]
extern "C" fn mallinfo() -> MallInfo {
    info_in_ints()
}

#[unsafe(no_mangle)]
extern "C" fn __libc_mallinfo() -> MallInfo {
    info_in_ints()
}

/// The elements that glibc prints for each heap and again for all of them.
fn describe(xml: &mut Text, info: &MallInfo2, mmap: bool) {
    let element = |xml: &mut Text, name: &str, kind: &str, count: Option<usize>, size: usize| {
        xml.text("<").text(name).text(" type=\"").text(kind);
        if let Some(count) = count {
            xml.text("\" count=\"").number(count);
        }
        xml.text("\" size=\"").number(size).text("\"/>\n");
    };
    element(xml, "total", "fast", Some(0), 0);
    element(xml, "total", "rest", Some(info.ordblks), info.fordblks);
    if mmap {
        element(xml, "total", "mmap", Some(info.hblks), info.hblkhd);
    }
    element(xml, "system", "current", None, info.arena);
    element(xml, "system", "max", None, info.arena);
    element(xml, "aspace", "total", None, info.arena);
    element(xml, "aspace", "mprotect", None, info.arena);
}

/// Free blocks of each size class of slabs that has any.
fn sizes(xml: &mut Text, slabs: &[SlabInfo]) {
    let mut from = 1;
    for class in slabs {
        let to = class.object_size_bytes;
        let used = class.active_objects.saturating_sub(class.cached_objects);
        let free = class.total_objects.saturating_sub(used);
        if free != 0 {
            xml.text("<size from=\"").number(from).text("\" to=\"").number(to);
            xml.text("\" total=\"").number(free * to).text("\" count=\"").number(free).text("\"/>\n");
        }
        from = to + 1;
    }
}

/// Prints the state as XML in glibc's format, version 1. Returns `EINVAL` for any option but 0, -1 if the stream fails.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_info(options: c_int, stream: *mut FILE) -> c_int {
    if options != 0 {
        return EINVAL;
    }
    // All numbers first: the stream may make itself a buffer.
    let (info, slabs) = (info(), stats::slabs());
    let mut result = 0;
    let mut sink = |piece: &[u8]| {
        // SAFETY: the caller passes an open stream; the piece is readable for its length.
        if result == 0 && unsafe { libc::fwrite(piece.as_ptr().cast(), 1, piece.len(), stream) } < piece.len() {
            result = -1;
        }
    };
    let mut xml = Text::new(&mut sink);
    xml.text("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    sizes(&mut xml, &slabs);
    xml.text("</sizes>\n");
    describe(&mut xml, &info, false);
    xml.text("</heap>\n");
    describe(&mut xml, &info, true);
    xml.text("</malloc>\n");
    drop(xml);
    result
}

/// Prints the state to stderr, in the columns glibc uses. Leaves errno alone.
#[unsafe(no_mangle)]
extern "C" fn malloc_stats() {
    let info = info();
    let totals = core_malloc::totals();
    let errno = crate::errno();
    let mut sink = |piece: &[u8]| _ = write_all(2, piece);
    let mut text = Text::new(&mut sink);
    let mut row = |name: &str, value: usize| {
        text.text(name).text(" = ").column(value, 10).text("\n");
    };
    row("Arena 0:\nsystem bytes    ", info.arena);
    row("in use bytes    ", info.uordblks);
    row("Total (incl. mmap):\nsystem bytes    ", info.arena.saturating_add(info.hblkhd));
    row("in use bytes    ", info.uordblks.saturating_add(info.hblkhd));
    row("mmap regions    ", info.hblks);
    row("mmap bytes      ", info.hblkhd);
    row("metadata bytes  ", totals.metadata);
    row("dirty free bytes", totals.dirty);
    drop(text);
    crate::set_errno(errno);
}
