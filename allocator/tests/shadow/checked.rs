//! Every call to the allocator under test, and what must hold after it.
//!
//! | call | what is checked |
//! |---|---|
//! | any that gives a block | not null, aligned, usable size at least what was asked for, no overlap, `errno` untouched |
//! | `calloc`, `alloc_zeroed` | every byte asked for is zero |
//! | `realloc` | contents kept up to the smaller size |
//! | any that takes a block | usable size as it was, contents as they were filled |
//! | more than there is | null, `errno` is `ENOMEM` |
//!
//! A [`Fault`] makes these calls lie once, in place of the allocator, to prove that the checks notice.

use super::block::{Block, Interface};
use super::map::{Owner, ShadowMap};
use super::random::Random;
use fairground_allocator::{Fairground, malloc};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A mistake of the allocator, made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The new block begins inside one that is in use.
    Overlap,
    /// The new block lies deep inside a large one that is in use.
    OverlapLarge,
    /// The new block has one in use inside of it.
    Around,
    /// The same address is given to two threads.
    Twice,
    /// A byte of a block changes while it is in use.
    LostByte,
    /// `realloc` loses a byte.
    LostInRealloc,
    /// `calloc` leaves a byte that is not zero.
    NotZero,
    /// The block is not aligned as it should be.
    Misaligned,
    /// Less is usable than was asked for.
    TooSmall,
    /// `usable_size` changes its mind.
    SizeChanged,
    /// `errno` is changed though the call succeeds.
    Errno,
    /// There is no memory, though there should be.
    Null,
}

impl Fault {
    /// Each with the words by which it is noticed.
    pub const ALL: [(Fault, &'static str); 12] = [
        (Fault::Overlap, "two blocks overlap"),
        (Fault::OverlapLarge, "two blocks overlap"),
        (Fault::Around, "two blocks overlap"),
        (Fault::Twice, "two blocks overlap"),
        (Fault::LostByte, "1 of"),
        (Fault::LostInRealloc, "after realloc: 1 of"),
        (Fault::NotZero, "is not zero"),
        (Fault::Misaligned, "is not aligned to"),
        (Fault::TooSmall, "are usable, fewer than"),
        (Fault::SizeChanged, "bytes are usable now"),
        (Fault::Errno, "errno"),
        (Fault::Null, "no memory"),
    ];
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub interface: Interface,
    pub size: usize,
    pub align: usize,
    pub zeroed: bool,
}

impl Request {
    fn layout(self) -> Layout {
        Layout::from_size_align(self.size, self.align).expect("a layout")
    }

    fn call(self) -> &'static str {
        match (self.interface, self.zeroed, self.align > 16) {
            (Interface::C, true, _) => "calloc",
            (Interface::C, false, false) => "malloc",
            (Interface::C, false, true) => "memalign",
            (Interface::Rust, true, _) => "alloc_zeroed",
            (Interface::Rust, false, _) => "alloc",
        }
    }

    /// As the interfaces allow it: `calloc` knows no alignment, a layout has a byte at least.
    pub fn legal(mut self) -> Request {
        match self.interface {
            Interface::C if self.zeroed => self.align = 16,
            Interface::C => self.align = self.align.max(16),
            Interface::Rust => self.size = self.size.max(1),
        }
        self
    }
}

/// Names a thread in reports.
static THREADS: AtomicU32 = AtomicU32::new(1);

/// The value `errno` has before each call.
const UNTOUCHED: i32 = 4711;

fn errno() -> *mut i32 {
    // SAFETY: errno's address is valid for this thread.
    unsafe { libc::__errno_location() }
}

/// One thread's checked calls.
pub struct Checked {
    map: Option<&'static ShadowMap>,
    thread: u32,
    serial: u32,
    /// To be made, once, at a call that suits it, from the call with this number on.
    fault: Option<(Fault, u32)>,
}

impl Checked {
    /// Without a map, overlaps show in the contents only. That is for ThreadSanitizer: the map's locks order the threads'
    /// accesses, also those that the allocator has failed to order.
    pub fn new(map: Option<&'static ShadowMap>, fault: Option<(Fault, u32)>) -> Checked {
        Checked { map, thread: THREADS.fetch_add(1, Relaxed), serial: 0, fault }
    }

    fn is_due(&mut self, fault: Fault) -> bool {
        let due = self.fault.is_some_and(|(this, from)| this == fault && self.serial >= from);
        if due {
            self.fault = None;
        }
        due
    }

