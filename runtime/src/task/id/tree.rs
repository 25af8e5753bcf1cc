//! A radix tree: number to pointer, six bits a level.
//!
//! It is as high as its largest number asks for, and has no node without a child: nodes are made on the way to a new number and freed
//! with their last child. A root with nothing but its first child is a level too many and goes too. Its user has the lock.

use crate::task::slab::Slab;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

/// Bits of a number that a level decides: nodes of 520 bytes, as in the kernel's.
const BITS: u32 = if cfg!(loom) { 1 } else { 6 };
const FANOUT: usize = 1 << BITS;

#[derive(Debug)]
struct Node {
    children: [*mut (); FANOUT],
    count: usize,
}

// SAFETY: reached through its tree only, by one thread at a time.
unsafe impl Send for Node {}

/// Free nodes have no children: they stay constructed.
static NODES: Slab<Node> = Slab::new("idr_node", || Node { children: [null_mut(); FANOUT], count: 0 });

/// Owns its nodes, not what it points to.
#[derive(Debug)]
pub(super) struct Tree<V> {
    /// Null if the tree is empty.
    root: *mut Node,
    /// Levels of nodes; the last level's children are the values.
    height: u32,
    nodes: usize,
    values: PhantomData<NonNull<V>>,
}

// SAFETY: owns its nodes; hands out pointers only.
unsafe impl<V> Send for Tree<V> {}

/// Which child of a node at `height` leads to `index`.
fn place(index: u64, height: u32) -> usize {
    (index >> ((height - 1) * BITS)) as usize % FANOUT
}

/// Whether a tree so high has room for `index`.
fn covers(height: u32, index: u64) -> bool {
    height * BITS >= u64::BITS || index >> (height * BITS) == 0
}

impl<V> Tree<V> {
    pub(super) const fn new() -> Tree<V> {
        Tree { root: null_mut(), height: 0, nodes: 0, values: PhantomData }
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// False if there is no memory; then nothing has changed. The index must be free.
    pub(super) fn insert(&mut self, index: u64, value: NonNull<V>) -> bool {
        let done = self.raise(index) && self.insert_below(self.root, self.height, index, value);
        if !done {
            self.remove(index);
        }
        done
    }

    /// A root that covers `index`.
    fn raise(&mut self, index: u64) -> bool {
        if self.root.is_null() {
            self.height = (1..).find(|&height| covers(height, index)).unwrap_or(1);
            self.root = self.new_node();
            return !self.root.is_null();
        }
        while !covers(self.height, index) {
            let root = self.new_node();
            if root.is_null() {
                return false;
            }
            // SAFETY: a new node, the tree's.
            let node = unsafe { &mut *root };
            (node.children[0], node.count) = (self.root.cast(), 1);
            (self.root, self.height) = (root, self.height + 1);
        }
        true
    }

    fn insert_below(&mut self, node: *mut Node, height: u32, index: u64, value: NonNull<V>) -> bool {
        let at = place(index, height);
        // SAFETY: a node of the tree, borrowed until the next line that uses another.
        let mut child = unsafe { (*node).children[at] };
        if height > 1 && !child.is_null() {
            return self.insert_below(child.cast(), height - 1, index, value);
        }
        debug_assert!(child.is_null(), "{index} is taken");
        child = if height > 1 { self.new_node().cast() } else { value.as_ptr().cast() };
        if child.is_null() {
            return false;
        }
        // SAFETY: as above.
        let parent = unsafe { &mut *node };
        parent.children[at] = child;
        parent.count += 1;
        height == 1 || self.insert_below(child.cast(), height - 1, index, value)
    }

    /// What `index` leads to.
    pub(super) fn get(&self, index: u64) -> Option<NonNull<V>> {
        if self.root.is_null() || !covers(self.height, index) {
            return None;
        }
        let mut at = self.root.cast::<()>();
        for height in (1..=self.height).rev() {
            // SAFETY: not null: a node of the tree, by the height above the values.
            at = unsafe { (*at.cast::<Node>()).children[place(index, height)] };
            if at.is_null() {
                return None;
            }
        }
        NonNull::new(at.cast())
    }

    /// The first that `index` or a larger number leads to.
    pub(super) fn at_or_after(&self, index: u64) -> Option<(u64, NonNull<V>)> {
        if self.root.is_null() || !covers(self.height, index) {
            return None;
        }
        Self::first_below(self.root, self.height, index, 0)
    }

    /// `prefix` is what the levels above decided; `index` is within it or below.
    fn first_below(node: *mut Node, height: u32, index: u64, prefix: u64) -> Option<(u64, NonNull<V>)> {
        let shift = (height - 1) * BITS;
        let from = index.max(prefix);
        // SAFETY: a node of the tree.
        let children = unsafe { &(*node).children };
        children.iter().enumerate().skip(place(from, height)).find_map(|(at, &child)| {
            let prefix = prefix | (at as u64) << shift;
            if height == 1 {
                return NonNull::new(child.cast()).map(|value| (prefix, value));
            }
            if child.is_null() { None } else { Self::first_below(child.cast(), height - 1, index, prefix) }
        })
    }

    /// Forgets an index, and the nodes that led to nothing else.
    pub(super) fn remove(&mut self, index: u64) {
        if self.root.is_null() || !covers(self.height, index) {
            return;
        }
        if self.remove_below(self.root, self.height, index) {
            self.free_node(self.root);
            (self.root, self.height) = (null_mut(), 0);
            return;
        }
        while self.height > 1 {
            // SAFETY: the root is a node of the tree.
            let root = unsafe { &mut *self.root };
            if root.count != 1 || root.children[0].is_null() {
                return;
            }
            let lower = std::mem::replace(&mut root.children[0], null_mut());
            root.count = 0;
            self.free_node(self.root);
            (self.root, self.height) = (lower.cast(), self.height - 1);
        }
    }

    /// Whether the node has no child any more.
    fn remove_below(&mut self, node: *mut Node, height: u32, index: u64) -> bool {
        let at = place(index, height);
        // SAFETY: a node of the tree, borrowed until the next line that uses another.
        let child = unsafe { (*node).children[at] };
        let goes = !child.is_null() && (height == 1 || self.remove_below(child.cast(), height - 1, index));
        if goes && height > 1 {
            self.free_node(child.cast());
        }
        // SAFETY: as above.
        let parent = unsafe { &mut *node };
        if goes {
            parent.children[at] = null_mut();
            parent.count -= 1;
        }
        parent.count == 0
    }

    /// Null if there is no memory.
    fn new_node(&mut self) -> *mut Node {
        match NODES.alloc() {
            Some(node) => {
                self.nodes += 1;
                node.as_ptr()
            }
            None => null_mut(),
        }
    }

    /// A node without children, that nothing leads to.
    fn free_node(&mut self, node: *mut Node) {
        self.nodes -= 1;
        if let Some(node) = NonNull::new(node) {
            // SAFETY: from `new_node`, once.
            unsafe { NODES.free(node) };
        }
    }
}
