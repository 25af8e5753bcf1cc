//! Call frame information: what `.eh_frame` says about a place in the code, namely where the caller's registers are.
//!
//! Every distribution's code has it, for C++ exceptions and for debuggers, while few have frame pointers. The unwinders at hand
//! will not do: libgcc_s would be a second library in every process, glibc's `backtrace` loads it by `dlopen`, which allocates
//! and must not be called in the middle of the loader's work, and the crates for it need std or are larger than this
//! allocator. What is needed is small: the binary search table of `.eh_frame_hdr`, the programs of a CIE and an FDE, and the few
//! expressions that compilers emit. What is not understood ends the backtrace there; it is never guessed.
//!
//! Formats: the LSB's chapter on exception frames, DWARF 5 section 6.4, and the supplements of the processors' ABIs.

use super::unwind::{NR_REGISTERS, Registers};

/// Saved states (`remember_state`) nest at most this deep in what compilers emit; two have not been seen yet.
const REMEMBERED: usize = 4;

/// Where a register of the caller is.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// It has not been changed.
    Same,
    /// Lost; for the return address: there is no caller.
    Undefined,
    /// In memory, so far from the frame's address.
    At(isize),
    /// It is the frame's address plus this.
    Value(isize),
    /// In another register.
    In(usize),
    /// In memory, where the expression says.
    AtExpression(Reader),
    /// What the expression yields.
    ValueOf(Reader),
}

/// How the frame's address (the caller's stack pointer, mostly) is found.
#[derive(Clone, Copy)]
pub(crate) enum Frame {
    Offset(usize, isize),
    Expression(Reader),
}

/// All that is said about one place.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) frame: Frame,
    pub(crate) rules: [Rule; NR_REGISTERS],
}

/// A row, and what its function's CIE says besides.
pub(crate) struct Found {
    pub(crate) row: Row,
    /// The number of the column that holds the return address.
    pub(crate) return_address: usize,
    /// The frame of a signal: its caller was interrupted, it has not called.
    pub(crate) signal: bool,
}

/// Reads forward through call frame information.
#[derive(Clone, Copy)]
pub(crate) struct Reader(usize);

impl Reader {
    /// # Safety
    /// Well-formed call frame information of a loaded image begins at the address, and the reader is not used after the image
    /// is unloaded.
    unsafe fn new(address: usize) -> Reader {
        Reader(address)
    }

    fn read<T: Copy>(&mut self) -> T {
        let at = core::ptr::with_exposed_provenance::<T>(self.0);
        self.0 += size_of::<T>();
        // SAFETY: by `new`'s caller; whole numbers have no invalid values.
        unsafe { at.read_unaligned() }
    }

    fn byte(&mut self) -> u8 {
        self.read()
    }

    fn uleb(&mut self) -> u64 {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    fn sleb(&mut self) -> i64 {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            let byte = self.byte();
            value |= i64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 64;
                return if negative { value | -1 << shift } else { value };
            }
        }
    }

    /// The number of a register that is kept track of.
    fn register(&mut self) -> Option<usize> {
        Some(self.uleb() as usize).filter(|&n| n < NR_REGISTERS)
    }

    /// A number in one of the pointer encodings, without what it is relative to.
    fn encoded(&mut self, encoding: u8) -> Option<usize> {
        Some(match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => self.read::<u64>() as usize,
            0x02 => self.read::<u16>() as usize,
            0x03 => self.read::<u32>() as usize,
            0x0a => self.read::<i16>() as usize,
            0x0b => self.read::<i32>() as usize,
            0x01 => self.uleb() as usize,
            0x09 => self.sleb() as usize,
            _ => return None,
        })
    }

    /// An expression or other block: a length and as many bytes, which are skipped.
    fn block(&mut self) -> Reader {
        let start = *self;
        let length = self.uleb() as usize;
        self.0 += length;
        start
    }
}

/// What the FDEs of a CIE have in common.
struct Cie {
    code_align: u64,
    data_align: i64,
    return_address: usize,
    /// Encoding of the FDEs' addresses.
    encoding: u8,
    signal: bool,
    augmented: bool,
    program: (Reader, usize),
}

/// What the call frame information of an image says about an address in it.
///
/// `pc` is where the function was left: one below the return address, so that a call at a function's end counts to it.
pub(crate) fn find(eh_frame_hdr: usize, pc: usize) -> Option<Found> {
    let fde = search(eh_frame_hdr, pc)?;
    // SAFETY: the table names FDEs of the same image.
    let mut at = unsafe { Reader::new(fde) };
    let length = at.read::<u32>() as usize;
    if length == 0 || length == 0xffff_ffff {
        return None; // the end, or the 64-bit form, which nobody emits
    }
    let end = at.0 + length;
    let back = at.0;
    let distance = at.read::<u32>() as usize;
    let cie = parse_cie(back - distance)?;
    let start = relative(cie.encoding, at.0, at.encoded(cie.encoding)?)?;
    let size = at.encoded(cie.encoding & 0x0f)?;
    if pc.wrapping_sub(start) >= size {
        return None; // a hole between functions
    }
    if cie.augmented {
        at.block();
    }
    let blank = Row { frame: Frame::Offset(0, 0), rules: [Rule::Same; NR_REGISTERS] };
    let first = execute(cie.program.0, cie.program.1, &cie, blank, blank, usize::MAX)?;
    let row = execute(at, end, &cie, first, first, pc - start)?;
    Some(Found { row, return_address: cie.return_address, signal: cie.signal })
}

