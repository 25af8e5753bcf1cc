//! The arena against a model: which units belong to which chunk.

use super::*;
use crate::bins::bin::MAX_UNITS;
use proptest::prelude::*;

const REGION_UNITS: u32 = 4096; // 1 MiB
const FIRST: u32 = 16_384;
const REGIONS: u32 = 4;

struct Model {
    arena: Arena,
    map: PageMap,
    /// Start and length of chunks in use, with the class given.
    chunks: Vec<(Unit, u32, u8)>,
    used: Vec<bool>,
    regions: Vec<Region>,
    spare: Vec<Region>,
    /// Units that have been handed out before: no longer zero.
    touched: Vec<bool>,
    /// Units whose memory may be there: handed out, and not given back since.
    dirty: Vec<bool>,
    /// Chunks whose memory is being given back.
    away: Vec<(Unit, u32)>,
    /// How often memory has been given back.
    cleaned: usize,
}

impl Model {
    fn new() -> Model {
        let units = FIRST + REGIONS * REGION_UNITS;
        let pages: &'static [Page] = Box::leak((0..units / 16 + 1).map(|_| Page::default()).collect());
        // SAFETY: covers every unit used, and lives for good.
        let map = unsafe { PageMap::new(pages.as_ptr()) };
        let spare =
            (0..REGIONS).map(|i| Region { start: Unit(FIRST + i * REGION_UNITS), units: REGION_UNITS }).collect();
        let n = (REGIONS * REGION_UNITS) as usize;
        Model {
            arena: Arena::new(map),
            map,
            chunks: Vec::new(),
            used: vec![false; n],
            regions: Vec::new(),
            spare,
            touched: vec![false; n],
            dirty: vec![false; n],
            away: Vec::new(),
            cleaned: 0,
        }
    }

    fn alloc(&mut self, units: u32, class: u8) {
        loop {
            if let Some((unit, zeroed)) = self.arena.alloc(units, class) {
                let has = self.arena.page(unit).n.load(Relaxed) as u32;
                assert!(has >= units && has < units + MIN_UNITS, "{has} units for {units}");
                assert_eq!(self.arena.page(unit).tag().b() & !LAST, class);
                for at in (unit.0 - FIRST) as usize..(unit.0 - FIRST + has) as usize {
                    assert!(!self.used[at], "unit {at} was given out twice");
                    assert!(!(zeroed && self.touched[at]), "unit {at} was said to be zero");
                    self.used[at] = true;
                    self.touched[at] = true;
                    self.dirty[at] = true;
                }
                self.chunks.push((unit, has, class));
                return;
            }
            let Some(region) = self.spare.pop() else { return };
            let fresh = (region.start.0 - FIRST) as usize;
            let zeroed = !self.touched[fresh..fresh + region.units as usize].contains(&true);
            self.arena.add_region(region, zeroed);
            self.regions.push(region);
        }
    }

    fn free(&mut self, at: usize) {
        let (unit, units, _) = self.chunks.swap_remove(at);
        for i in (unit.0 - FIRST) as usize..(unit.0 - FIRST + units) as usize {
            self.used[i] = false;
        }
        if let Some(region) = self.arena.free(unit).unwrap() {
            self.take_back(region);
        }
    }

    /// Takes chunks away in order to give their memory back, or top's.
    fn take_away(&mut self, least: u32) {
        let mut batch = [(Unit(0), 0); 3];
        let taken = self.arena.take_away(&mut batch, least);
        for &(unit, units) in &batch[..taken] {
            assert!(units > least);
            for at in (unit.0 - FIRST) as usize..(unit.0 - FIRST + units) as usize {
                assert!(!self.used[at], "a unit in use was taken away");
                self.used[at] = true; // nobody may have it
            }
            self.away.push((unit, units));
        }
        if taken == 0
            && let Some((top, units)) = self.arena.dirty_top()
        {
            self.clean(top, units);
            self.arena.top_is_clean();
        }
    }

    /// Gives the memory of the whole pages in a chunk back.
    fn clean(&mut self, unit: Unit, units: u32) {
        self.cleaned += 1;
        let start = (unit.0 - FIRST).next_multiple_of(16);
        let end = (unit.0 - FIRST + units) & !15;
        (start..end).for_each(|at| self.dirty[at as usize] = false);
    }

    fn bring_back(&mut self, at: usize, clean: bool) {
        let (unit, units) = self.away.swap_remove(at);
        if clean {
            self.clean(unit, units);
        }
        (unit.0 - FIRST..unit.0 - FIRST + units).for_each(|at| self.used[at as usize] = false);
        if let Some(region) = self.arena.bring_back(unit, clean) {
            self.take_back(region);
        }
    }

    fn take_back(&mut self, region: Region) {
        let at = self.regions.iter().position(|r| *r == region).expect("a region that was never added came back");
        self.spare.push(self.regions.swap_remove(at));
        let first = (region.start.0 - FIRST) as usize;
        assert!(!self.used[first..first + region.units as usize].contains(&true));
    }

