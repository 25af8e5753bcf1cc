//! The classes on a machine in virtual time: what each task gets.

use super::group::{Bandwidth, Group, Shares};
use super::policy::PolicyRef;
use super::virtual_time::{MS, Machine, S, Then, US, hog, yielding_every};
use super::*;
use std::sync::Arc;
use std::time::Duration;

#[track_caller]
fn near(got: f64, want: f64, percent: f64, what: &str) {
    assert!((got / want - 1.0).abs() * 100.0 <= percent, "{what}: {got:.4} where {want:.4} is due");
}

fn nice(nice: i32) -> Nice {
    Nice::new(nice).unwrap()
}

fn group(parent: Option<&Arc<Group>>, shares: u32, cpus: usize) -> Arc<Group> {
    Group::new(parent.cloned(), Shares::new(shares).unwrap(), None, cpus as u32, &PolicyRef::default())
}

/// Of the weight of one task on each cpu.
fn limited(parent: Option<&Arc<Group>>, quota: u64, period: u64, cpus: usize) -> Arc<Group> {
    let shares = Shares::new(1024 * cpus as u32).unwrap();
    let bandwidth = Bandwidth::new(Duration::from_nanos(quota), Duration::from_nanos(period)).unwrap();
    Group::new(parent.cloned(), shares, Some(bandwidth), cpus as u32, &PolicyRef::default())
}

fn within(group: &Arc<Group>) -> Params {
    Params { class: Class::default(), group: Some(group.clone()) }
}

#[test]
fn tasks_that_yield_share_by_weight() {
    for other in [1, 5, 10, 19, -5] {
        let mut machine = Machine::new(1);
        let a = machine.spawn(0, nice(0), yielding_every(100 * US));
        let b = machine.spawn(0, nice(other), yielding_every(100 * US));
        machine.run_until(2 * S);
        let want = nice(other).weight().raw() as f64 / nice(0).weight().raw() as f64;
        // What the granularity lets a light one lead by is a larger part of its small share.
        let percent = if other > 5 { 10.0 } else { 2.0 };
        near(machine.ran(b) as f64 / machine.ran(a) as f64, want, percent, &format!("nice {other}"));
        assert_eq!(machine.ran(a) + machine.ran(b), 2 * S);
    }
}

#[test]
fn tasks_that_never_yield_share_by_weight() {
    let mut machine = Machine::new(1);
    let tasks: Vec<_> = [0, 0, 5, -5].into_iter().map(|n| (n, machine.spawn(0, nice(n), hog()))).collect();
    machine.run_until(10 * S);
    let whole: u64 = tasks.iter().map(|(n, _)| nice(*n).weight().raw()).sum();
    for (n, task) in tasks {
        near(
            machine.ran(task) as f64 / (10 * S) as f64,
            nice(n).weight().raw() as f64 / whole as f64,
            2.0,
            &format!("nice {n}"),
        );
    }
}

#[test]
fn yielding_costs_nothing_against_those_that_never_yield() {
    let mut machine = Machine::new(1);
    let a = machine.spawn(0, nice(0), yielding_every(10 * US));
    let b = machine.spawn(0, nice(0), hog());
    machine.run_until(4 * S);
    near(machine.ran(a) as f64 / machine.ran(b) as f64, 1.0, 2.0, "the one that yields");
}

#[test]
fn a_new_task_gets_its_turn_at_the_first_yield() {
    for other in [-20, 0, 19] {
        let mut machine = Machine::new(1);
        machine.spawn(0, nice(0), yielding_every(US));
        machine.run_until(10 * MS);
        let late = machine.spawn(0, nice(other), yielding_every(US));
        machine.run_until(10 * MS + 3 * US);
        assert!(machine.ran(late) > 0, "nice {other}");
    }
}

