//! Names for addresses of a profile, from the files that its mappings name: by DWARF where there is some, inlined functions
//! among them, else by the symbol table. C++ and Rust names are demangled.

use crate::pprof::{Location, Mapping, Profile};
use addr2line::{Loader, demangle_auto};
use object::{Object, ObjectSegment};
use std::collections::HashMap;
use std::path::Path;

/// A file that code came from.
struct Binary {
    loader: Loader,
    /// Offset in the file, length, and address of what is loaded.
    segments: Vec<(u64, u64, u64)>,
}

impl Binary {
    /// Opens a file if it is the one that was profiled.
    fn open(path: &str, build_id: &str) -> Result<Binary, String> {
        let contents = std::fs::read(path).map_err(|error| error.to_string())?;
        let file = object::File::parse(&*contents).map_err(|error| error.to_string())?;
        let found = file.build_id().ok().flatten().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
        let found: String = found.unwrap_or_default();
        if found != build_id && !build_id.is_empty() {
            return Err(format!("its build id is {found}, in the profile {build_id}: another build"));
        }
        let segments = file.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            (offset, size, segment.address())
        });
        let segments = segments.collect();
        Ok(Binary { loader: Loader::new(path).map_err(|error| error.to_string())?, segments })
    }

    /// Functions at an offset in the file, innermost first.
    fn functions_at(&self, offset: u64) -> Vec<String> {
        let segment = self.segments.iter().find(|(start, size, _)| (*start..start + size).contains(&offset));
        let Some((start, _, address)) = segment else { return Vec::new() };
        let address = offset - start + address;
        let mut names = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.and_then(|function| Some(function.demangle().ok()?.into_owned()));
                names.extend(name);
            }
        }
        if names.is_empty() {
            names.extend(self.loader.find_symbol(address).map(|name| demangle_auto(name.into(), None).into_owned()));
        }
        names
    }
}

/// Finds names; opens each file once.
pub struct Symbols<'a> {
    profile: &'a Profile,
    mappings: HashMap<u64, &'a Mapping>,
    binaries: HashMap<String, Option<Binary>>,
    /// Files without names, and why.
    pub unreadable: Vec<String>,
}

impl<'a> Symbols<'a> {
    pub fn new(profile: &'a Profile) -> Self {
        let mappings = profile.mapping.iter().map(|mapping| (mapping.id, mapping)).collect();
        Symbols { profile, mappings, binaries: HashMap::new(), unreadable: Vec::new() }
    }

    /// Functions at a location, innermost first; one in brackets where no name is known.
    pub fn functions(&mut self, location: &Location) -> Vec<String> {
        let Some(mapping) = self.mappings.get(&location.mapping_id) else { return vec!["[unknown]".into()] };
        let path = self.profile.text(mapping.filename);
        let build_id = self.profile.text(mapping.build_id);
        let binary = self.binaries.entry(path.clone()).or_insert_with(|| {
            // The kernel's own image has no file.
            if !path.contains('/') {
                return None;
            }
            Binary::open(&path, &build_id).map_err(|why| self.unreadable.push(format!("{path}: {why}"))).ok()
        });
        let offset = location.address.wrapping_sub(mapping.memory_start).wrapping_add(mapping.file_offset);
        let mut names = binary.as_ref().map_or_else(Vec::new, |binary| binary.functions_at(offset));
        if names.is_empty() {
            let file = Path::new(&path).file_name().unwrap_or_default();
            names.push(format!("[{}]", file.to_string_lossy()));
        }
        names
    }
}

/// Whether a function is the allocator's, or Rust's on the way to it: what `drop_frames` in the profile says.
pub fn is_allocators(name: &str) -> bool {
    let name = name.strip_prefix('<').unwrap_or(name);
    ["fairground_allocator", "__rustc", "__rdl_", "__rg_"].iter().any(|start| name.starts_with(start))
        || ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"].iter().any(|end| name.ends_with(end))
}