    fn resize(&mut self, at: usize, units: u32, class: u8) {
        let (unit, old, _) = self.chunks[at];
        let end = (unit.0 - FIRST + old) as usize;
        let grown = self.arena.resize(unit, units, class);
        let has = self.arena.page(unit).n.load(Relaxed) as u32;
        if !grown {
            assert_eq!(has, old);
            return;
        }
        assert!(has >= units);
        let new_end = (unit.0 - FIRST + has) as usize;
        for i in end..new_end.max(end) {
            assert!(!self.used[i]);
            self.used[i] = true;
            self.touched[i] = true;
            self.dirty[i] = true;
        }
        for i in new_end..end.max(new_end) {
            self.used[i] = false;
        }
        self.chunks[at] = (unit, has, class);
    }

    fn check(&self) {
        let (mut free_seen, mut clean_seen, mut dirty_pages) = (0, 0, 0);
        for region in &self.regions {
            // Walk the chunks by their tags: gapless, back links right, no two free neighbours, exactly those in use used.
            let (mut at, mut before, mut before_free) = (region.start, 0, false);
            loop {
                let page = self.map.page(at.page());
                let (tag, n) = (page.tag(), page.n.load(Relaxed) as u32);
                assert_eq!(tag.a(), at.in_page());
                assert_eq!(page.before.load(Relaxed) as u32, before);
                assert!((MIN_UNITS..=MAX_UNITS).contains(&n));
                let free = tag.kind() == Kind::FreeChunk;
                let away = tag.kind() == Kind::Reserved;
                assert!(free || away || tag.kind() == Kind::Chunk);
                assert_eq!(away, self.away.contains(&(at, n)));
                assert!(!(free && before_free), "two free neighbours");
                let units = (at.0 - FIRST) as usize..(at.0 - FIRST + n) as usize;
                assert!(self.used[units].iter().all(|&used| used != free));
                if self.arena.is_clean(at) {
                    clean_seen += n;
                    dirty_pages += (at.0.next_multiple_of(16)..(at.0 + n) & !15)
                        .step_by(16)
                        .filter(|&page| self.dirty[(page - FIRST) as usize..][..16].iter().all(|&dirty| dirty))
                        .count();
                }
                if !free && !away {
                    assert!(
                        self.chunks.iter().any(|&(unit, has, class)| (unit, has, class) == (at, n, tag.b() & !LAST))
                    );
                }
                free_seen += if free { n } else { 0 };
                (before, before_free, at) = (n, free, at.add(n));
                if tag.b() & LAST != 0 {
                    break;
                }
            }
            assert_eq!(at, region.start.add(region.units));
        }
        assert_eq!(self.arena.free_units(), free_seen);
        assert_eq!(self.arena.dirty_units(), free_seen - clean_seen);
        // Only pages that a chunk shared with a neighbour when it was cleaned.
        assert!(dirty_pages <= 2 * self.cleaned, "{dirty_pages} dirty pages in clean chunks after {}", self.cleaned);
        let mut listed = 0;
        self.arena.for_each_free(|_, units| listed += units);
        assert_eq!(listed, free_seen, "every free chunk is on exactly one list");
        assert_eq!(self.arena.total_units(), self.regions.len() as u32 * REGION_UNITS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::test_cases(200), ..ProptestConfig::default() })]
    #[test]
    fn chunks_tile_their_regions(
        steps in prop::collection::vec((0u8..14, 16u32..1024, any::<prop::sample::Index>(), 57u8..97), 1..150)
    ) {
        let mut model = Model::new();
        for (what, units, which, class) in steps {
            match what {
                0..=3 => model.alloc(units % 100 + 32, class),
                4 => model.alloc(units, class),
                5 | 6 if !model.chunks.is_empty() => {
                    let at = which.index(model.chunks.len());
                    model.resize(at, units % 300 + 16, class);
                }
                7 => if let Some(region) = model.arena.take_empty_top() {
                    model.take_back(region);
                },
                8 => model.take_away(15),
                9 | 10 if !model.away.is_empty() => {
                    let at = which.index(model.away.len());
                    model.bring_back(at, what == 9);
                }
                _ if !model.chunks.is_empty() => {
                    let at = which.index(model.chunks.len());
                    model.free(at);
                }
                _ => {}
            }
            model.check();
        }
        while !model.away.is_empty() {
            model.bring_back(0, true);
        }
        while !model.chunks.is_empty() {
            model.free(0);
        }
        model.check();
        if let Some(region) = model.arena.take_empty_top() {
            model.take_back(region);
        }
        prop_assert_eq!(model.regions.len(), 0, "all is free, so all regions came back");
    }
}

#[test]
fn wrong_frees_are_told_apart() {
    let mut model = Model::new();
    model.alloc(40, 60);
    model.alloc(40, 60);
    let unit = model.chunks[0].0;
    assert_eq!(model.arena.free(unit.add(1)), Err(BadChunk::Inside));
    assert_eq!(model.arena.free(unit.add(16)), Err(BadChunk::Inside));
    assert_eq!(model.arena.free(unit), Ok(None));
    assert_eq!(model.arena.free(unit), Err(BadChunk::Free));
}