/// The FDE for an address, by the table of `.eh_frame_hdr`.
fn search(eh_frame_hdr: usize, pc: usize) -> Option<usize> {
    /// What linkers make: pairs of 32-bit distances from the header, ordered by the first.
    const TABLE: u8 = 0x3b;
    // SAFETY: the loader says that the image has its header there.
    let mut at = unsafe { Reader::new(eh_frame_hdr) };
    let [version, pointer, count, table]: [u8; 4] = at.read();
    if version != 1 || table != TABLE {
        return None;
    }
    at.encoded(pointer)?;
    let count = at.encoded(count)?;
    let entry = |n: usize| -> (usize, usize) {
        // SAFETY: `n` is below the number of entries.
        let [start, fde]: [i32; 2] = unsafe { Reader::new(at.0 + 8 * n) }.read();
        (eh_frame_hdr.wrapping_add(start as usize), eh_frame_hdr.wrapping_add(fde as usize))
    };
    // The last entry that starts at or below pc.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(middle).0 <= pc { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1).map(|n| entry(n).1)
}

/// Adds what an encoded address is relative to.
fn relative(encoding: u8, at: usize, value: usize) -> Option<usize> {
    match encoding & 0xf0 {
        0x00 => Some(value),
        0x10 => Some(at.wrapping_add(value)),
        _ => None,
    }
}

fn parse_cie(address: usize) -> Option<Cie> {
    // SAFETY: an FDE names its CIE, in the same section.
    let mut at = unsafe { Reader::new(address) };
    let length = at.read::<u32>() as usize;
    let end = at.0 + length;
    let id = at.read::<u32>();
    let version = at.byte();
    if id != 0 || !matches!(version, 1 | 3) {
        return None;
    }
    let mut augmentation = at;
    while at.byte() != 0 {}
    let code_align = at.uleb();
    let data_align = at.sleb();
    let return_address = if version == 1 { at.byte() as usize } else { at.uleb() as usize };
    let mut cie = Cie {
        code_align,
        data_align,
        return_address,
        encoding: 0,
        signal: false,
        augmented: false,
        program: (at, end),
    };
    let mut letter = augmentation.byte();
    if letter == b'z' {
        cie.augmented = true;
        let data = at.uleb() as usize;
        cie.program.0 = Reader(at.0 + data);
        letter = augmentation.byte();
        while letter != 0 {
            match letter {
                b'R' => cie.encoding = at.byte(),
                b'L' => _ = at.byte(),
                b'P' => {
                    let encoding = at.byte();
                    at.encoded(encoding)?;
                }
                b'S' => cie.signal = true,
                b'B' => {} // aarch64: which key signs return addresses
                _ => return None,
            }
            letter = augmentation.byte();
        }
    } else if letter != 0 {
        return None;
    }
    (cie.return_address < NR_REGISTERS).then_some(cie)
}