#[test]
fn two_groups_share_the_machine_by_weight_whatever_is_in_them() {
    for cpus in [1, 2, 4] {
        for (in_a, in_b) in [(1, 1), (1, 5), (5, 1), (3, 3), (1, 20)] {
            let mut machine = Machine::new(cpus);
            let (a, b) = (group(None, 100, cpus), group(None, 300, cpus));
            let mut spawn = |group: &Arc<Group>, each| -> Vec<usize> {
                (0..cpus * each).map(|i| machine.spawn(i % cpus, within(group), yielding_every(100 * US))).collect()
            };
            let (tasks_a, tasks_b) = (spawn(&a, in_a), spawn(&b, in_b));
            machine.run_until(2 * S);
            let (a, b) = (machine.ran_together(&tasks_a), machine.ran_together(&tasks_b));
            assert_eq!(a + b, cpus as u64 * 2 * S, "no cpu was idle");
            near(b as f64 / a as f64, 3.0, 2.0, &format!("{cpus} cpus, {in_a} and {in_b} tasks a cpu"));
        }
    }
}

#[test]
fn groups_share_by_weight_if_their_tasks_sit_unevenly() {
    // One task of the light group on a cpu; the heavy one's three make up for it: 100 + 100 here, 200 there.
    let mut machine = Machine::new(2);
    let (a, b) = (group(None, 100, 2), group(None, 300, 2));
    let light = machine.spawn(0, within(&a), yielding_every(100 * US));
    let heavy = [0, 1, 1].map(|cpu| machine.spawn(cpu, within(&b), yielding_every(100 * US)));
    machine.run_until(2 * S);
    near(machine.ran(light) as f64 / (4 * S) as f64, 0.25, 2.0, "the light group");
    near(machine.ran_together(&heavy) as f64 / (4 * S) as f64, 0.75, 2.0, "the heavy group");
}

#[test]
fn nested_groups_share_what_their_parent_gets() {
    let mut machine = Machine::new(1);
    let tenant = group(None, 1024, 1);
    let (web, batch) = (group(Some(&tenant), 300, 1), group(Some(&tenant), 100, 1));
    let alone = machine.spawn(0, nice(0), hog());
    let web: Vec<_> = (0..3).map(|_| machine.spawn(0, within(&web), hog())).collect();
    let batch: Vec<_> = (0..5).map(|_| machine.spawn(0, within(&batch), yielding_every(100 * US))).collect();
    machine.run_until(10 * S);
    near(machine.ran(alone) as f64, 5e9, 2.0, "the task beside the tenant");
    near(machine.ran_together(&web) as f64, 3.75e9, 2.0, "web");
    near(machine.ran_together(&batch) as f64, 1.25e9, 2.0, "batch");
}

#[test]
fn a_quota_is_kept() {
    for cpus in [1, 2, 4] {
        let mut machine = Machine::new(cpus);
        let quarter = limited(None, 5 * MS * cpus as u64, 20 * MS, cpus);
        let mut inside = Vec::new();
        for cpu in 0..cpus {
            inside.extend((0..2).map(|_| machine.spawn(cpu, within(&quarter), yielding_every(100 * US))));
        }
        machine.run_until(2 * S);
        near(machine.ran_together(&inside) as f64, 0.25 * (2 * S * cpus as u64) as f64, 2.0, &format!("{cpus} cpus"));
        // The next one is of others: they get all that is left.
        let others: Vec<_> = (0..cpus).map(|cpu| machine.spawn(cpu, nice(0), hog())).collect();
        machine.run_until(4 * S);
        near(machine.ran_together(&inside) as f64, 0.25 * (4 * S * cpus as u64) as f64, 2.0, "beside others");
        near(machine.ran_together(&others) as f64, 0.75 * (2 * S * cpus as u64) as f64, 2.0, "the others");
    }
}

#[test]
fn a_quota_within_a_quota_is_kept() {
    let mut machine = Machine::new(1);
    let outer = limited(None, 10 * MS, 20 * MS, 1);
    let inner = limited(Some(&outer), 4 * MS, 20 * MS, 1);
    let a = machine.spawn(0, within(&inner), hog());
    let b = machine.spawn(0, within(&outer), hog());
    machine.run_until(2 * S);
    near(machine.ran(a) as f64, 0.2 * (2 * S) as f64, 2.0, "the inner group");
    near(machine.ran(b) as f64, 0.3 * (2 * S) as f64, 2.0, "what the outer one has left");
    near(machine.idle(0) as f64, 0.5 * (2 * S) as f64, 2.0, "nobody's");
}