    /// A block for the request, checked and filled. `all` fills every usable byte, not only those asked for.
    pub fn allocate(&mut self, request: Request, all: bool) -> Block {
        let request = request.legal();
        let start = self.call_alloc(request);
        let block = self.given(start, request, request.call(), all);
        if request.zeroed {
            self.check_zeroes(&block);
        }
        block.fill();
        if block.filled != 0 && self.is_due(Fault::LostByte) {
            self.spoil(&block, block.filled);
        }
        block
    }

    /// Address, and usable size where a fault makes one up.
    fn call_alloc(&mut self, request: Request) -> (*mut u8, Option<usize>) {
        // SAFETY: errno's address.
        unsafe { *errno() = UNTOUCHED };
        if let Some(lie) = self.lie(request) {
            return lie;
        }
        // SAFETY: layouts have a byte at least.
        let start = unsafe {
            match (request.interface, request.zeroed) {
                (Interface::C, false) if request.align <= 16 => malloc::malloc(request.size),
                (Interface::C, false) => malloc::memalign(request.align, request.size),
                (Interface::C, true) if request.size.is_multiple_of(12) => malloc::calloc(12, request.size / 12),
                (Interface::C, true) => malloc::calloc(request.size, 1),
                (Interface::Rust, false) => Fairground.alloc(request.layout()),
                (Interface::Rust, true) => Fairground.alloc_zeroed(request.layout()),
            }
        };
        (start, None)
    }

    /// What a new block must be.
    fn given(&mut self, start: (*mut u8, Option<usize>), request: Request, call: &'static str, all: bool) -> Block {
        let Request { size, align, interface, .. } = request;
        let (start, usable) = start;
        if self.is_due(Fault::Errno) {
            // SAFETY: errno's address.
            unsafe { *errno() = libc::ENOENT };
        }
        // SAFETY: errno's address.
        let error = unsafe { *errno() };
        assert!(!start.is_null(), "{call}: no memory for {request:?}");
        assert_eq!(error, UNTOUCHED, "{call} changed errno for {request:?}");
        assert!(start.addr().is_multiple_of(align), "{call}: {start:?} is not aligned to {align}, for {request:?}");
        // SAFETY: a block.
        let mut usable = usable.unwrap_or_else(|| unsafe { malloc::usable_size(start) });
        if size != 0 && self.is_due(Fault::TooSmall) {
            usable = size - 1;
        }
        assert!(usable >= size, "{call}: {usable} bytes at {start:?} are usable, fewer than {request:?} asked for");
        self.serial += 1;
        let serial = (self.thread as u64) << 32 | self.serial as u64;
        let owner = Owner { start: start.expose_provenance(), usable, size, align, serial, thread: self.thread, call };
        if let Some(map) = self.map {
            map.enter(owner);
        }
        // A layout's bytes are all that Rust's interface gives.
        Block { owner, interface, filled: if all && interface == Interface::C { usable } else { size } }
    }

    fn check_zeroes(&mut self, block: &Block) {
        if block.owner.size != 0 && self.is_due(Fault::NotZero) {
            self.spoil(block, block.owner.size);
        }
        // SAFETY: a block of this size.
        let bytes = unsafe { std::slice::from_raw_parts(block.start(), block.owner.size) };
        const ZEROES: [u8; 4096] = [0; 4096];
        if bytes.chunks(ZEROES.len()).any(|piece| *piece != ZEROES[..piece.len()]) {
            let first = bytes.iter().position(|&byte| byte != 0);
            panic!("byte {first:?} of {} is not zero", block.owner);
        }
    }

    /// Checks a block in between.
    pub fn check(&mut self, block: &Block) {
        block.check(block.start(), usize::MAX, "in use");
        self.check_usable(block);
    }

    fn check_usable(&mut self, block: &Block) {
        // SAFETY: a block.
        let mut now = unsafe { malloc::usable_size(block.start()) };
        if self.is_due(Fault::SizeChanged) {
            now += 16;
        }
        assert!(now == block.owner.usable, "{now} bytes are usable now of {}", block.owner);
    }

    /// The block with another size, checked and filled anew.
    pub fn reallocate(&mut self, block: Block, size: usize, all: bool) -> Block {
        self.check(&block);
        let Owner { align, size: old, .. } = block.owner;
        let request = Request { interface: block.interface, size, align, zeroed: false }.legal();
        self.leave(&block);
        // SAFETY: the block is live and ours; its layout is what it was asked for with. After C's realloc a block has no
        // special alignment.
        let (start, request, call) = unsafe {
            *errno() = UNTOUCHED;
            match block.interface {
                Interface::C => (malloc::realloc(block.start(), size), Request { align: 16, ..request }, "realloc"),
                Interface::Rust => {
                    let layout = Request { size: old, ..request }.layout();
                    (Fairground.realloc(block.start(), layout, request.size), request, "realloc with a layout")
                }
            }
        };
        let new = self.given((start, None), request, call, all);
        if new.owner.size.min(block.filled) != 0 && self.is_due(Fault::LostInRealloc) {
            self.spoil(&new, new.owner.size.min(block.filled));
        }
        block.check(new.start(), new.owner.size, "after realloc");
        new.fill();
        new
    }

