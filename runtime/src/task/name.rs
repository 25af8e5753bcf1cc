//! A task's name, in Fairground's memory whatever the program's allocator is: the scheduler gives it back.

use fairground_allocator::Fairground;
use std::alloc::{GlobalAlloc, Layout};
use std::ops::Deref;
use std::ptr::NonNull;

/// See the module's text.
pub(crate) struct Name(NonNull<str>);

// SAFETY: owned, and never changed.
unsafe impl Send for Name {}
// SAFETY: as above.
unsafe impl Sync for Name {}

impl Name {
    /// None if it is empty, or there is no memory: then the task goes without a name.
    pub(crate) fn new(name: &str) -> Option<Name> {
        if name.is_empty() {
            return None;
        }
        // SAFETY: not of size 0.
        let memory = NonNull::new(unsafe { Fairground.alloc(Layout::for_value(name)) })?;
        // SAFETY: as many bytes, nobody else's.
        unsafe { memory.copy_from_nonoverlapping(NonNull::from(name).cast(), name.len()) };
        let bytes = std::ptr::slice_from_raw_parts_mut(memory.as_ptr(), name.len());
        NonNull::new(bytes as *mut str).map(Name)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: a copy of a `str`, which this owns.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used again.
        unsafe { Fairground.dealloc(self.0.as_ptr().cast(), Layout::for_value(&**self)) };
    }
}
