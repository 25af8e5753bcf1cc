//! The same numbers as JSON. Names carry their units; what is not known, or busy, is null.

use super::collect::{HEAPS, cached, for_each_zone, slabs, summary};
use super::{ORDERS, USES};
use crate::cache::for_each_typed_cache;
use crate::lock::Patience;
use crate::text::Text;

/// Changes when a member is taken away or changes its meaning, not when one is added.
const VERSION: usize = 1;

/// The members of an object, with commas between.
struct Members<'t, 'a>(&'t mut Text<'a>, bool);

impl<'t, 'a> Members<'t, 'a> {
    fn name(&mut self, name: &str) -> &mut Text<'a> {
        self.0.text(if core::mem::replace(&mut self.1, true) { ",\"" } else { "\"" }).text(name).text("\":")
    }

    fn number(&mut self, name: &str, value: impl Into<Option<usize>>) {
        let value = value.into();
        let text = self.name(name);
        match value {
            Some(value) => text.number(value),
            None => text.text("null"),
        };
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.name(name).text(if value { "true" } else { "false" });
    }
}

fn comma(text: &mut Text, i: usize) {
    text.text(if i == 0 { "" } else { "," });
}

/// Writes one object.
pub(super) fn write(text: &mut Text, patience: Patience) {
    text.text("{\"version\":").number(VERSION).text(",\"allocator\":\"fairground\",\"summary\":{");
    let all = summary(patience);
    let mut members = Members(text, false);
    members.number("live_bytes", all.live_bytes);
    members.number("cached_bytes", all.cached_bytes);
    members.number("mapped_bytes", all.mapped_bytes);
    members.number("dirty_bytes", all.dirty_bytes);
    members.number("resident_bytes", all.resident.map(|r| r.bytes));
    members.number("huge_page_bytes", all.resident.map(|r| r.huge_bytes));
    members.number("metadata_bytes", all.metadata_bytes);
    members.number("metadata_resident_bytes", all.resident.map(|r| r.metadata_bytes));
    members.number("extent_bytes", all.extent_bytes);
    members.number("extents", all.extents);
    members.flag("busy", all.busy);
    text.text("},\"threads\":");
    threads(text, patience);
    text.text(",\"zones\":[");
    let mut nth = 0;
    for_each_zone(patience, |node, zone| {
        comma(text, nth);
        nth += 1;
        text.text("{");
        let mut members = Members(text, false);
        members.number("node", node);
        members.number("present_pages", zone.map(|z| z.present_pages));
        members.number("free_pages", zone.map(|z| z.free_pages));
        members.number("dirty_pages", zone.map(|z| z.dirty_pages));
        members.name("uses").text("[");
        for (kind, name) in USES.iter().enumerate() {
            comma(text, kind);
            text.text("{\"use\":\"").text(name).text("\"");
            let mut members = Members(text, true);
            members.number("pageblocks", zone.map(|z| z.pageblocks[kind]));
            members.name("free_blocks_by_order").text("[");
            for order in 0..if zone.is_some() { ORDERS } else { 0 } {
                comma(text, order);
                text.number(zone.map_or(0, |z| z.free_blocks[order][kind]) as usize);
            }
            text.text("]}");
        }
        text.text("]}");
    });
    text.text("],\"slabs\":[");
    for (i, class) in slabs(patience).iter().filter(|c| c.slabs + c.busy_slabs != 0).enumerate() {
        comma(text, i);
        text.text("{\"name\":\"size-").number(class.object_size_bytes).text("\"");
        let mut members = Members(text, true);
        members.number("object_size_bytes", class.object_size_bytes);
        members.number("objects_per_slab", class.objects_per_slab);
        members.number("slabs", class.slabs);
        members.number("partial_slabs", class.partial_slabs);
        members.number("empty_slabs", class.empty_slabs);
        members.number("busy_slabs", class.busy_slabs);
        members.number("active_objects", class.active_objects);
        members.number("total_objects", class.total_objects);
        members.number("cached_objects", class.cached_objects);
        members.number("slab_bytes", class.slab_bytes());
        members.number("live_bytes", class.live_bytes());
        text.text("}");
    }
    text.text("],\"typed_caches\":");
    if patience == Patience::Try {
        text.text("null}\n");
        return;
    }
    text.text("[");
    let mut nth = 0;
    for_each_typed_cache(|cache| {
        comma(text, nth);
        nth += 1;
        text.text("{\"name\":\"");
        for &byte in cache.name.as_bytes() {
            // What JSON would want escaped.
            text.bytes(&[if byte < b' ' || byte == b'"' || byte == b'\\' { b'?' } else { byte }]);
        }
        text.text("\"");
        let mut members = Members(text, true);
        members.number("object_size_bytes", cache.object_size);
        members.number("align_bytes", cache.align);
        members.number("objects_per_slab", cache.objects_per_slab);
        members.number("slabs", cache.slabs);
        members.number("partial_slabs", cache.partial);
        members.number("empty_slabs", cache.empty);
        members.number("active_objects", cache.active_objects);
        members.number("total_objects", cache.total_objects);
        members.flag("has_constructor", cache.has_constructor);
        text.text("}");
    });
    text.text("]}\n");
}

fn threads(text: &mut Text, patience: Patience) {
    let Some(all) = cached(patience) else {
        text.text("null");
        return;
    };
    text.text("[");
    for (i, (bytes, in_use)) in all.heaps.iter().take(all.count.min(HEAPS)).enumerate() {
        comma(text, i);
        text.text("{");
        let mut members = Members(text, false);
        members.number("heap", all.count - 1 - i);
        members.flag("in_use", *in_use);
        members.number("cached_bytes", *bytes);
        text.text("}");
    }
    text.text("]");
}