    /// Gives a block back. `sized` says its size where the interface leaves that open.
    pub fn free(&mut self, block: Block, sized: bool) {
        block.check(block.start(), usize::MAX, "at free");
        self.check_usable(&block);
        self.leave(&block);
        let Owner { size, align, .. } = block.owner;
        // SAFETY: the block is live and ours, and freed once, with what it was asked for with.
        unsafe {
            *errno() = UNTOUCHED;
            match block.interface {
                Interface::C if !sized => malloc::free(block.start()),
                Interface::C if align <= 16 => malloc::free_sized(block.start(), size),
                Interface::C => malloc::free_aligned_sized(block.start(), align, size),
                Interface::Rust => {
                    let request = Request { interface: Interface::Rust, size, align, zeroed: false };
                    Fairground.dealloc(block.start(), request.layout())
                }
            }
            assert_eq!(*errno(), UNTOUCHED, "free changed errno: {}", block.owner);
        }
    }

    fn leave(&self, block: &Block) {
        if let Some(map) = self.map {
            map.remove(&block.owner);
        }
    }

    /// Requests that cannot be granted; and a block that one of them was about stays as it was.
    pub fn ask_too_much(&mut self, block: Option<&Block>) {
        const MOST: usize = isize::MAX as usize;
        let refused = |what: &str, call: &dyn Fn() -> *mut u8| {
            // SAFETY: errno's address.
            unsafe { *errno() = UNTOUCHED };
            let start = call();
            // SAFETY: as above.
            let error = unsafe { *errno() };
            assert!(start.is_null(), "{what} gave {start:?}");
            assert_eq!(error, libc::ENOMEM, "errno after {what}");
        };
        refused("malloc of half the address space", &|| malloc::malloc(MOST));
        refused("malloc of all of it", &|| malloc::malloc(usize::MAX));
        refused("memalign beyond it", &|| malloc::memalign(1 << 20, usize::MAX - 100));
        refused("calloc of a product that overflows", &|| malloc::calloc(1 << 33, 1 << 33));
        if let Some(block) = block.filter(|block| block.interface == Interface::C) {
            // SAFETY: a block, which a realloc that fails leaves alone.
            refused("realloc beyond it", &|| unsafe { malloc::realloc(block.start(), MOST) });
            self.check(block);
        }
    }

    // ---------------------------------------------------------------------------------------------- faults

    /// Changes one of the first bytes of a block.
    fn spoil(&self, block: &Block, size: usize) {
        let at = Random::new(self.serial as u64).below(size);
        // SAFETY: inside the block.
        unsafe { *block.start().add(at) ^= 1 };
    }

    /// In place of a block: an address, and the usable size to go with it.
    fn lie(&mut self, request: Request) -> Option<(*mut u8, Option<usize>)> {
        self.fault?;
        let Request { size, align, .. } = request;
        let real = |size| malloc::malloc(size).expose_provenance();
        if self.is_due(Fault::Null) {
            return Some((std::ptr::null_mut(), None));
        }
        if self.is_due(Fault::Misaligned) {
            return Some((std::ptr::with_exposed_provenance_mut(real(size + align) + align / 2 + 1), None));
        }
        // A block in use, somewhere in what is really a block, and the one to be given, likewise.
        let thread = self.thread;
        let owner = |start, usable, thread| Owner {
            start,
            usable,
            size: usable,
            align: 16,
            serial: 0,
            thread,
            call: "a fault",
        };
        let (old, new) = if align > 16 {
            return None;
        } else if self.is_due(Fault::Twice) {
            let start = real(size);
            (owner(start, size, thread + 1), start)
        } else if self.is_due(Fault::Overlap) {
            let start = real(size + 48);
            (owner(start, 17, thread), start + 16)
        } else if self.is_due(Fault::OverlapLarge) {
            let start = real(size + 400_000);
            (owner(start, 400_000, thread), start + 200_000)
        } else if self.is_due(Fault::Around) {
            let start = real(size + 400_000);
            self.map?.enter(owner(start + 200_000, 16, thread));
            return Some((std::ptr::with_exposed_provenance_mut(start), Some(size + 400_000)));
        } else {
            return None;
        };
        self.map?.enter(old);
        Some((std::ptr::with_exposed_provenance_mut(new), Some(size)))
    }
}
