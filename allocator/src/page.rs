//! The page map: a descriptor of 16 bytes for every 4 KiB page (the kernel's `struct page` and its vmemmap).
//!
//! A descriptor says what *starts* at its page: a free block of the buddy system, a slab, a chunk of the bins, a run of
//! pages. Pages inside such a thing carry [`Kind::Inside`], so a pointer into the middle of one is recognised as such. Two
//! engines lay their own records over the descriptors of the pages they own: a slab over the sixteen of its 64 KiB granule
//! (`slab/slab.rs`), and nothing looks at those but the slab layer, for the buddy system only ever inspects the first page
//! of an aligned block, and smaller blocks than a granule only where one beside them is free: that page's tag is written as one word,
//! whoever owns the page.
//!
//! Who may write: the engine that owns the page (buddy: under the zone's lock; chunk: under the bins' lock; slab: see
//! there). `tag` is atomic because `free` reads it without a lock: the pointer it was given orders that read after the
//! write that made the allocation, and a wrong pointer may read anything, which it then reports.

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

/// Number of a page, counted from the start of the reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct PageIndex(pub(crate) u32);

impl PageIndex {
    /// Stands for 'no page' in links; page 0 always belongs to the allocator's own metadata.
    pub(crate) const NONE: PageIndex = PageIndex(0);

    /// The page `n` further on.
    #[inline]
    pub(crate) fn add(self, n: u32) -> PageIndex {
        PageIndex(self.0 + n)
    }

    /// True for [`PageIndex::NONE`].
    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True if the page is a multiple of `pages` (a power of two).
    #[inline]
    pub(crate) fn is_aligned(self, pages: u32) -> bool {
        self.0 & (pages - 1) == 0
    }
}

/// What starts at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nothing: the page is unused, or inside something that starts before it.
    Inside = 0,
    /// A free block of the buddy system; `a` is its order, `b` its migrate type.
    Buddy = 1,
    /// A slab; `b` is its size class.
    Slab = 2,
    /// A chunk of the bins in use; `a` is the unit in the page where it starts, `b` its class.
    Chunk = 3,
    /// A free chunk of the bins; fields as for `Chunk`.
    FreeChunk = 4,
    /// A run of whole pages in use; `n` is their number; `b` is 1 if the heap profile has it (`profile`).
    Run = 5,
    /// Pages the allocator itself uses (heaps).
    Reserved = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Kind {
        match byte {
            1 => Kind::Buddy,
            2 => Kind::Slab,
            3 => Kind::Chunk,
            4 => Kind::FreeChunk,
            5 => Kind::Run,
            6 => Kind::Reserved,
            _ => Kind::Inside,
        }
    }
}

/// The first word of a descriptor, written at once: kind in bits 12 to 15, `a` in bits 8 to 11, `b` in bits 16 to 23. The
/// low byte is zero, so that for a chunk the low half is comparable with its address (`bins::chunk_class`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Tag(pub(crate) u32);

impl Tag {
    /// Nothing starts here.
    pub(crate) const INSIDE: Tag = Tag(0);

    #[inline]
    pub(crate) const fn new(kind: Kind, a: u8, b: u8) -> Tag {
        debug_assert!(a < 16);
        Tag((kind as u32) << 12 | (a as u32) << 8 | (b as u32) << 16)
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::from_byte((self.0 >> 12) as u8 & 15)
    }

    #[inline]
    pub(crate) fn a(self) -> u8 {
        (self.0 >> 8) as u8 & 15
    }

    #[inline]
    pub(crate) fn b(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// A page's descriptor.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub(crate) struct Page {
    tag: AtomicU32,
    /// Pages of a run; units of a chunk.
    pub(crate) n: AtomicU16,
    /// Units of the chunk before this one in its region, 0 if this is the first; pages beyond 65,535 never occur.
    pub(crate) before: AtomicU16,
    /// Links of the list this thing is on while free.
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
}

const _: () = assert!(size_of::<Page>() == 16);

impl Page {
    #[inline]
    pub(crate) fn tag(&self) -> Tag {
        Tag(self.tag.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_tag(&self, tag: Tag) {
        self.tag.store(tag.0, Relaxed);
    }

    /// Changes the tag if it is what the caller believes; of two threads that free the same thing, one learns of it.
    #[inline]
    pub(crate) fn replace_tag(&self, old: Tag, new: Tag) -> bool {
        self.tag.compare_exchange(old.0, new.0, Relaxed, Relaxed).is_ok()
    }
}

/// The descriptors as an array. A copyable handle, so that the engines above can be tested on a small array of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageMap(*const Page);

// SAFETY: a handle to memory that is only accessed by the rules in the module's text, through atomics.
unsafe impl Send for PageMap {}
// SAFETY: as above.
unsafe impl Sync for PageMap {}

impl PageMap {
    /// # Safety
    /// `base` points to as many descriptors as pages are ever asked for, and they live for good.
    pub(crate) const unsafe fn new(base: *const Page) -> PageMap {
        PageMap(base)
    }

    /// The descriptor of a page.
    #[inline]
    pub(crate) fn page(self, index: PageIndex) -> &'static Page {
        // SAFETY: `new`'s caller promised that every index used is covered, for good; all fields are atomics.
        unsafe { &*self.0.add(index.0 as usize) }
    }
}

/// A doubly linked list of pages through their descriptors; guarded by whatever lock guards the head.
#[derive(Debug)]
pub(crate) struct PageList {
    head: PageIndex,
    tail: PageIndex,
}

impl PageList {
    pub(crate) const fn new() -> PageList {
        PageList { head: PageIndex::NONE, tail: PageIndex::NONE }
    }

    #[inline]
    pub(crate) fn first(&self) -> PageIndex {
        self.head
    }

    #[inline]
    pub(crate) fn last(&self) -> PageIndex {
        self.tail
    }

    pub(crate) fn push(&mut self, map: PageMap, index: PageIndex) {
        let page = map.page(index);
        page.prev.store(0, Relaxed);
        page.next.store(self.head.0, Relaxed);
        if self.head.is_none() {
            self.tail = index;
        } else {
            map.page(self.head).prev.store(index.0, Relaxed);
        }
        self.head = index;
    }

    /// As [`PageList::push`], at the other end: what is wanted last.
    pub(crate) fn push_back(&mut self, map: PageMap, index: PageIndex) {
        let page = map.page(index);
        page.prev.store(self.tail.0, Relaxed);
        page.next.store(0, Relaxed);
        if self.tail.is_none() {
            self.head = index;
        } else {
            map.page(self.tail).next.store(index.0, Relaxed);
        }
        self.tail = index;
    }

    pub(crate) fn remove(&mut self, map: PageMap, index: PageIndex) {
        let page = map.page(index);
        let (next, prev) = (PageIndex(page.next.load(Relaxed)), PageIndex(page.prev.load(Relaxed)));
        if prev.is_none() {
            debug_assert_eq!(self.head, index);
            self.head = next;
        } else {
            map.page(prev).next.store(next.0, Relaxed);
        }
        if next.is_none() {
            debug_assert_eq!(self.tail, index);
            self.tail = prev;
        } else {
            map.page(next).prev.store(prev.0, Relaxed);
        }
    }

    /// The page after `index` on its list.
    pub(crate) fn after(map: PageMap, index: PageIndex) -> PageIndex {
        PageIndex(map.page(index).next.load(Relaxed))
    }
}
