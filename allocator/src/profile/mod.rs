//! The heap profile: which code allocates how much, and what of it is in use, from samples.
//!
//! ```text
//! malloc ── slow path (class tables are zeroes) ── watch ── alloc: is it a sample? ──no── as ever
//!                                                                │ yes
//!                              backtrace (unwind, cfi, image) ── pages of its own ── table
//! free of a sample ── granule byte 0 ── slow path ── watch ── forget ── table
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | `sampler` | which allocations are sampled, and what each sample stands for |
//! | `unwind`, `cfi`, `image` | backtraces: registers, call frame information, the images in the process |
//! | `table` | places with their counts; samples in use |
//! | `pprof`, `proto`, `output` | the profile as a file: what is in it, its encoding, the file |
//! | `leaks` | the report at exit |
//!
//! While a profile is taken every allocation goes through the slow path, to be counted by its thread's sampler; most frees stay
//! on the hot path. That works because a sampled block is a run of pages of its own (or an extent): its free finds no class in
//! the granule table and comes here. The tag of such a run bears `SAMPLED`, so that the frees of other runs ask no table.
//!
//! Changing the size of a block counts as a free and an allocation. Runs and extents can become samples where they are; a
//! smaller block that would be one is not resized in place but copied.
//!
//! An allocation by a thread that has ended (in a late destructor) is not counted.

mod cfi;
mod image;
mod leaks;
mod output;
mod pprof;
mod proto;
pub(crate) mod sampler;
pub(crate) mod table;
mod unwind;

use crate::block::{self, Block, Found};
use crate::config;
use crate::memblock::{MEMBLOCK, granule};
use crate::page::{Kind, Tag};
use crate::thread;
use crate::thread_heap::ThreadHeap;
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Relaxed},
};
use table::TABLE;
use unwind::Backtrace;

pub use output::WriteError;

/// What marks the tag of a run that is a sample.
const SAMPLED: u8 = 1;

/// Bytes between two samples on average, if a profile is taken.
pub(crate) fn mean() -> Option<usize> {
    let config = config::get();
    (config.profile || config.leaks).then_some(config.profile_every)
}

/// Begins a thread's sampler if that has not happened.
fn begin(heap: &ThreadHeap, mean: usize) {
    heap.sampler.begin(mean, || {
        // SAFETY: reads the auxiliary vector; the kernel's sixteen random bytes are there for good.
        let random = unsafe {
            let bytes = core::ptr::with_exposed_provenance::<u64>(libc::getauxval(libc::AT_RANDOM) as usize);
            if bytes.is_null() { 0 } else { bytes.read_unaligned() }
        };
        random ^ (&raw const *heap).addr() as u64
    });
}

/// Counts an allocation; a block if it is a sample and there is memory for it, else None: serve it as ever.
pub(crate) fn alloc(align: usize, size: usize) -> Option<Block> {
    let mean = mean()?;
    let heap = thread::current()?;
    begin(heap, mean);
    if !heap.sampler.take(size, mean) {
        return None;
    }
    let block = block::alloc_apart(align, size, SAMPLED)?;
    TABLE.remember(block.address.addr(), size, mean, Backtrace::take().frames());
    Some(block)
}

/// Notes that a block is about to be freed, if it is a sample. For every free that comes to the slow path.
pub(crate) fn forget(p: *mut u8) {
    if let Some(mean) = mean()
        && may_be_sample(p)
    {
        TABLE.forget(p.addr(), mean);
    }
}

/// Whether it is worth asking the table: a marked run, or an address outside the reservation.
fn may_be_sample(p: *mut u8) -> bool {
    let Some(index) = MEMBLOCK.index_of(p.addr()) else { return !p.is_null() };
    MEMBLOCK.granule(index).load(Relaxed) == granule::NONE
        && MEMBLOCK.page_map().page(index).tag() == Tag::new(Kind::Run, 0, SAMPLED)
}

/// `block::resize`, with the change counted.
pub(crate) fn resize(p: *mut u8, found: Found, align: usize, size: usize) -> *mut u8 {
    let (Some(mean), Some(heap)) = (mean(), thread::existing()) else { return block::resize(p, found, align, size) };
    begin(heap, mean);
    if found.class().is_some() {
        // Its free does not come here.
        if heap.sampler.is_due(size, mean) {
            return null_mut();
        }
        let q = block::resize(p, found, align, size);
        if !q.is_null() {
            heap.sampler.take(size, mean);
        }
        return q;
    }
    // Forgotten before it is moved: from then on its address may be another block's.
    let forgotten = if may_be_sample(p) { TABLE.forget(p.addr(), mean) } else { None };
    let q = block::resize(p, found, align, size);
    if q.is_null() {
        if let Some(forgotten) = forgotten {
            TABLE.restore(p.addr(), mean, forgotten);
        }
    } else if heap.sampler.take(size, mean) {
        if let Some(index) = MEMBLOCK.index_of(q.addr()) {
            MEMBLOCK.page_map().page(index).set_tag(Tag::new(Kind::Run, 0, SAMPLED));
        }
        TABLE.remember(q.addr(), size, mean, Backtrace::take().frames());
    }
    q
}

/// Writes the profile as it is now to a file, in pprof's format (protobuf, not compressed). An existing file is replaced.
///
/// # Errors
/// No profile is being taken (neither `profile:true` nor `leaks:true` is configured), or the file cannot be written.
///
/// # Examples
/// ```
/// use fairground_allocator::profile::{WriteError, write};
///
/// // Without `profile:true` in the configuration there is nothing to write.
/// assert_eq!(write(c"/tmp/now.heap.pb"), Err(WriteError::NotProfiling));
/// ```
pub fn write(path: &CStr) -> Result<(), WriteError> {
    let mean = mean().ok_or(WriteError::NotProfiling)?;
    pprof::write(path, mean)
}

/// What the configuration asks for at the end of the process: the profile, and the report of leaks. Once; further calls do
/// nothing.
#[cold]
#[inline(never)]
pub(crate) fn at_exit(mean: usize) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, AcqRel) {
        return;
    }
    let config = config::get();
    if config.profile {
        output::with_path(config.profile_to.bytes(), |path| {
            if let Err(error) = pprof::write(path, mean) {
                error.report(path);
            }
        });
    }
    if config.leaks {
        leaks::report(mean);
    }
}
