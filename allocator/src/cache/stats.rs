//! What a cache says of itself.

use crate::heap_sheaves;
use crate::kmem::cache::KmemCache;
use crate::kmem::error::CacheName;
use crate::kmem::table;

/// Counts of a cache. A snapshot: exact if nobody uses the cache meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The cache.
    pub name: CacheName,
    /// Bytes of an object, as asked for.
    pub object_size: usize,
    /// Its alignment; 8 at least.
    pub align: usize,
    /// Objects in a slab of 64 KiB.
    pub objects_per_slab: usize,
    /// Whether there is a constructor.
    pub has_constructor: bool,
    /// Slabs the cache has.
    pub slabs: usize,
    /// Those with free objects and with some that are not.
    pub slabs_partial: usize,
    /// Those without an object in use.
    pub slabs_empty: usize,
    /// Those from which a thread takes its objects at present, whatever is left in them.
    pub slabs_current: usize,
    /// Those in which no free object was found.
    pub slabs_full: usize,
    /// Objects in all slabs, in use or not.
    pub objects: usize,
    /// Objects that the program has.
    pub live: usize,
    /// Free objects that threads keep to themselves.
    pub cached: usize,
}

impl CacheStats {
    pub(super) fn of(cache: &'static KmemCache) -> CacheStats {
        let (counts, g) = (cache.counts(), cache.geometry());
        let cached = heap_sheaves::cached(cache);
        CacheStats {
            name: cache.recipe.name,
            object_size: g.size as usize,
            align: g.align as usize,
            objects_per_slab: g.objects as usize,
            has_constructor: cache.recipe.constructor.is_some(),
            slabs: counts.slabs,
            slabs_partial: counts.listed - counts.empty,
            slabs_empty: counts.empty,
            slabs_current: counts.held,
            slabs_full: counts.slabs.saturating_sub(counts.listed + counts.held),
            objects: counts.slabs * g.objects as usize,
            live: counts.taken.saturating_sub(cached),
            cached,
        }
    }
}

/// A row for the tables of statistics.
pub(crate) struct CacheInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) object_size: usize,
    pub(crate) align: usize,
    pub(crate) objects_per_slab: usize,
    pub(crate) slabs: usize,
    pub(crate) partial: usize,
    pub(crate) empty: usize,
    /// Objects that the program has (or the allocator, of its own caches).
    pub(crate) active_objects: usize,
    pub(crate) total_objects: usize,
    pub(crate) has_constructor: bool,
}

/// Calls `each` for every typed cache, by its number, the allocator's own last. No lock is held meanwhile.
pub(crate) fn for_each_typed_cache(mut each: impl FnMut(CacheInfo<'_>)) {
    table::for_each(CacheStats::of, |stats| {
        each(CacheInfo {
            name: stats.name.as_str(),
            object_size: stats.object_size,
            align: stats.align,
            objects_per_slab: stats.objects_per_slab,
            slabs: stats.slabs,
            partial: stats.slabs_partial,
            empty: stats.slabs_empty,
            active_objects: stats.live,
            total_objects: stats.objects,
            has_constructor: stats.has_constructor,
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheFlags, RawCache};

    #[test]
    fn every_cache_is_listed_with_its_counts() {
        let cache = RawCache::new("listed-cache", 1000, 32, CacheFlags::NONE).expect("a cache");
        let objects: Vec<_> = (0..100).map(|_| cache.alloc().expect("memory")).collect();
        let find = |name: &str| {
            let mut found = None;
            for_each_typed_cache(|info| {
                if info.name == name {
                    assert!(!info.has_constructor && info.partial + info.empty <= info.slabs);
                    found = Some((info.object_size, info.align, info.objects_per_slab, info.active_objects));
                    assert_eq!(info.total_objects, info.slabs * info.objects_per_slab);
                }
            });
            found
        };
        assert_eq!(find("listed-cache"), Some((1000, 32, 64, 100)));
        // The allocator's own.
        assert!(find("heap").is_some_and(|(size, _, _, active)| size > 4096 && active >= 1));
        assert!(find("heap_sheaves").is_some_and(|(_, _, _, active)| active >= 1));
        assert!(find("kmem_cache").is_some_and(|(_, align, _, active)| align == 64 && active >= 1));
        // SAFETY: from this cache, once each.
        objects.into_iter().for_each(|object| unsafe { cache.free(object) });
        assert!(cache.destroy().is_ok());
        assert_eq!(find("listed-cache"), None);
    }
}
