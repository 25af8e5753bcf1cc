//! The tables as text, in the kernel's columns.

use super::collect::{HEAPS, Summary, cached, for_each_zone, slabs, summary};
use super::{ORDERS, USES};
use crate::cache::for_each_typed_cache;
use crate::lock::Patience;
use crate::slab::slab::SLAB_BYTES;
use crate::text::Text;

/// Writes everything.
pub(super) fn write(text: &mut Text, patience: Patience) {
    write_summary(text, &summary(patience));
    threads(text, patience);
    text.text("\nbuddyinfo\n");
    buddyinfo(text, patience);
    text.text("\npagetypeinfo\n");
    pagetypeinfo(text, patience);
    text.text("\nzoneinfo\n");
    zoneinfo(text, patience);
    text.text("\nslabinfo - version: 2.1\n");
    slabinfo(text, patience);
    fragmentation(text, patience);
}

fn write_summary(text: &mut Text, all: &Summary) {
    text.text(if all.busy { "summary (busy: incomplete)\n" } else { "summary\n" });
    let mut row = |name: &str, bytes: Option<usize>| {
        text.text("  ").left(name, 22);
        match bytes {
            Some(bytes) => text.column(bytes, 14).text("\n"),
            None => text.right("unknown", 14).text("\n"),
        };
    };
    let resident = all.resident;
    row("live", Some(all.live_bytes));
    row("cached by threads", Some(all.cached_bytes));
    row("mapped", Some(all.mapped_bytes));
    row("dirty", Some(all.dirty_bytes));
    row("resident", resident.map(|r| r.bytes));
    row("in huge pages", resident.map(|r| r.huge_bytes));
    row("metadata reserved", Some(all.metadata_bytes));
    row("metadata resident", resident.map(|r| r.metadata_bytes));
    row("own mappings", Some(all.extent_bytes));
    row("own mappings (count)", Some(all.extents));
}

fn threads(text: &mut Text, patience: Patience) {
    text.text("\nthreads\n# heap <state> <cached_bytes>\n");
    let Some(all) = cached(patience) else {
        text.text("busy\n");
        return;
    };
    for (i, (bytes, in_use)) in all.heaps.iter().take(all.count).enumerate() {
        let state = if *in_use { "used" } else { "idle" };
        text.column(all.count - 1 - i, 6).text(" ").right(state, 6).column(*bytes, 14).text("\n");
    }
    if all.count > HEAPS {
        let shown: usize = all.heaps.iter().map(|heap| heap.0).sum();
        text.text("others").column(all.count - HEAPS, 7).column(all.bytes - shown, 14).text("\n");
    }
}

fn zone_name<'t, 'a>(text: &'t mut Text<'a>, node: usize) -> &'t mut Text<'a> {
    text.text("Node ").number(node).text(", zone ").right("Normal", 8)
}

fn buddyinfo(text: &mut Text, patience: Patience) {
    for_each_zone(patience, |node, zone| {
        zone_name(text, node).text(" ");
        match zone {
            Some(zone) => {
                for row in zone.free_blocks {
                    text.column(row.iter().sum::<u32>() as usize, 6).text(" ");
                }
                text.text("\n")
            }
            None => text.text("busy\n"),
        };
    });
}

fn pagetypeinfo(text: &mut Text, patience: Patience) {
    text.text("Page block order: 9\nPages per block:  512\n\n");
    text.left("Free pages count per migrate type at order", 44);
    for order in 0..ORDERS {
        text.column(order, 6).text(" ");
    }
    text.text("\n");
    for_each_zone(patience, |node, zone| {
        for (kind, name) in USES.iter().enumerate() {
            text.text("Node ").column(node, 4).text(", zone ").right("Normal", 8).text(", type ").right(name, 12);
            text.text(" ");
            match zone {
                Some(zone) => {
                    for row in zone.free_blocks {
                        text.column(row[kind] as usize, 6).text(" ");
                    }
                }
                None => _ = text.text("busy"),
            }
            text.text("\n");
        }
    });
    text.left("\nNumber of blocks type", 23);
    for name in USES {
        text.right(name, 12).text(" ");
    }
    text.text("\n");
    for_each_zone(patience, |node, zone| {
        zone_name(text, node).text(" ");
        match zone {
            Some(zone) => {
                for count in zone.pageblocks {
                    text.column(count, 12).text(" ");
                }
                text.text("\n")
            }
            None => text.text("busy\n"),
        };
    });
}

fn zoneinfo(text: &mut Text, patience: Patience) {
    for_each_zone(patience, |node, zone| {
        zone_name(text, node).text("\n");
        let Some(zone) = zone else {
            text.text("  pages busy\n");
            return;
        };
        text.text("  pages free     ").number(zone.free_pages);
        for (name, pages) in [
            ("present", zone.present_pages),
            ("used", zone.present_pages - zone.free_pages),
            ("dirty", zone.dirty_pages),
        ] {
            text.text("\n        ").left(name, 9).number(pages);
        }
        text.text("\n");
    });
}

fn slabinfo(text: &mut Text, patience: Patience) {
    text.text(
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : \
         tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    );
    for class in slabs(patience).iter().filter(|class| class.slabs + class.busy_slabs != 0) {
        name(text, class.object_size_bytes, 17).text(" ");
        if class.busy_slabs != 0 {
            text.text("busy\n");
            continue;
        }
        text.column(class.active_objects, 6).text(" ").column(class.total_objects, 6).text(" ");
        text.column(class.object_size_bytes, 6).text(" ").column(class.objects_per_slab, 4).text(" ");
        text.column(SLAB_BYTES / 4096, 4).text(" : tunables    0    0    0 : slabdata ");
        text.column(class.slabs - class.empty_slabs, 6).text(" ").column(class.slabs, 6).text("      0\n");
    }
    if patience == Patience::Try {
        text.text("# typed caches are not looked at in a signal handler\n");
        return;
    }
    for_each_typed_cache(|cache| {
        for byte in cache.name.bytes() {
            text.bytes(&[if byte.is_ascii_graphic() { byte } else { b'_' }]);
        }
        text.left("", 17usize.saturating_sub(cache.name.len())).text(" ");
        text.column(cache.active_objects, 6).text(" ").column(cache.total_objects, 6).text(" ");
        text.column(cache.object_size, 6).text(" ").column(cache.objects_per_slab, 4).text(" ");
        text.column(SLAB_BYTES / 4096, 4).text(" : tunables    0    0    0 : slabdata ");
        text.column(cache.slabs - cache.empty, 6).text(" ").column(cache.slabs, 6).text("      0\n");
    });
}

/// What the slabs of each class take, and what of it the program has.
fn fragmentation(text: &mut Text, patience: Patience) {
    text.text("\nfragmentation\n# name           <slab_bytes> <live_bytes> <cached_bytes> <live_percent>\n");
    for class in slabs(patience).iter().filter(|class| class.slabs + class.busy_slabs != 0) {
        name(text, class.object_size_bytes, 17).column(class.slab_bytes(), 13);
        if class.busy_slabs != 0 {
            text.text(" busy\n");
            continue;
        }
        text.column(class.live_bytes(), 13).column(class.cached_objects * class.object_size_bytes, 15);
        text.column(class.live_bytes() * 100 / class.slab_bytes(), 15).text("\n");
    }
}

/// `size-16` and so on, in a column.
fn name<'t, 'a>(text: &'t mut Text<'a>, size: usize, width: usize) -> &'t mut Text<'a> {
    let digits = size.checked_ilog10().unwrap_or(0) as usize + 1;
    text.text("size-").number(size).left("", width.saturating_sub(5 + digits))
}
