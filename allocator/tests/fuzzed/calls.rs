//! A string of bytes as a sequence of calls: what the fuzzer of the malloc API runs.
//!
//! Each step is one byte that says what to do, followed by what it needs. The bytes may end anywhere; every string is a
//! sequence. Blocks are in a table of slots; a step that allocates for a taken slot frees what was there. At the end all is
//! freed, and what the thread has cached is checked.
//!
//! ```text
//! byte  0..=95    allocate: request                       176..=199  realloc: slot, size
//!      96..=159   free: slot                              200..=215  check: slot
//!     160..=175   free with its size: slot                216..      rarer things, see `rare`
//!
//! request  slot (1), shape (1): interface, zeroes, fill, alignment;  size
//! size     kind (1): a border, and how far beside it (1); or a number of one to three bytes
//! ```

use crate::shadow::block::{Block, Interface};
use crate::shadow::checked::{Checked, Request};
use crate::shadow::map::ShadowMap;
use fairground_allocator::malloc;

/// Blocks at a time. Enough to fill a slab of each size above 1 KiB, and small enough that a fuzzer meets the same slot again.
const SLOTS: usize = 64;

/// Most a sequence may have at a time, so that a fuzzer does not run into its limit of memory.
const MOST: usize = 64 << 20;

/// Borders above the classes: of pageblocks, of runs of pages, and of blocks with a mapping of their own. Large sizes are rare,
/// for one takes as much time as a thousand small ones.
const LARGE: [usize; 8] = [256 << 10, 512 << 10, 1 << 20, 2 << 20, 3 << 20, 4 << 20, 4 << 20 | 4096, 8 << 20];

static MAP: ShadowMap = ShadowMap::new();

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte; 0 beyond the end.
    fn byte(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first as usize
    }

    fn number(&mut self, bytes: usize) -> usize {
        (0..bytes).fold(0, |number, _| number << 8 | self.byte())
    }

    fn size(&mut self) -> usize {
        // Eight classes for each doubling, from 16 B.
        let class = |number: usize| (16 << (number / 8)) * (8 + number % 8) / 8usize;
        match self.byte() {
            // To 16 KiB.
            kind @ 0..=79 => class(kind).saturating_add_signed(self.beside()),
            80..=199 => self.number(1),
            200..=229 => self.number(2),
            kind @ 230..=247 => ((kind - 229) << 12).saturating_add_signed(self.beside()),
            // To 256 KiB.
            248..=251 => class(80 + self.byte() % 32).saturating_add_signed(self.beside()),
            252 => LARGE[self.byte() % LARGE.len()].saturating_add_signed(self.beside()),
            253..=254 => self.number(3) % (1 << 20),
            _ => self.number(3) % (5 << 20),
        }
    }

    /// How far from a border: 0 most often.
    fn beside(&mut self) -> isize {
        match self.byte() {
            byte @ 0..=32 => byte as isize - 16,
            _ => 0,
        }
    }

    fn request(&mut self) -> Request {
        let shape = self.byte();
        let interface = if shape & 1 == 0 { Interface::C } else { Interface::Rust };
        let align = match shape >> 4 {
            // As most requests are.
            0..=7 => 16,
            8 => 1 << (self.byte() % 31),
            // 32 B to 2 KiB.
            shift => 1 << (shift - 4),
        };
        Request { interface, zeroed: shape & 2 != 0, align, size: self.size() }.legal()
    }
}

struct Table {
    checked: Checked,
    slots: [Option<Block>; SLOTS],
    bytes: usize,
}

impl Table {
    fn take(&mut self, slot: usize) -> Option<Block> {
        let block = self.slots[slot % SLOTS].take()?;
        self.bytes -= block.owner.usable;
        Some(block)
    }

    fn put(&mut self, slot: usize, block: Block) {
        self.free(slot, false);
        self.bytes += block.owner.usable;
        self.slots[slot % SLOTS] = Some(block);
    }

    fn free(&mut self, slot: usize, sized: bool) {
        if let Some(block) = self.take(slot) {
            self.checked.free(block, sized);
        }
    }

    fn allocate(&mut self, slot: usize, request: Request, all: bool) {
        if self.bytes + request.size <= MOST {
            let block = self.checked.allocate(request, all);
            self.put(slot, block);
        }
    }

    fn rare(&mut self, what: usize, bytes: &mut Bytes) {
        let sized = what & 1 == 0;
        match what {
            // As many blocks of one kind as there are slots from here on: sheaves run empty, slabs full.
            216..=231 => {
                let (slot, request, all) = (bytes.byte(), bytes.request(), false);
                (slot..slot + bytes.byte() % SLOTS).for_each(|slot| self.allocate(slot, request, all));
            }
            // And freed, in one order or another.
            232..=243 => {
                let (slot, step, count) = (bytes.byte(), bytes.byte() | 1, bytes.byte() % SLOTS);
                (0..count).for_each(|n| self.free(slot + n * step, sized));
            }
            // By another thread, which ends thereafter.
            244..=247 => {
                let (slot, count) = (bytes.byte(), bytes.byte() % SLOTS);
                let blocks: Vec<Block> = (slot..slot + count).filter_map(|slot| self.take(slot)).collect();
                let free = move || {
                    let mut checked = Checked::new(Some(&MAP), None);
                    blocks.into_iter().for_each(|block| checked.free(block, sized));
                };
                std::thread::spawn(free).join().expect("what the thread checks holds");
            }
            248..=249 => {
                malloc::trim(bytes.number(2) << 8);
            }
            250 => {
                let slot = bytes.byte() % SLOTS;
                let block = self.take(slot);
                self.checked.ask_too_much(block.as_ref());
                if let Some(block) = block {
                    self.put(slot, block);
                }
            }
            251 => {
                let totals = malloc::totals();
                assert!(totals.in_use >= self.bytes, "{} bytes are in use: {totals:?}", self.bytes);
            }
            252 => malloc::check_at_exit(),
            _ => {}
        }
    }
}

/// Runs the calls that the bytes describe; panics if anything is not as it must be.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let slots = [const { None }; SLOTS];
    let mut table = Table { checked: Checked::new(Some(&MAP), None), slots, bytes: 0 };
    while !bytes.0.is_empty() {
        match bytes.byte() {
            0..=95 => {
                let (slot, request, all) = (bytes.byte(), bytes.request(), bytes.0.len() & 1 == 0);
                table.allocate(slot, request, all);
            }
            96..=159 => table.free(bytes.byte(), false),
            160..=175 => table.free(bytes.byte(), true),
            176..=199 => {
                let (slot, size, all) = (bytes.byte(), bytes.size(), bytes.0.len() & 1 == 0);
                if table.bytes + size <= MOST
                    && let Some(block) = table.take(slot)
                {
                    let block = table.checked.reallocate(block, size, all);
                    table.put(slot, block);
                }
            }
            200..=215 => {
                if let Some(block) = &table.slots[bytes.byte() % SLOTS] {
                    table.checked.check(block);
                }
            }
            what => table.rare(what, &mut bytes),
        }
    }
    (0..SLOTS).for_each(|slot| table.free(slot, slot % 2 == 0));
    malloc::check_at_exit();
}
