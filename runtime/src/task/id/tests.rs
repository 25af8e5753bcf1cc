use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Entries that nobody follows: addresses that tell which they are.
fn entry(number: usize) -> NonNull<u64> {
    NonNull::without_provenance((number * 8 + 8).try_into().expect("not zero"))
}

fn remove(idr: &Idr<u64>, slot: Slot<u64>) {
    // SAFETY: these tests have one IDR each.
    unsafe { idr.remove(slot) };
}

fn listed(idr: &Idr<u64>) -> Vec<(u64, NonNull<u64>)> {
    idr.iter(|_, entry| entry).map(|(id, entry)| (id.get(), entry)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// By which of the ranges; the last number is none, with the shared one.
    Insert(usize),
    Reserve(usize),
    Publish(usize),
    Remove(usize),
    EndRange(usize),
    Get(u64),
    Next(u64),
}

const RANGES: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..=RANGES).prop_map(Op::Insert),
        2 => (0..=RANGES).prop_map(Op::Reserve),
        2 => any::<usize>().prop_map(Op::Publish),
        8 => any::<usize>().prop_map(Op::Remove),
        1 => (0..RANGES).prop_map(Op::EndRange),
        2 => (0..5000u64).prop_map(Op::Get),
        2 => (1..5000u64).prop_map(Op::Next),
    ]
}

proptest! {
    #[test]
    fn it_does_as_an_ordered_map(ops in prop::collection::vec(op(), 0..2000)) {
        let idr = Idr::<u64>::new();
        let mut ranges: Vec<_> = (0..RANGES).map(|_| idr.range()).collect();
        let (mut slots, mut unpublished) = (Vec::new(), Vec::new());
        let mut model = BTreeMap::new();
        let mut had = BTreeSet::new();
        for (number, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(range) | Op::Reserve(range) => {
                    let slot = match ranges.get_mut(range) {
                        Some(range) => range.reserve(),
                        None => idr.reserve(),
                    }.expect("memory");
                    prop_assert!(had.insert(slot.id()), "{} again", slot.id());
                    if matches!(op, Op::Reserve(_)) {
                        unpublished.push(slot);
                        continue;
                    }
                    slot.publish(entry(number));
                    model.insert(slot.id().get(), entry(number));
                    slots.push(slot);
                }
                Op::Publish(which) if !unpublished.is_empty() => {
                    let slot = unpublished.swap_remove(which % unpublished.len());
                    slot.publish(entry(number));
                    model.insert(slot.id().get(), entry(number));
                    slots.push(slot);
                }
                Op::Remove(which) if slots.len() + unpublished.len() > 0 => {
                    let at = which % (slots.len() + unpublished.len());
                    let slot = if at < slots.len() { slots.swap_remove(at) } else { unpublished.swap_remove(at - slots.len()) };
                    model.remove(&slot.id().get());
                    remove(&idr, slot);
                }
                Op::EndRange(range) => ranges[range] = idr.range(),
                Op::Get(id) => {
                    let found = TaskId::new(id).and_then(|id| idr.get(id, |entry| entry));
                    prop_assert_eq!(found, model.get(&id).copied());
                }
                Op::Next(id) => {
                    let found = idr.next(TaskId::new(id).expect("not zero"), |_, entry| entry);
                    let found = found.map(|(id, entry)| (id.get(), entry));
                    prop_assert_eq!(found, model.range(id..).next().map(|(&id, &entry)| (id, entry)));
                }
                Op::Publish(_) | Op::Remove(_) => {}
            }
        }
        prop_assert_eq!(listed(&idr), model.into_iter().collect::<Vec<_>>());
        slots.into_iter().chain(unpublished).for_each(|slot| remove(&idr, slot));
        drop(ranges);
        idr.inner.shared.lock().retire(&idr.inner);
        prop_assert_eq!(idr.nodes(), 0, "inner nodes are left");
        prop_assert!(idr.inner.tree.lock().at_or_after(0).is_none());
    }

    /// Over all of the numbers, which ids that only rise never reach.
    #[test]
    fn the_tree_does_as_an_ordered_map(ops in prop::collection::vec((0..4u8, 0..64u32, any::<u64>()), 0..400)) {
        let mut tree = Tree::<u64>::new();
        let mut model = BTreeMap::new();
        for (number, (op, shift, wide)) in ops.into_iter().enumerate() {
            let index = wide >> shift;
            match op {
                0 | 1 if !model.contains_key(&index) => {
                    prop_assert!(tree.insert(index, entry(number)));
                    model.insert(index, entry(number));
                }
                2 => {
                    let known = model.range(index..).next().map(|(&index, _)| index).unwrap_or(index);
                    tree.remove(known);
                    model.remove(&known);
                }
                _ => {}
            }
            prop_assert_eq!(tree.get(index), model.get(&index).copied());
            prop_assert_eq!(tree.at_or_after(index), model.range(index..).next().map(|(&index, &value)| (index, value)));
        }
        for index in model.into_keys() {
            prop_assert!(tree.get(index).is_some());
            tree.remove(index);
        }
        prop_assert_eq!(tree.nodes(), 0);
    }
}

