//! Allocates from every engine and prints /proc/self/maps: with `FAIRGROUND_CONF=name_maps:true` the allocator's lines bear
//! names, if the kernel can do that (CONFIG_ANON_VMA_NAME).

use fairground_allocator::malloc::{free, malloc};

fn main() {
    let blocks: Vec<_> = [100, 20_000, 1 << 20, 9 << 20].into_iter().map(malloc).collect();
    for line in std::fs::read_to_string("/proc/self/maps").expect("proc is mounted").lines() {
        println!("{line}");
    }
    // SAFETY: just allocated, freed once.
    blocks.into_iter().for_each(|block| unsafe { free(block) });
}
