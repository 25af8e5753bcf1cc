//! Statistics: tables named and shaped like the kernel's, and a summary, as text or as JSON.
//!
//! | part | what it is | kernel's |
//! |---|---|---|
//! | `collect` | numbers out of the layers, one lock at a time | |
//! | `smaps` | what the kernel says is resident, and in huge pages | `/proc/self/smaps` |
//! | `tables` | the text | `/proc/buddyinfo`, `pagetypeinfo`, `zoneinfo`, `slabinfo` |
//! | `json` | the same numbers for programs | |
//! | `occasions` | at exit and on a signal, where the configuration asks for it | |
//!
//! # What the numbers mean together
//!
//! Nothing is counted on hot paths: everything is found by looking when somebody asks. A zone's numbers are of one moment (its
//! lock is held), so its free blocks add up to its free pages. A slab's number is of one moment too. Different zones, slabs and
//! threads are looked at one after the other: sums over them are as exact as the program is quiet.
//!
//! *Slabs* are found by walking the granule table of the chunks handed out. A granule that names a class is looked at under the
//! lock of that class's cache, after asking for the byte again: under it no slab of the class goes (`slab::slab`), so the record
//! is one. Slabs without objects may be created meanwhile, which does not matter.
//!
//! *Sheaves* belong to threads, which write `top` at every call. Another thread reads that word atomically (relaxed). That is no
//! race: after a heap is published each write of it is either an atomic store (`set_top`) or the one instruction of
//! `arch::advance`, which stores an aligned word whole and which the compiler treats as unknown code that could have stored it
//! atomically. ThreadSanitizer does not see into that instruction, and sees atomic accesses elsewhere. The value may be old: it
//! is cut to what a sheaf can hold, and dereferenced by nobody.
//!
//! # In a signal handler
//!
//! The handler may have interrupted code of ours that holds a lock, so it never waits: each lock is tried once, and where one is
//! taken the table says `busy` (JSON: null). The alternative, to leave a note for the next slow path, would write nothing for a
//! program that hangs, which is when people send signals. All else it does is system calls, which leave errno alone.

mod collect;
mod json;
mod occasions;
mod smaps;
mod tables;

pub use collect::{SlabInfo, Summary, Zone};
pub(crate) use occasions::arrange;
pub use smaps::Resident;

use crate::lock::Patience;
use crate::text::Text;

/// Orders of free blocks: 4 KiB to 4 MiB.
pub const ORDERS: usize = crate::zone::buddy::NR_ORDERS;

/// Names of the uses memory is kept apart by, in the order of [`Zone::free_blocks`].
pub const USES: [&str; crate::zone::buddy::NR_TYPES] = ["Slab", "Chunk", "Direct", "Stack"];

/// The summary's numbers. Reads `/proc/self/smaps`.
///
/// ```
/// let summary = fairground_allocator::stats::summary();
/// if let Some(resident) = summary.resident {
///     println!("{} of {} resident bytes lie in huge pages", resident.huge_bytes, resident.bytes);
/// }
/// ```
pub fn summary() -> Summary {
    collect::summary(Patience::Wait)
}

/// Calls `each` with the numbers of every zone.
///
/// ```
/// fairground_allocator::stats::for_each_zone(|zone| {
///     assert!(zone.free_pages <= zone.present_pages);
/// });
/// ```
pub fn for_each_zone(mut each: impl FnMut(&Zone)) {
    collect::for_each_zone(Patience::Wait, |_, zone| {
        if let Some(zone) = zone {
            each(zone);
        }
    });
}

/// The slab caches of all size classes, smallest first.
///
/// ```
/// let slabs = fairground_allocator::stats::slabs();
/// assert_eq!(slabs[0].object_size_bytes, 16);
/// ```
pub fn slabs() -> [SlabInfo; collect::CLASSES] {
    collect::slabs(Patience::Wait)
}

/// Writes all tables, piece by piece, without allocating.
///
/// ```
/// let mut text = Vec::new();
/// fairground_allocator::stats::write_text(&mut |piece| text.extend_from_slice(piece));
/// assert!(text.starts_with(b"summary"));
/// ```
pub fn write_text(sink: &mut dyn FnMut(&[u8])) {
    tables::write(&mut Text::new(sink), Patience::Wait);
}

/// Writes the same numbers as one JSON object and a line end; its member `version` changes when a name changes its meaning.
///
/// ```
/// let mut text = Vec::new();
/// fairground_allocator::stats::write_json(&mut |piece| text.extend_from_slice(piece));
/// assert!(text.starts_with(b"{\"version\":1,"));
/// ```
pub fn write_json(sink: &mut dyn FnMut(&[u8])) {
    json::write(&mut Text::new(sink), Patience::Wait);
}
