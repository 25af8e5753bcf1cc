//! The tree of tasks.

/// Leaves, numbered from 0.
pub const LEAVES: u64 = 1_000_000;
/// Tasks below a task that is no leaf.
pub const CHILDREN: u64 = 10;
/// All tasks of the tree: those of each level added up, the root among them.
pub const TASKS: u64 = 1_111_111;

/// Checks the sum of the leaves' numbers.
pub fn check(sum: u64) -> Result<(), String> {
    crate::check("the sum of the tree", sum, LEAVES * (LEAVES - 1) / 2)
}
