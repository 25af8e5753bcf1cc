//! Stands for programs that allocate large arrays again and again (image filters, numerical code, video frames): blocks of
//! 256 KiB to 8 MiB replace each other at random. Who gives each back to the system pays a page fault for every 4 KiB of the
//! next; who keeps them all holds memory that nobody uses. The idea is that of malloc-large in the mimalloc-bench suite.

use super::Load;
use super::medium::churn;

const SLOTS: usize = 12;
const REPLACEMENTS: usize = 5_000;

pub(super) fn run(load: &Load) -> u64 {
    churn(load, SLOTS, load.scaled(REPLACEMENTS), |random| random.log_uniform(18, 23))
}
