//! The report of leaks: what was allocated and never freed, place by place, the largest first. On stderr.
//!
//! What it says are estimates from samples, unless every block is one, and it says which. Not everything that is in use at exit
//! is a leak; what grows with the work done is. Names come from the images' dynamic symbols, so a program's own functions have
//! names if it is linked with `-rdynamic`; the offset in the file is there for `addr2line` and its like.

use super::table::{Place, TABLE};
use crate::os::map::write_all;
use crate::os::stderr;
use crate::text::Text;
use core::ffi::CStr;
use core::ptr::null;

/// Places shown: what matters is among the first few, and the rest is in the profile.
const SHOWN: usize = 20;

/// Frames shown of each.
const FRAMES: usize = 16;

/// What is said of a place, as it was when it was looked at.
#[derive(Clone, Copy)]
struct Leak {
    bytes: u64,
    blocks: u64,
    /// Places are there for good, and their frames do not change.
    place: *const Place,
}

/// Writes the report.
pub(crate) fn report(mean: usize) {
    let mut largest = [Leak { bytes: 0, blocks: 0, place: null() }; SHOWN];
    let (mut bytes, mut blocks, mut samples, mut places) = (0u64, 0u64, 0, 0);
    TABLE.for_each_place(|place| {
        let leak = Leak { bytes: place.in_use.bytes, blocks: place.in_use.objects(), place };
        if place.samples == 0 {
            return;
        }
        (bytes, blocks) = (bytes + leak.bytes, blocks + leak.blocks);
        (samples, places) = (samples + place.samples, places + 1);
        let at = largest.partition_point(|other| other.bytes >= leak.bytes);
        if at < SHOWN {
            largest[at..].rotate_right(1);
            largest[at] = leak;
        }
    });
    // From here on no lock is held: names are asked of the loader.
    let mut sink = |bytes: &[u8]| write_all(stderr::kept(), bytes);
    let mut text = Text::new(&mut sink);
    text.text("fairground: leaks: ");
    if places == 0 {
        text.text("nothing that was sampled is in use at exit");
    } else {
        write_amount(&mut text, mean, bytes, blocks);
        text.text(" not freed at exit, from ").number(places);
        text.text(if places == 1 { " place" } else { " places" });
    }
    if mean == 1 {
        text.text(" (exact: every block was recorded)\n");
    } else {
        text.text(" (estimated from ").number(samples).text(" samples, one every ").number(mean);
        text.text(" bytes on average; profile_every:1 records every block)\n");
    }
    for leak in largest.iter().filter(|leak| !leak.place.is_null()) {
        text.text("  ");
        write_amount(&mut text, mean, leak.bytes, leak.blocks);
        text.text(" from\n");
        // SAFETY: places are there for good.
        for &frame in unsafe { (*leak.place).frames() }.iter().take(FRAMES) {
            text.text("    ");
            write_frame(&mut text, frame);
            text.text("\n");
        }
    }
    if places > SHOWN {
        text.text("  and ").number(places - SHOWN).text(" more places with less\n");
    }
}

fn write_amount(text: &mut Text, mean: usize, bytes: u64, blocks: u64) {
    text.text(if mean == 1 { "" } else { "about " }).number(bytes as usize).text(" bytes in ").number(blocks as usize);
    text.text(if blocks == 1 { " block" } else { " blocks" });
}

/// `function+offset (file+offset)`.
fn write_frame(text: &mut Text, address: usize) {
    let mut info = libc::Dl_info {
        dli_fname: null(),
        dli_fbase: null::<u8>().cast_mut().cast(),
        dli_sname: null(),
        dli_saddr: null::<u8>().cast_mut().cast(),
    };
    // SAFETY: any address may be asked for; the texts stay while the image is loaded.
    let (file, function) = unsafe {
        if libc::dladdr(core::ptr::without_provenance(address), &mut info) == 0 {
            text.hex(address);
            return;
        }
        (text_of(info.dli_fname), text_of(info.dli_sname))
    };
    if !function.is_empty() {
        text.bytes(function).text("+").hex(address - info.dli_saddr.addr()).text(" ");
    }
    text.text("(").bytes(file).text("+").hex(address - info.dli_fbase.addr()).text(")");
}

/// # Safety
/// Null, or a text that ends with a zero byte and stays.
unsafe fn text_of<'a>(text: *const core::ffi::c_char) -> &'a [u8] {
    // SAFETY: by the caller.
    if text.is_null() { b"" } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}
