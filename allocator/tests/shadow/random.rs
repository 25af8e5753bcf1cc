//! Random decisions: the same seed draws the same ones. Sizes and alignments that favour the borders.

/// splitmix64.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.draw() >> 32) as usize * end) >> 32
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn among<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Which part of the allocator a size is meant for. Only the sizes are known here, not the parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// To 8 KiB.
    Slab,
    /// To 256 KiB.
    Bin,
    /// To 4 MiB.
    Run,
    /// Beyond.
    Extent,
}

const PAGE: usize = 4096;

/// What lies on one side of a border, and on the other.
const BESIDE: [isize; 9] = [-16, -8, -1, 0, 0, 0, 1, 8, 16];

impl Engine {
    pub const ALL: [Engine; 4] = [Engine::Slab, Engine::Bin, Engine::Run, Engine::Extent];

    /// Mostly slabs. The larger ones are drawn so often that about as much time goes into each: filling a block takes time in
    /// proportion to its size.
    pub fn draw(random: &mut Random) -> Engine {
        match random.below(10_000) {
            0..9_300 => Engine::Slab,
            9_300..9_950 => Engine::Bin,
            9_950..9_994 => Engine::Run,
            _ => Engine::Extent,
        }
    }

    /// A size, most often beside a border of something: of a class (eight for each doubling), a page, an engine.
    pub fn size(self, random: &mut Random) -> usize {
        let beside = random.among(&BESIDE);
        let class = |random: &mut Random, from: usize, to: usize| {
            let doubling = from + random.below(to - from);
            ((1 << doubling) * (8 + random.below(8)) / 8usize).saturating_add_signed(beside)
        };
        match self {
            Engine::Slab => match random.below(16) {
                0..8 => class(random, 4, 13),
                8..14 => random.below(1_100),
                14 => 8_192usize.saturating_add_signed(beside),
                _ => random.below(8_193),
            },
            Engine::Bin => match random.below(8) {
                0..4 => class(random, 13, 18),
                4 => (2 + random.below(63)) * PAGE - 16 + random.below(17),
                5 => (256usize << 10).saturating_add_signed(beside),
                _ => 8_193 + random.below(254_000),
            },
            Engine::Run => match random.below(4) {
                0 => (4usize << 20).saturating_add_signed(beside),
                // Pages: each doubling as often as another.
                _ => (((64 << random.below(4)) + random.below(64)) * PAGE).saturating_add_signed(beside),
            },
            Engine::Extent => match random.below(16) {
                // Above the highest threshold for blocks with a mapping of their own.
                0 => (32usize << 20).saturating_add_signed(beside),
                _ => ((4 << 20) + random.below(1_000) * PAGE).saturating_add_signed(beside),
            },
        }
    }
}

/// A power of two: up to 16 most often, up to a page often, up to 1 GiB now and then.
pub fn alignment(random: &mut Random) -> usize {
    1 << match random.below(1_000) {
        0..300 => random.below(5),
        300..900 => 5 + random.below(8),
        900..980 => 13 + random.below(4),
        980..998 => 17 + random.below(6),
        _ => 23 + random.below(8),
    }
}
