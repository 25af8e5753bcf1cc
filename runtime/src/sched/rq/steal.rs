//! Which of those that wait goes to another cpu.

use super::RunQueue;
use crate::sched::entity::EntityRef;
use crate::sched::group::GroupCpu;
use std::ptr::NonNull;

/// How many waiting entities `steal` looks at: the kernel's `sched_nr_migrate`. The lock is held meanwhile.
const STEAL_LOOKS: usize = 32;

impl RunQueue {
    /// Takes one that waits and is allowed, to go to another cpu: real-time first, since it must not wait; else what would run
    /// last here. Looks at a bounded number.
    pub(crate) fn steal(&mut self, mut allowed: impl FnMut(EntityRef) -> bool, now: u64) -> Option<EntityRef> {
        let mut looks = STEAL_LOOKS;
        let found = self
            .rt
            .find_first(looks, &mut allowed)
            .or_else(|| self.find_last_fair(None, &mut looks, &mut allowed))
            .or_else(|| self.idle.find_last(looks, &mut allowed))?;
        self.dequeue(found, now);
        Some(found)
    }

    fn find_last_fair(
        &mut self,
        within: Option<NonNull<GroupCpu>>,
        looks: &mut usize,
        allowed: &mut dyn FnMut(EntityRef) -> bool,
    ) -> Option<EntityRef> {
        let mut at = self.queue(within).timeline.rightmost();
        // A group that runs has tasks that wait, too; they are looked at last.
        let running = self.queue(within).curr.filter(|curr| curr.is_group);
        while let Some(entity) = at {
            *looks = looks.checked_sub(1)?;
            if !entity.is_group {
                if allowed(entity) {
                    return Some(entity);
                }
            } else if let Some(found) = self.find_last_fair(Some(GroupCpu::of(entity)), looks, allowed) {
                return Some(found);
            }
            at = self.queue(within).timeline.prev(entity);
        }
        self.find_last_fair(Some(GroupCpu::of(running?)), looks, allowed)
    }
}
