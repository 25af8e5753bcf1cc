//! Fork: the child of a program with many threads can allocate at once.
//!
//! `prepare` takes every lock in the lock order, so no structure is in the middle of a change when the process is copied;
//! parent and child release them. In the child the heaps of the other threads are then emptied. Being registered first of
//! all (with the first heap), our `prepare` runs last and our `child` first, so other handlers may allocate.
//!
//! A vforked or raw-cloned child shares the memory until it execs and takes part in the ordinary protocol.

use crate::background;
use crate::extent::EXTENTS;
use crate::kmem::table;
use crate::lock::Lock;
use crate::memblock::MEMBLOCK;
use crate::profile::table::TABLE;
use crate::reclaim;
use crate::registry::REGISTRY;
use crate::zone::node;

/// Registers the handlers; once, after the first heap is in place, for this may allocate.
pub(crate) fn register() {
    // SAFETY: the handlers are functions without arguments, for good.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

/// The outermost locks: while they are held, no other comes into being or goes.
fn for_each_outer_lock(mut each: impl FnMut(&Lock)) {
    each(table::lock());
    each(REGISTRY.lock());
    each(node::lock());
}

/// All others, in lock order. Under the outermost.
fn for_each_inner_lock(mut each: impl FnMut(&Lock)) {
    each(reclaim::lock());
    REGISTRY.for_each_locked(|heap| each(&heap.sheaf_lock));
    for node in node::nodes() {
        for cache in &node.caches {
            each(cache.lock());
        }
    }
    table::for_each_locked(|cache| each(cache.lock()));
    for node in node::nodes() {
        node.bins.iter().for_each(|bins| each(bins.lock()));
    }
    for node in node::nodes() {
        node.zone.locks().into_iter().for_each(&mut each);
    }
    each(MEMBLOCK.lock());
    each(EXTENTS.lock());
    each(TABLE.lock());
}

unsafe extern "C" fn prepare() {
    for_each_outer_lock(Lock::acquire);
    for_each_inner_lock(Lock::acquire);
}

unsafe extern "C" fn parent() {
    for_each_inner_lock(Lock::release);
    for_each_outer_lock(Lock::release);
}

unsafe extern "C" fn child() {
    // Waiters did not survive; waking nobody is harmless.
    for_each_inner_lock(Lock::release);
    for_each_outer_lock(Lock::release);
    background::forget();
    REGISTRY.bury_dead();
}
