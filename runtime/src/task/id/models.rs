//! Models of the protocol: each interleaving, with leaves of two ids and two children a node.

use super::*;
use crate::atomic::{UnsafeCell, thread};

/// A task, as far as the IDR is concerned: looked at by who finds it, changed by its owner before it is published and after it is
/// removed. Both at once is what loom reports.
struct Task(UnsafeCell<u64>);

impl Task {
    fn new() -> NonNull<Task> {
        NonNull::from(Box::leak(Box::new(Task(UnsafeCell::new(0)))))
    }
}

fn look(task: NonNull<Task>) -> u64 {
    // SAFETY: freed at the model's end only; loom sees whether the value may be read.
    unsafe { task.as_ref() }.0.with(|value| unsafe { *value })
}

fn write(task: NonNull<Task>, number: u64) {
    // SAFETY: as above.
    unsafe { task.as_ref() }.0.with_mut(|value| unsafe { *value = number });
}

fn spawn(range: &mut IdRange<Task>) -> (Slot<Task>, NonNull<Task>) {
    let (slot, task) = (range.reserve().expect("memory"), Task::new());
    write(task, slot.id().get());
    slot.publish(task);
    (slot, task)
}

fn end(idr: &Idr<Task>, (slot, task): (Slot<Task>, NonNull<Task>)) {
    // SAFETY: a model has one IDR.
    unsafe { idr.remove(slot) };
    write(task, 0);
    // SAFETY: nobody finds it any more.
    drop(unsafe { Box::from_raw(task.as_ptr()) });
}

struct Sent<T>(T);
// SAFETY: tasks are made to be looked at by other threads; that is what is modelled.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

fn id(number: u64) -> TaskId {
    TaskId::new(number).expect("not zero")
}

#[test]
fn who_finds_a_task_sees_it_whole_and_alive() {
    loom::model(|| {
        let idr = Idr::new();
        let other = idr.clone();
        let looker = thread::spawn(move || {
            // Id 1 is alone in its leaf: its end frees the leaf under the looker's eyes.
            assert!(other.get(id(1), look).is_none_or(|value| value == 1));
        });
        let mut range = idr.range();
        let task = spawn(&mut range);
        end(&idr, task);
        looker.join().expect("no panic");
        assert_eq!(idr.nodes(), 0);
    });
}

#[test]
fn listing_meets_ends() {
    loom::model(|| {
        let idr = Idr::new();
        let mut range = idr.range();
        let tasks: Vec<_> = (0..2).map(|_| spawn(&mut range)).collect();
        let other = idr.clone();
        let lister = thread::spawn(move || {
            let all: Vec<_> =
                other.iter(|id, task| assert_eq!(look(task), id.get())).map(|(id, ())| id.get()).collect();
            assert!(all.is_sorted() && all.len() <= 2);
        });
        tasks.into_iter().for_each(|task| end(&idr, task));
        lister.join().expect("no panic");
        drop(range);
        assert_eq!(idr.nodes(), 0);
    });
}

#[test]
fn the_last_of_a_leaf_is_whoever_comes_last() {
    loom::model(|| {
        let idr = Idr::new();
        let mut range = idr.range();
        end_all(&idr, [spawn(&mut range)]); // Id 1, whose leaf has no other.
        // Of the next leaf one task ends elsewhere, one here, or its id is given up with the range.
        let there = Sent(spawn(&mut range));
        let other = idr.clone();
        let ender = thread::spawn(move || end(&other, there.into_inner()));
        drop(range);
        ender.join().expect("no panic");
        assert_eq!(idr.nodes(), 0);
    });
}

fn end_all<const N: usize>(idr: &Idr<Task>, tasks: [(Slot<Task>, NonNull<Task>); N]) {
    tasks.into_iter().for_each(|task| end(idr, task));
}

#[test]
fn two_ranges_grow_and_shrink_the_tree_at_once() {
    loom::model(|| {
        let idr = Idr::new();
        let other = idr.clone();
        let spawner = thread::spawn(move || {
            let mut range = other.range();
            let task = spawn(&mut range);
            let number = task.0.id().get();
            end(&other, task);
            number
        });
        let mut range = idr.range();
        let task = spawn(&mut range);
        let number = task.0.id().get();
        assert_eq!(idr.get(id(number), look), Some(number));
        end(&idr, task);
        drop(range);
        assert_ne!(spawner.join().expect("no panic"), number);
        assert_eq!(idr.nodes(), 0);
    });
}
