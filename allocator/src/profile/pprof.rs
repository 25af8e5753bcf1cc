//! The profile as pprof reads it: `profile.proto` (github.com/google/pprof/tree/main/proto), not compressed.
//!
//! There are no names in it: pprof finds them in the files that the mappings name, and checks build ids. A location's number is
//! its address, so that none need be kept between; only whether it has been written already.
//!
//! Written in an order that needs no second pass: what the values are; mappings, while the loader is asked and before any lock
//! is taken; samples and locations, under the table's lock; texts whenever one is needed.

use super::image;
use super::output::{Output, WriteError};
use super::proto::{Message, write_bytes, write_number};
use super::table::TABLE;
use crate::os::map::{self, Access};
use core::ffi::CStr;

/// Fields of the message `Profile`.
mod field {
    pub(super) const SAMPLE_TYPE: u64 = 1;
    pub(super) const SAMPLE: u64 = 2;
    pub(super) const MAPPING: u64 = 3;
    pub(super) const LOCATION: u64 = 4;
    pub(super) const STRING_TABLE: u64 = 6;
    pub(super) const DROP_FRAMES: u64 = 7;
    pub(super) const TIME_NANOS: u64 = 9;
    pub(super) const PERIOD_TYPE: u64 = 11;
    pub(super) const PERIOD: u64 = 12;
    pub(super) const DEFAULT_SAMPLE_TYPE: u64 = 14;
}

/// Names of the allocator's own functions, and of Rust's on the way to it, as a regular expression over whole names: for programs
/// with the allocator compiled in. The preloaded library's frames are not in the profile in the first place.
const OWN_FRAMES: &str = "<?fairground_allocator.*|.*__rust_(alloc|alloc_zeroed|realloc)|__rustc.*|__rdl_.*|__rg_.*";

/// The most mappings noted; a program with more loaded libraries has locations without mapping.
const MAPPINGS: usize = 4096;

/// A mapping's addresses; its number is its place in the table plus one.
#[derive(Clone, Copy)]
struct Mapping {
    start: usize,
    end: usize,
}

/// Writes the profile of this process.
pub(crate) fn write(path: &CStr, mean: usize) -> Result<(), WriteError> {
    let mut output = Output::create(path)?;
    let (mappings, locations) = (Scratch::new(MAPPINGS), Scratch::new(count_frames() * 2));
    let (Some(mut mappings), Some(mut locations)) = (mappings, locations) else {
        let _ = output.finish();
        return Err(WriteError::System(libc::ENOMEM));
    };
    let mut writer = Writer { output: &mut output, texts: 0 };
    writer.head(mean);
    let nr_mappings = writer.mappings(mappings.slice());
    writer.samples(&mappings.slice()[..nr_mappings], locations.slice());
    output.finish()
}

/// Frames of all places. A few may be added before they are written.
fn count_frames() -> usize {
    let mut frames = 1024;
    TABLE.for_each_place(|place| frames += place.frames().len());
    frames
}

struct Writer<'a> {
    output: &'a mut Output,
    /// Texts written so far.
    texts: u64,
}