#[test]
fn ids_begin_at_one_and_each_range_counts_on_alone() {
    let idr = Idr::<u64>::new();
    let (mut one, mut other) = (idr.range(), idr.range());
    let first: Vec<_> = (0..3).map(|_| one.reserve().expect("memory")).collect();
    let second: Vec<_> = (0..3).map(|_| other.reserve().expect("memory")).collect();
    let numbers = |slots: &[Slot<u64>]| slots.iter().map(|slot| slot.id().get()).collect::<Vec<_>>();
    assert_eq!(numbers(&first), [1, 2, 3]);
    assert_eq!(numbers(&second), [64, 65, 66]);
    first.into_iter().chain(second).for_each(|slot| remove(&idr, slot));
}

#[test]
fn an_id_is_not_used_again() {
    let idr = Idr::<u64>::new();
    let mut range = idr.range();
    let mut last = 0;
    for _ in 0..10_000 {
        let slot = range.reserve().expect("memory");
        assert_eq!(slot.id().get(), last + 1);
        last = slot.id().get();
        slot.publish(entry(0));
        remove(&idr, slot);
    }
    assert!(idr.get(TaskId::new(last).expect("not zero"), |_| ()).is_none());
    assert!(idr.nodes() <= 4, "{} nodes for one leaf", idr.nodes());
}

#[test]
fn a_few_old_tasks_among_a_million_ids_cost_little() {
    let idr = Idr::<u64>::new();
    let mut range = idr.range();
    let mut kept = Vec::new();
    for number in 0..1_000_000 {
        let slot = range.reserve().expect("memory");
        slot.publish(entry(number));
        if number % 250_000 == 0 { kept.push(slot) } else { remove(&idr, slot) }
    }
    assert_eq!(listed(&idr).len(), 4);
    // A million ids are 15,625 leaves: three levels, the root shared.
    assert!(idr.nodes() <= 1 + 5 * 2, "{} nodes", idr.nodes());
    kept.into_iter().for_each(|slot| remove(&idr, slot));
}

#[test]
fn what_ends_during_an_iteration_does_not_disturb_it() {
    let idr = Idr::<u64>::new();
    let mut range = idr.range();
    let mut slots: BTreeMap<_, _> = (0..500)
        .map(|number| {
            let slot = range.reserve().expect("memory");
            slot.publish(entry(number));
            (slot.id(), slot)
        })
        .collect();
    let mut seen = Vec::new();
    for (id, _) in idr.iter(|_, _| ()) {
        seen.push(id.get());
        // Itself, and some others ahead: whole leaves of them.
        for ended in [Some(id), TaskId::new(id.get() + 150)] {
            if let Some(slot) = ended.and_then(|id| slots.remove(&id)) {
                remove(&idr, slot);
            }
        }
    }
    // Those up to 150 ended 150 others, and so on.
    let expected: Vec<_> = (1..=500).filter(|id| (id - 1) / 150 % 2 == 0).collect();
    assert_eq!(seen, expected);
    slots.into_values().for_each(|slot| remove(&idr, slot));
}

#[test]
fn threads_with_ranges_look_each_others_tasks_up() {
    let idr = Idr::<u64>::new();
    let alive = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (idr, alive) = (idr.clone(), &alive);
            scope.spawn(move || {
                let mut range = idr.range();
                let mut held: Vec<(Slot<u64>, Box<u64>)> = Vec::new();
                let mut random = thread + 1;
                for _ in 0..20_000 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    match random >> 61 {
                        0..3 => {
                            let slot = range.reserve().expect("memory");
                            let mut value = Box::new(slot.id().get());
                            slot.publish(NonNull::from(&mut *value));
                            held.push((slot, value));
                        }
                        3..5 if !held.is_empty() => {
                            let (slot, mut value) = held.swap_remove(random as usize % held.len());
                            remove(&idr, slot);
                            // Who saw this would have looked too late.
                            *value = 0;
                        }
                        5 => drop(std::mem::replace(&mut range, idr.range())),
                        _ => {
                            let from = TaskId::new(random % 40_000 + 1).expect("not zero");
                            // SAFETY: entries exist during the call.
                            let found = idr.next(from, |id, entry| (id.get(), unsafe { *entry.as_ref() }));
                            if let Some((id, (given, value))) = found {
                                assert!(id >= from && id.get() == given && given == value);
                            }
                            // SAFETY: as above.
                            let value = idr.get(from, |entry| unsafe { *entry.as_ref() });
                            assert!(value.is_none_or(|value| value == from.get()));
                        }
                    }
                }
                alive.fetch_add(held.len(), std::sync::atomic::Ordering::Relaxed);
                // The boxes stay where they are for the others.
                held.into_iter().for_each(|(_, value)| _ = Box::leak(value));
            });
        }
    });
    assert_eq!(listed(&idr).len(), alive.into_inner());
}