/// Runs a program up to the row for `offset` bytes into the function. `first` is what `restore` goes back to.
fn execute(mut at: Reader, end: usize, cie: &Cie, mut row: Row, first: Row, offset: usize) -> Option<Row> {
    let mut remembered = [row; REMEMBERED];
    let (mut depth, mut reached) = (0, 0usize);
    let scaled = |n: i64| n.wrapping_mul(cie.data_align) as isize;
    // A register's number, then its rule. (An assignment would evaluate its right side first.)
    macro_rules! set {
        ($rule:expr) => {{
            let register = at.register()?;
            row.rules[register] = $rule;
        }};
    }
    while at.0 < end {
        let byte = at.byte();
        let low = (byte & 0x3f) as usize;
        let mut advance = None;
        match (byte & 0xc0, byte) {
            (0x40, _) => advance = Some(low as u64),
            (0x80, _) => {
                let distance = scaled(at.uleb() as i64);
                *row.rules.get_mut(low)? = Rule::At(distance);
            }
            (0xc0, _) => *row.rules.get_mut(low)? = *first.rules.get(low)?,
            (_, 0x00 | 0x2d) => {} // nop; aarch64: return addresses are signed from here on, or no longer (`unwind` masks)
            (_, 0x01) => return None, // set_loc: nobody emits it
            (_, 0x02) => advance = Some(at.byte().into()),
            (_, 0x03) => advance = Some(at.read::<u16>().into()),
            (_, 0x04) => advance = Some(at.read::<u32>().into()),
            (_, 0x05) => set!(Rule::At(scaled(at.uleb() as i64))),
            (_, 0x06) => {
                let register = at.register()?;
                row.rules[register] = first.rules[register];
            }
            (_, 0x07) => set!(Rule::Undefined),
            (_, 0x08) => set!(Rule::Same),
            (_, 0x09) => set!(Rule::In(at.register()?)),
            (_, 0x0a) => {
                *remembered.get_mut(depth)? = row;
                depth += 1;
            }
            (_, 0x0b) => {
                depth = depth.checked_sub(1)?;
                row = remembered[depth];
            }
            (_, 0x0c) => row.frame = Frame::Offset(at.register()?, at.uleb() as isize),
            (_, 0x0d | 0x0e) => {
                let Frame::Offset(register, distance) = row.frame else { return None };
                row.frame = if byte == 0x0d {
                    Frame::Offset(at.register()?, distance)
                } else {
                    Frame::Offset(register, at.uleb() as isize)
                };
            }
            (_, 0x0f) => row.frame = Frame::Expression(at.block()),
            (_, 0x10) => set!(Rule::AtExpression(at.block())),
            (_, 0x11) => set!(Rule::At(scaled(at.sleb()))),
            (_, 0x12) => row.frame = Frame::Offset(at.register()?, scaled(at.sleb())),
            (_, 0x13) => {
                let Frame::Offset(register, _) = row.frame else { return None };
                row.frame = Frame::Offset(register, scaled(at.sleb()));
            }
            (_, 0x14) => set!(Rule::Value(scaled(at.uleb() as i64))),
            (_, 0x15) => set!(Rule::Value(scaled(at.sleb()))),
            (_, 0x16) => set!(Rule::ValueOf(at.block())),
            (_, 0x2e) => _ = at.uleb(), // bytes of arguments, for exceptions
            _ => return None,
        }
        if let Some(units) = advance {
            reached += (units * cie.code_align) as usize;
            if reached > offset {
                break;
            }
        }
    }
    Some(row)
}

/// Evaluates an expression, with `first` on its stack if given. Only what compilers and linkers emit for frames.
///
/// # Safety
/// The registers are those of the frame that the expression belongs to: then what it loads is on that thread's stack.
pub(crate) unsafe fn evaluate(expression: Reader, registers: &Registers, first: Option<usize>) -> Option<usize> {
    let mut at = expression;
    let length = at.uleb() as usize;
    let end = at.0 + length;
    let mut stack = [0usize; 8];
    let mut depth = 0usize;
    if let Some(first) = first {
        stack[0] = first;
        depth = 1;
    }
    while at.0 < end {
        let op = at.byte();
        let pushed = match op {
            0x08 => at.byte() as usize,
            0x09 => at.read::<i8>() as usize,
            0x0a => at.read::<u16>() as usize,
            0x0b => at.read::<i16>() as usize,
            0x0c => at.read::<u32>() as usize,
            0x0d => at.read::<i32>() as usize,
            0x0e | 0x0f => at.read::<u64>() as usize,
            0x10 => at.uleb() as usize,
            0x11 => at.sleb() as usize,
            0x12 => *stack.get(depth.checked_sub(1)?)?,
            0x30..=0x4f => (op - 0x30) as usize,
            0x70..=0x8f => registers.get((op - 0x70) as usize)?.wrapping_add(at.sleb() as usize),
            // One operand, replaced by the result.
            0x06 | 0x23 => {
                depth = depth.checked_sub(1)?;
                let operand = stack[depth];
                if op == 0x23 {
                    operand.wrapping_add(at.uleb() as usize)
                } else if operand != 0 && operand.is_multiple_of(align_of::<usize>()) {
                    // SAFETY: by the caller.
                    unsafe { core::ptr::with_exposed_provenance::<usize>(operand).read() }
                } else {
                    return None;
                }
            }
            // Two operands.
            0x1a | 0x1c | 0x21 | 0x22 | 0x24 | 0x25 | 0x29..=0x2e => {
                depth = depth.checked_sub(2)?;
                let (a, b) = (stack[depth], stack[depth + 1]);
                let (signed_a, signed_b) = (a as isize, b as isize);
                match op {
                    0x1a => a & b,
                    0x1c => a.wrapping_sub(b),
                    0x21 => a | b,
                    0x22 => a.wrapping_add(b),
                    0x24 => a.wrapping_shl(b as u32),
                    0x25 => a.wrapping_shr(b as u32),
                    0x29 => (a == b) as usize,
                    0x2a => (signed_a >= signed_b) as usize,
                    0x2b => (signed_a > signed_b) as usize,
                    0x2c => (signed_a <= signed_b) as usize,
                    0x2d => (signed_a < signed_b) as usize,
                    _ => (a != b) as usize,
                }
            }
            _ => return None,
        };
        *stack.get_mut(depth)? = pushed;
        depth += 1;
    }
    depth.checked_sub(1).map(|top| stack[top])
}
