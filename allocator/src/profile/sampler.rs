//! Which allocations are sampled, and how many each of them stands for. Arithmetic alone: no clocks, threads or tables.
//!
//! Every byte that is allocated has the same chance to be hit, one in `mean`; an allocation is sampled if one of its bytes is.
//! So the bytes between two hits are distributed exponentially (rounded down: geometrically), and a block of `size` bytes is
//! sampled with probability `1 - exp(-size / mean)`. Counted with the inverse of that as its weight, the samples are an
//! unbiased estimate of everything that was allocated, whatever the sizes. A mean of 1 samples every block, with weight 1.
//!
//! The distance to the next hit is drawn anew after each: the distribution has no memory, so what a large block reached beyond
//! its first hit need not be carried over.
//!
//! Logarithm and exponential function are here because std and libm are not: both are series after a reduction of the
//! argument, good to 12 digits (tested against std's).

use core::cell::Cell;
use core::f64::consts::{LN_2, SQRT_2};

/// Weights are counted in units of 1/65,536: whole numbers, so that what a free takes away is exactly what its allocation
/// brought. 2^16 times the largest weight (a block of one byte at a mean of 1 GiB) leaves room for 2^18 such samples.
pub(crate) const WEIGHT_ONE: u64 = 1 << 16;

/// A thread's sampler. All zeroes, as the memory of a new heap is, means that it has not begun.
#[derive(Default)]
pub(crate) struct Sampler {
    /// Bytes that pass before the next hit.
    left: Cell<u64>,
    /// State of the generator; 0 before the first use.
    random: Cell<u64>,
}

impl Sampler {
    /// Begins, if that has not happened, with a seed that should differ between threads and processes.
    pub(crate) fn begin(&self, mean: usize, seed: impl FnOnce() -> u64) {
        if self.random.get() == 0 {
            self.random.set(seed() | 1);
            self.draw(mean);
        }
    }

    /// Counts an allocation of `size` bytes (not 0); true if it is to be sampled.
    pub(crate) fn take(&self, size: usize, mean: usize) -> bool {
        if self.is_due(size, mean) {
            self.draw(mean);
            return true;
        }
        self.left.set(self.left.get() - size as u64);
        false
    }

    /// What [`Sampler::take`] would say now.
    pub(crate) fn is_due(&self, size: usize, mean: usize) -> bool {
        mean == 1 || size as u64 > self.left.get()
    }

    /// Draws the distance to the next hit.
    fn draw(&self, mean: usize) {
        self.left.set((-ln(self.uniform()) * mean as f64) as u64);
    }

    /// A number above 0 and at most 1.
    fn uniform(&self) -> f64 {
        // SplitMix64: every state but those two bits apart gives an independent-looking number, and 0 is no trap.
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // 53 bits are what a double holds.
        ((z >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// How many blocks of this size one sample stands for, in units of 1/[`WEIGHT_ONE`].
pub(crate) fn weight(size: usize, mean: usize) -> u64 {
    if mean == 1 {
        return WEIGHT_ONE;
    }
    let chance = one_minus_exp(size as f64 / mean as f64);
    (WEIGHT_ONE as f64 / chance + 0.5) as u64
}

/// The natural logarithm of a number above 0 (and not subnormal).
fn ln(x: f64) -> f64 {
    const MANTISSA: u32 = 52;
    let bits = x.to_bits();
    let mut exponent = (bits >> MANTISSA) as i32 - 1023;
    let mut m = f64::from_bits(bits & ((1 << MANTISSA) - 1) | 1023 << MANTISSA); // from 1 to 2
    if m > SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)); |s| <= 0.172, so the first term left out is below 1e-15.
    let s = (m - 1.0) / (m + 1.0);
    let (s2, mut sum) = (s * s, 0.0);
    for n in (0..9).rev() {
        sum = sum * s2 + 1.0 / (2 * n + 1) as f64;
    }
    exponent as f64 * LN_2 + 2.0 * s * sum
}

/// `1 - exp(-x)` for x above 0, also where exp(-x) is nearly 1.
fn one_minus_exp(x: f64) -> f64 {
    if x > 40.0 {
        return 1.0; // to the last bit of a double
    }
    // 1 - exp(-x/2^n) by its series, then doubled: f(2y) = f(y) * (2 - f(y)).
    let (mut y, mut halvings) = (x, 0);
    while y > 0.5 {
        y /= 2.0;
        halvings += 1;
    }
    let mut f = 0.0;
    for n in (1..16).rev() {
        f = (1.0 - f) * y / n as f64; // Horner on y - y^2/2! + y^3/3! - ...
    }
    for _ in 0..halvings {
        f *= 2.0 - f;
    }
    f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(mean: usize) -> Sampler {
        let sampler = Sampler::default();
        sampler.begin(mean, || 42);
        sampler
    }

    #[test]
    fn the_series_agree_with_std() {
        for i in 0..100_000 {
            let x = 2f64.powf(i as f64 / 1000.0 - 60.0);
            assert!((ln(x) - x.ln()).abs() <= 1e-12 * x.ln().abs().max(1e-3), "ln({x}) = {}", ln(x));
            let expected = -(-x).exp_m1();
            assert!((one_minus_exp(x) / expected - 1.0).abs() < 1e-12, "1 - exp(-{x}) = {}", one_minus_exp(x));
        }
    }

    #[test]
    fn the_distance_between_hits_has_the_mean_and_the_spread_of_an_exponential_distribution() {
        for mean in [100, 4096, 512 << 10, 1 << 30] {
            const DRAWS: usize = 200_000;
            let sampler = sampler(mean);
            let (mut sum, mut squares, mut above) = (0.0, 0.0, 0);
            for _ in 0..DRAWS {
                sampler.draw(mean);
                let gap = sampler.left.get() as f64 + 0.5; // rounded down
                sum += gap;
                squares += gap * gap;
                above += usize::from(gap > mean as f64);
            }
            let average = sum / DRAWS as f64;
            let spread = (squares / DRAWS as f64 - average * average).sqrt();
            assert!((average / mean as f64 - 1.0).abs() < 0.02, "mean {mean}: {average}");
            assert!((spread / mean as f64 - 1.0).abs() < 0.02, "mean {mean}: spread {spread}");
            // exp(-1) of them exceed the mean.
            assert!((above as f64 / DRAWS as f64 - 0.3679).abs() < 0.007, "mean {mean}: {above} of {DRAWS}");
        }
    }

    #[test]
    fn weighted_samples_estimate_blocks_and_bytes_of_every_size_alike() {
        let mean = 10_000;
        for size in [1, 16, 1_000, 10_000, 50_000, 1_000_000] {
            let sampler = sampler(mean);
            // Some ten thousand samples: a spread of one in a hundred.
            let blocks = (20_000 * mean / size).max(20_000);
            let estimate = (0..blocks).filter(|_| sampler.take(size, mean)).count() as u64 * weight(size, mean);
            let ratio = estimate as f64 / WEIGHT_ONE as f64 / blocks as f64;
            assert!((ratio - 1.0).abs() < 0.05, "size {size}: {ratio}");
        }
    }

    #[test]
    fn a_mean_of_one_takes_every_block_as_it_is() {
        let sampler = sampler(1);
        assert!((1..1000).all(|size| sampler.take(size, 1) && weight(size, 1) == WEIGHT_ONE));
    }

    #[test]
    fn the_largest_weight_is_counted() {
        assert_eq!(weight(1, 1 << 30) / WEIGHT_ONE, 1 << 30);
    }
}
