//! Random runs against what must always hold: the timeline against a sorted map, the rules of the fair class, and the books of
//! nested groups.

use super::group::{Bandwidth, Group, Shares};
use super::policy::PolicyRef;
use super::timeline::{Timeline, VRuntime};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

proptest! {
    /// Equal ones stay in the order in which they came.
    #[test]
    fn the_timeline_is_a_sorted_map(steps in prop::collection::vec((0u8..3, 0u64..40), 1..200), start in any::<u64>()) {
        let entities: Vec<_> = (0..200).map(|_| Box::new(Entity::new(Nice::default()))).collect();
        // SAFETY: boxed, and alive longer than the timeline.
        let of = |i: usize| unsafe { EntityRef::new(&entities[i]) };
        let mut timeline = Timeline::new();
        let mut model = BTreeMap::new();
        for (i, (step, at)) in steps.into_iter().enumerate() {
            if step < 2 {
                // Some of these numbers wrap around.
                of(i).key.set(VRuntime::default().plus(start).plus(at));
                timeline.insert(of(i));
                model.insert((at, i), of(i));
            } else if let Some((key, entity)) = model.iter().nth(at as usize % model.len().max(1)).map(|(k, e)| (*k, *e)) {
                timeline.remove(entity);
                model.remove(&key);
            }
            prop_assert_eq!(timeline.leftmost(), model.values().next().copied());
            prop_assert_eq!(timeline.rightmost(), model.values().next_back().copied());
            let forward = std::iter::successors(timeline.leftmost(), |entity| timeline.next(*entity));
            prop_assert!(forward.eq(model.values().copied()));
            let backward = std::iter::successors(timeline.rightmost(), |entity| timeline.prev(*entity));
            prop_assert!(backward.eq(model.values().rev().copied()));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// This task comes, if it is away.
    Enqueue(usize),
    /// It goes away, if it waits.
    Dequeue(usize),
    /// So much time passes, and the running one leaves as the number says.
    Run(u64, u8),
    SetNice(usize, i32),
    SetGroup(usize, usize),
    SetClass(usize, u8),
}

fn steps(tasks: usize) -> impl Strategy<Value = Vec<Step>> {
    let task = 0..tasks;
    let step = prop_oneof![
        4 => task.clone().prop_map(Step::Enqueue),
        1 => task.clone().prop_map(Step::Dequeue),
        6 => (0u64..3_000_000, 0u8..5).prop_map(|(ns, how)| Step::Run(ns, how)),
        1 => (task.clone(), -20i32..=19).prop_map(|(task, nice)| Step::SetNice(task, nice)),
        1 => (task.clone(), 0usize..5).prop_map(|(task, group)| Step::SetGroup(task, group)),
        1 => (task, 0u8..4).prop_map(|(task, class)| Step::SetClass(task, class)),
    ];
    prop::collection::vec(step, 1..300)
}

const TASKS: usize = 12;

proptest! {
    /// Whatever happens, under every policy, no entity is lost or picked twice, all time is charged, CFS's virtual time never goes back,
    /// and at the end, when everybody has left, nothing is left of any load.
    #[test]
    fn the_books_are_right(steps in steps(TASKS), policy in 0..PolicyRef::NAMES.len()) {
        let policy: PolicyRef = PolicyRef::NAMES[policy].parse().unwrap();
        let shares = |n| Shares::new(n).unwrap();
        let limit = Bandwidth::new(Duration::from_millis(2), Duration::from_millis(8)).unwrap();
        let plain = Group::new(None, shares(100), None, 1, &policy);
        let inner = Group::new(Some(plain.clone()), shares(2), None, 1, &policy);
        let limited = Group::new(Some(plain.clone()), shares(3000), Some(limit), 1, &policy);
        let deep = Group::new(Some(limited.clone()), shares(1024), Some(limit), 1, &policy);
        let groups: [Option<Arc<Group>>; 5] = [None, Some(plain), Some(inner), Some(limited), Some(deep)];
        let entities: Vec<_> = (0..TASKS).map(|_| Box::new(Entity::new(Nice::default()))).collect();
        // SAFETY: boxed, and alive longer than the queue is used.
        let of = |i: usize| unsafe { EntityRef::new(&entities[i]) };
        let number = |entity: EntityRef| (0..TASKS).find(|i| of(*i) == entity).unwrap();
        let mut rq = RunQueue::new(0, Tunables::default(), policy.clone());
        let (mut now, mut running, mut ran) = (1u64, None, 0u64);
        let mut here = [false; TASKS];
        let mut before = rq.moment();
        for step in steps {
            match step {
                Step::Enqueue(i) if !here[i] => {
                    rq.enqueue(of(i), Enqueue::Wakeup, now);
                    here[i] = true;
                }
                Step::Dequeue(i) if here[i] && running != Some(i) => {
                    rq.dequeue(of(i), now);
                    here[i] = false;
                }
                Step::Run(ns, how) => {
                    now += ns;
                    if let Some(i) = running {
                        ran += ns;
                        match how {
                            0 => rq.put_prev(Leaving::Preempted, now),
                            1 => {
                                rq.put_prev(Leaving::Blocked, now);
                                here[i] = false;
                            }
                            2 => {
                                if !rq.tick(now) {
                                    prop_assert!(rq.slice_end() > now);
                                }
                                continue;
                            }
                            _ => {
                                running = rq.yield_current(now).map(number);
                                continue;
                            }
                        }
                    }
                    rq.unthrottle(now);
                    running = rq.pick_next(now).map(number);
                    prop_assert!(running.is_some() || rq.nr_queued() == 0);
                    prop_assert!(running.is_none_or(|i| here[i]));
                }
                Step::SetNice(i, nice) => {
                    rq.set_class(of(i), Class::Fair(Nice::new(nice).unwrap()), now);
                }
                Step::SetGroup(i, group) => {
                    rq.set_group(of(i), groups[group].clone(), now);
                }
                Step::SetClass(i, class) => {
                    let ten = RtPriority::new(10).unwrap();
                    let class = [Class::default(), Class::Idle, Class::Fifo(ten), Class::RoundRobin(ten)][class as usize];
                    rq.set_class(of(i), class, now);
                }
                _ => (),
            }
            prop_assert!(rq.moment() >= before || policy.name() != "cfs", "virtual time goes back");
            before = rq.moment();
            prop_assert!(rq.nr_queued() + u32::from(running.is_some()) <= here.iter().filter(|here| **here).count() as u32);
        }
        rq.tick(now);
        prop_assert_eq!(entities.iter().map(|entity| entity.sum_exec_runtime()).sum::<u64>(), ran);
        if let Some(i) = running {
            rq.put_prev(Leaving::Dead, now);
            here[i] = false;
        }
        // All that are left come out, throttled ones in their time.
        for _ in 0..10_000 {
            let Some(next) = rq.pick_next(now) else {
                let Some(refill) = rq.next_refill() else { break };
                now = now.max(refill);
                rq.unthrottle(now);
                continue;
            };
            here[number(next)] = false;
            now += 100_000;
            rq.put_prev(Leaving::Dead, now);
        }
        prop_assert!(here.iter().all(|here| !here), "lost: {:?}", here);
        prop_assert_eq!((rq.load(), rq.nr_running(), rq.next_refill()), (0, 0, None));
        for group in groups.iter().flatten() {
            prop_assert_eq!(group.load(), 0);
        }
    }

    /// Hogs of any weights under the tick: each is within two of its slices of what its weight is due, the differences cancel out,
    /// and nobody waits for longer than all others' slices.
    #[test]
    fn lags_are_bounded_and_cancel_out(nices in prop::collection::vec(-10i32..=10, 2..8), rounds in 200usize..800) {
        let entities: Vec<_> = nices.iter().map(|nice| Box::new(Entity::new(Nice::new(*nice).unwrap()))).collect();
        let mut rq = RunQueue::new(0, Tunables::default(), PolicyRef::default());
        for entity in &entities {
            // SAFETY: boxed, and alive longer than the queue is used.
            rq.enqueue(unsafe { EntityRef::new(entity) }, Enqueue::New, 0);
        }
        let mut now = 0;
        let mut last = vec![0; entities.len()];
        let whole: u64 = nices.iter().map(|nice| Nice::new(*nice).unwrap().weight().raw()).sum();
        let slice = |nice: i32| {
            let period = 2_000_000.0f64.max(1e6 * nices.len() as f64);
            (period * Nice::new(nice).unwrap().weight().raw() as f64 / whole as f64).max(1e6)
        };
        let lightest = nices.iter().map(|nice| Nice::new(*nice).unwrap().weight().raw()).min().unwrap() as f64;
        for _ in 0..rounds {
            let curr = rq.pick_next(now).unwrap();
            let i = entities.iter().position(|entity| std::ptr::eq(&**entity, curr.as_ptr().as_ptr())).unwrap();
            now = rq.slice_end();
            prop_assert!(rq.tick(now));
            rq.put_prev(Leaving::Preempted, now);
            last[i] = now;
            let mut sum = 0.0;
            for (entity, nice) in entities.iter().zip(&nices) {
                let weight = Nice::new(*nice).unwrap().weight().raw() as f64;
                let due = now as f64 * weight / whole as f64;
                let lag = due - entity.sum_exec_runtime() as f64;
                sum += lag;
                // A slice of the lightest, in its virtual time, is what all others may be apart.
                let bound = 2.0 * slice(*nice) + 4e6 * weight / lightest;
                prop_assert!(lag.abs() <= bound, "nice {}: {} of {}", nice, lag, bound);
            }
            prop_assert!(sum.abs() < 1.0);
        }
        prop_assert!(rounds < 500 || last.iter().all(|last| *last > 0), "somebody never ran");
    }
}