#[test]
fn a_sleeper_gets_the_core_soon_and_no_more_than_its_share() {
    // It would use 10 % if it were alone: less than its share, so it gets all of it.
    let mut machine = Machine::new(1);
    let light = machine.spawn(0, nice(0), Box::new(|_| (100 * US, Then::Sleep(900 * US))));
    let hogs: Vec<_> = (0..3).map(|_| machine.spawn(0, nice(0), hog())).collect();
    machine.run_until(2 * S);
    near(machine.ran(light) as f64, 0.1 * (2 * S) as f64, 5.0, "a light sleeper");
    let parts: Vec<_> = hogs.iter().map(|hog| machine.ran(*hog)).collect();
    near(parts[0] as f64, parts[2] as f64, 2.0, "the hogs among each other");

    // It would use 99 %, and sleeps a moment again and again to be placed anew.
    for (work, sleep) in [(990 * US, 10 * US), (100 * US, 1), (3 * MS, 100 * US), (10 * MS, 2 * MS)] {
        let mut machine = Machine::new(1);
        let greedy = machine.spawn(0, nice(0), Box::new(move |_| (work, Then::Sleep(sleep))));
        machine.spawn(0, nice(0), hog());
        machine.run_until(4 * S);
        let share = machine.ran(greedy) as f64 / (4 * S) as f64;
        assert!(share <= 0.51, "{work} then {sleep}: {share}");
    }
}

#[test]
fn to_spawn_gains_nothing() {
    // A chain of tasks, each of which runs for a moment and spawns the next, against a hog.
    let mut machine = Machine::new(1);
    let hog = machine.spawn(0, nice(0), hog());
    let mut chain = Vec::new();
    while machine.now < S {
        chain.push(machine.spawn(0, nice(0), Box::new(|_| (500 * US, Then::End))));
        let last = chain[chain.len() - 1];
        while machine.ran(last) < 500 * US {
            let until = machine.now + 100 * US;
            machine.run_until(until);
        }
    }
    let share = machine.ran_together(&chain) as f64 / machine.now as f64;
    assert!(share <= 0.51, "{share}, the hog {}", machine.ran(hog));
}

#[test]
fn real_time_runs_before_fair_and_fair_before_idle() {
    let priority = |priority| RtPriority::new(priority).unwrap();
    let mut machine = Machine::new(1);
    let idle = machine.spawn(0, Class::Idle, hog());
    machine.run_until(10 * MS);
    assert_eq!(machine.ran(idle), 10 * MS);
    let fair = machine.spawn(0, nice(19), Box::new(|_| (10 * MS, Then::End)));
    machine.run_until(20 * MS);
    assert_eq!(machine.ran(fair), 10 * MS);
    machine.spawn(0, nice(-20), hog());
    let low = machine.spawn(0, Class::Fifo(priority(1)), Box::new(|_| (10 * MS, Then::End)));
    let high = machine.spawn(0, Class::Fifo(priority(99)), Box::new(|_| (10 * MS, Then::End)));
    machine.run_until(30 * MS);
    assert_eq!((machine.ran(high), machine.ran(low)), (10 * MS, 0));
    machine.run_until(60 * MS);
    assert_eq!((machine.ran(low), machine.ran(idle)), (10 * MS, 10 * MS));
}

#[test]
fn round_robin_rotates_and_fifo_does_not() {
    let ten = RtPriority::new(10).unwrap();
    let mut machine = Machine::new(1);
    let turns: Vec<_> = (0..4).map(|_| machine.spawn(0, Class::RoundRobin(ten), hog())).collect();
    machine.run_until(4 * S);
    for task in turns {
        near(machine.ran(task) as f64, S as f64, 1.0, "a turn-taker");
    }
    let mut machine = Machine::new(1);
    let first = machine.spawn(0, Class::Fifo(ten), hog());
    machine.spawn(0, Class::Fifo(ten), hog());
    machine.run_until(S);
    assert_eq!(machine.ran(first), S);
}

