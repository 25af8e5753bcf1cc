//! Typed caches that exist from their first object on, for statics. Under `loom`, where the allocator's caches are not, boxes.

use std::ptr::NonNull;
use std::sync::OnceLock;

#[cfg(not(loom))]
type Objects<T> = fairground_allocator::Cache<T>;
#[cfg(loom)]
type Objects<T> = fn() -> T;

/// Objects of one kind, kept constructed while free; for the whole life of the process.
#[derive(Debug)]
pub(crate) struct Slab<T: Send + 'static> {
    name: &'static str,
    constructor: fn() -> T,
    objects: OnceLock<Objects<T>>,
}

impl<T: Send + 'static> Slab<T> {
    /// `name` is what the allocator's statistics call it: 1 to 31 visible ASCII characters.
    pub(crate) const fn new(name: &'static str, constructor: fn() -> T) -> Slab<T> {
        Slab { name, constructor, objects: OnceLock::new() }
    }

    /// An object as its last user or the constructor left it; None if there is no memory.
    #[inline]
    pub(crate) fn alloc(&self) -> Option<NonNull<T>> {
        match self.objects.get() {
            Some(objects) => Self::alloc_from(objects),
            None => self.alloc_first(),
        }
    }

    #[cold]
    fn alloc_first(&self) -> Option<NonNull<T>> {
        // Of two who come first, one drops its own.
        let _ = self.objects.set(self.create()?);
        self.objects.get().and_then(Self::alloc_from)
    }

    #[cfg(not(loom))]
    fn create(&self) -> Option<Objects<T>> {
        fairground_allocator::Cache::new(self.name, self.constructor).ok()
    }

    #[cfg(not(loom))]
    #[inline]
    fn alloc_from(objects: &Objects<T>) -> Option<NonNull<T>> {
        objects.alloc_raw()
    }

    /// Gives an object back.
    ///
    /// # Safety
    /// From this slab's [`alloc`](Slab::alloc); nobody uses it any more, and it is in the state that the next user expects.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) unsafe fn free(&self, object: NonNull<T>) {
        if let Some(objects) = self.objects.get() {
            // SAFETY: by the caller.
            unsafe { objects.free_raw(object) };
        }
    }

    #[cfg(loom)]
    fn create(&self) -> Option<Objects<T>> {
        Some(self.constructor)
    }

    #[cfg(loom)]
    fn alloc_from(constructor: &Objects<T>) -> Option<NonNull<T>> {
        NonNull::new(Box::into_raw(Box::new(constructor())))
    }

    /// # Safety
    /// As above.
    #[cfg(loom)]
    pub(crate) unsafe fn free(&self, object: NonNull<T>) {
        // SAFETY: by the caller; made above.
        drop(unsafe { Box::from_raw(object.as_ptr()) });
    }
}
