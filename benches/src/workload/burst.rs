//! Stands for programs that work in bursts, as a frame of a game, a query or a transaction: many blocks of mixed sizes are
//! allocated, used, and freed all together in the order in which they came, and between two bursts nothing is left. The
//! order is the reverse of what a cache of freed blocks likes best, and the bursts are larger than such caches. Our own.

use super::Load;
use super::block::Block;

const BURSTS: usize = 700;
/// Every fourth burst is long, the others are short.
const LONG: usize = 20_000;
const SHORT: usize = 3_000;

pub(super) fn run(load: &Load) -> u64 {
    let bursts = load.scaled(BURSTS);
    load.in_threads(|mut random| {
        let mut blocks = Vec::with_capacity(LONG);
        let mut sum = 0_u64;
        for burst in 0..bursts {
            for _ in 0..if burst % 4 == 0 { LONG } else { SHORT } {
                blocks.push(Block::allocate(random.log_uniform(4, 10), random.next()));
            }
            sum = blocks.drain(..).fold(sum, |sum, block| sum.wrapping_add(block.release()));
        }
        sum
    })
}