impl Writer<'_> {
    /// Writes a text; returns its number.
    fn text(&mut self, text: &[u8]) -> u64 {
        write_bytes(self.output, field::STRING_TABLE, text);
        self.texts += 1;
        self.texts - 1
    }

    fn head(&mut self, mean: usize) {
        self.text(b""); // number 0, by the format
        let [count, bytes] = [b"count".as_slice(), b"bytes"].map(|unit| self.text(unit));
        let kinds = [
            (b"alloc_objects".as_slice(), count),
            (b"alloc_space", bytes),
            (b"inuse_objects", count),
            (b"inuse_space", bytes),
        ];
        let mut default = 0;
        for (name, unit) in kinds {
            default = self.text(name);
            let kind = Message::new().number(1, default).number(2, unit);
            write_bytes(self.output, field::SAMPLE_TYPE, kind.bytes());
        }
        write_number(self.output, field::DEFAULT_SAMPLE_TYPE, default);
        let space = self.text(b"space");
        let period = Message::new().number(1, space).number(2, bytes);
        write_bytes(self.output, field::PERIOD_TYPE, period.bytes());
        write_number(self.output, field::PERIOD, mean as u64);
        let own_frames = self.text(OWN_FRAMES.as_bytes());
        write_number(self.output, field::DROP_FRAMES, own_frames);
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a place for the time.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
        write_number(self.output, field::TIME_NANOS, now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
    }

    /// Writes the mappings of code and notes them; returns how many.
    fn mappings(&mut self, noted: &mut [Mapping]) -> usize {
        let mut n = 0;
        image::for_each(|image| {
            let mut program = [0u8; 4096];
            let name = match image.name().to_bytes() {
                b"" => path_of_the_program(&mut program),
                name => name,
            };
            let name = self.text(name);
            let build_id = image.build_id().map_or(0, |id| self.hex(id));
            for (range, offset) in image.code() {
                if n == noted.len() {
                    return false;
                }
                // A mapping consists of whole pages, as in /proc/PID/maps.
                let page = map::os_page_size();
                let skipped = range.start % page;
                noted[n] = Mapping { start: range.start - skipped, end: range.end.next_multiple_of(page) };
                let mapping = Message::new()
                    .number(1, n as u64 + 1)
                    .number(2, noted[n].start as u64)
                    .number(3, noted[n].end as u64)
                    .number(4, (offset - skipped.min(offset)) as u64)
                    .number(5, name)
                    .number(6, build_id);
                write_bytes(self.output, field::MAPPING, mapping.bytes());
                n += 1;
            }
            true
        });
        n
    }

    /// Writes bytes as a text of hexadecimal digits; returns its number.
    fn hex(&mut self, bytes: &[u8]) -> u64 {
        let mut text = [0u8; 128];
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut len = 0;
        for (to, digit) in text.iter_mut().zip(digits) {
            *to = b"0123456789abcdef"[digit as usize];
            len += 1;
        }
        self.text(&text[..len])
    }

    /// Writes the samples, and before each the locations that are new. `known` is a hash table of addresses, 0 where it is free.
    fn samples(&mut self, mappings: &[Mapping], known: &mut [usize]) {
        let mut room = known.len() / 2;
        TABLE.for_each_place(|place| {
            // Places that came after the table of locations was made.
            if room < place.frames().len() {
                return;
            }
            for &address in place.frames() {
                let start = address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
                let slot = (0..known.len())
                    .map(|step| (start + step) % known.len())
                    .find(|&slot| known[slot] == 0 || known[slot] == address);
                let Some(slot) = slot.filter(|&slot| known[slot] == 0) else { continue };
                known[slot] = address;
                room -= 1;
                let mapping = mappings.iter().position(|m| m.start <= address && address < m.end);
                let location = Message::new()
                    .number(1, address as u64)
                    .number(2, mapping.map_or(0, |n| n as u64 + 1))
                    .number(3, address as u64);
                write_bytes(self.output, field::LOCATION, location.bytes());
            }
            let (all, in_use) = (place.allocated, place.in_use);
            let sample = Message::new()
                .numbers(1, place.frames().iter().map(|&address| address as u64))
                .numbers(2, [all.objects(), all.bytes, in_use.objects(), in_use.bytes].into_iter());
            write_bytes(self.output, field::SAMPLE, sample.bytes());
        });
    }
}

fn path_of_the_program(buffer: &mut [u8]) -> &[u8] {
    // SAFETY: the buffer is writable for its length.
    let len = unsafe { libc::readlink(c"/proc/self/exe".as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    &buffer[..usize::try_from(len).unwrap_or(0)]
}

/// Memory for as long as a profile is written, straight from the kernel, all zeroes.
struct Scratch<T> {
    start: *mut T,
    len: usize,
}

impl<T: Copy> Scratch<T> {
    fn new(len: usize) -> Option<Scratch<T>> {
        let start: *mut T =
            map::map((len * size_of::<T>()).next_multiple_of(map::os_page_size()), Access::ReadWrite).cast();
        (!start.is_null()).then_some(Scratch { start, len })
    }

    fn slice(&mut self) -> &mut [T] {
        // SAFETY: `len` elements of zeroes, which are valid for the whole numbers kept here.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the borrow of its slice has ended.
        unsafe { map::unmap(self.start.cast(), (self.len * size_of::<T>()).next_multiple_of(map::os_page_size())) };
    }
}