#[test]
fn a_preempted_real_time_task_is_still_the_first_of_its_priority() {
    let (ten, twenty) = (RtPriority::new(10).unwrap(), RtPriority::new(20).unwrap());
    let mut machine = Machine::new(1);
    let first = machine.spawn(0, Class::Fifo(ten), hog());
    let second = machine.spawn(0, Class::Fifo(ten), hog());
    machine.run_until(MS);
    machine.spawn(0, Class::Fifo(twenty), Box::new(|_| (MS, Then::End)));
    machine.run_until(3 * MS);
    assert_eq!((machine.ran(first), machine.ran(second)), (2 * MS, 0));
}

#[test]
fn who_moves_keeps_its_place_among_others() {
    let mut machine = Machine::new(2);
    let old: Vec<_> = (0..4).map(|_| machine.spawn(0, nice(0), hog())).collect();
    machine.run_until(S);
    let there = machine.spawn(1, nice(0), hog());
    machine.run_until(2 * S);
    let moved = machine.pull(0, 1).expect("three wait");
    let before = (machine.ran(moved), machine.ran(there));
    machine.run_until(3 * S);
    near((machine.ran(moved) - before.0) as f64, (S / 2) as f64, 2.0, "the one that moved");
    near((machine.ran(there) - before.1) as f64, (S / 2) as f64, 2.0, "the one that was there");
    let stayed: Vec<_> = old.into_iter().filter(|task| *task != moved).collect();
    assert_eq!(machine.ran_together(&stayed) + before.0, 3 * S);
}

#[test]
fn a_tasks_nice_value_class_and_group_can_change_while_it_waits_and_while_it_runs() {
    let mut machine = Machine::new(1);
    let tasks = [machine.spawn(0, nice(0), hog()), machine.spawn(0, nice(0), hog())];
    machine.run_until(S);
    for task in tasks {
        let before = (machine.ran(tasks[0]), machine.ran(tasks[1]));
        machine.change(task, |rq, entity, now| rq.set_class(entity, Class::Fair(nice(5)), now));
        let start = machine.now;
        machine.run_until(start + 2 * S);
        let got = (machine.ran(tasks[0]) - before.0, machine.ran(tasks[1]) - before.1);
        let (light, other) = if task == tasks[0] { got } else { (got.1, got.0) };
        near(light as f64 / other as f64, 335.0 / 1024.0, 2.0, "after set_nice");
        machine.change(task, |rq, entity, now| rq.set_class(entity, Class::Fair(nice(0)), now));
    }
    // A group of weight 512 around the first: a third for it.
    let small = group(None, 512, 1);
    let before = machine.ran(tasks[0]);
    machine.change(tasks[0], |rq, entity, now| rq.set_group(entity, Some(small), now));
    let start = machine.now;
    machine.run_until(start + 3 * S);
    near((machine.ran(tasks[0]) - before) as f64, S as f64, 2.0, "in a group of half the weight");
    machine.change(tasks[0], |rq, entity, now| rq.set_group(entity, None, now));
    machine.change(tasks[1], |rq, entity, now| rq.set_class(entity, Class::Idle, now));
    let before = machine.ran(tasks[1]);
    let start = machine.now;
    machine.run_until(start + S);
    assert!(machine.ran(tasks[1]) - before <= 2 * MS, "idle beside a fair one");
    machine.change(tasks[1], |rq, entity, now| rq.set_class(entity, Class::default(), now));
    let before = machine.ran(tasks[1]);
    let start = machine.now;
    machine.run_until(start + S);
    near((machine.ran(tasks[1]) - before) as f64, (S / 2) as f64, 2.0, "fair again");
}

#[test]
fn stealing_takes_what_would_run_last_and_only_what_is_allowed() {
    let mut machine = Machine::new(2);
    let tasks: Vec<_> = (0..4).map(|_| machine.spawn(0, nice(0), hog())).collect();
    assert!(machine.rq(0).steal(|_| false, 0).is_none());
    assert_eq!(machine.rq(0).nr_queued(), 4);
    // The first came to an empty queue, so its first slice, by which it was placed, is the longest.
    assert_eq!(machine.pull(0, 1), Some(tasks[0]));
    assert_eq!((machine.rq(0).nr_queued(), machine.rq(1).nr_queued()), (3, 1));
}
