//! A small generator of pseudo-random numbers: xorshift64* seeded through splitmix64.
//!
//! Quality needs are modest and the cost must vanish beside a malloc of sixteen instructions. The sequence is part of
//! each workload's definition, so it is written here instead of taken from a crate that may change it.

/// One thread's generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; near seeds give unrelated sequences.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)).max(1))
    }

    /// The next 64 bits.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound` (which is not 0), by multiplication instead of division.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }

    /// A number from `low` to `high`, both included.
    #[inline]
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// A size from `2^low` up to but not including `2^high`, each doubling equally likely: what real programs ask for
    /// looks more like this than like a uniform choice.
    #[inline]
    pub fn log_uniform(&mut self, low: u32, high: u32) -> usize {
        let base = 1_usize << (low + self.below((high - low) as usize) as u32);
        base + self.below(base)
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn same_seed_gives_same_sequence_and_bounds_hold() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        for _ in 0..1000 {
            assert_eq!(a.next(), b.next());
            assert!((8..=1000).contains(&a.between(8, 1000)));
            let _ = b.between(8, 1000);
            let size = a.log_uniform(10, 18);
            assert!((1024..256 * 1024).contains(&size));
            let _ = b.log_uniform(10, 18);
        }
    }

    #[test]
    fn near_seeds_differ() {
        assert_ne!(Random::new(1).next(), Random::new(2).next());
    }
}
