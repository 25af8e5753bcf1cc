//! Runtimes with each policy run real tasks: bursts, yields, waits, groups, and a policy from outside.

use fairground_runtime::sched::policy::{Arrival, Contender, Policy, PolicyRef, Queue};
use fairground_runtime::sched::{Nice, Shares};
use fairground_runtime::sync::Mutex;
use fairground_runtime::{Builder, Group, Runtime, yield_now};
use std::sync::Arc;
use std::time::Duration;

fn ends_and_counts(policy: PolicyRef) {
    let builder = Runtime::builder().workers(2).policy(policy.clone());
    ends_and_counts_on(&builder.build().expect("a runtime"), policy.name());
    // SAFETY: the tasks keep nothing of a kernel thread over a suspension point.
    let migrating = unsafe { Runtime::builder().workers(2).policy(policy.clone()).migrating() };
    ends_and_counts_on(&migrating.build().expect("a runtime"), policy.name());
}

fn ends_and_counts_on(runtime: &Runtime, name: &str) {
    let group = Group::new(runtime, "some", Shares::default());
    let inner = group.child("fewer", Shares::new(100).expect("it is allowed"));
    let sum = Arc::new(Mutex::new(0));
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let sum = Arc::clone(&sum);
            let mut builder = Builder::new().nice(Nice::new(n % 20 - 5).expect("it is one"));
            if n % 3 != 0 {
                builder = builder.group(if n % 3 == 1 { &group } else { &inner });
            }
            let body = move || {
                for step in 0..20 {
                    *sum.lock().expect("nobody panics") += 1;
                    match step % 4 {
                        0 => fairground_runtime::time::sleep(Duration::from_micros(200)),
                        1 => (),
                        _ => yield_now(),
                    }
                }
            };
            builder.spawn_on(runtime, body).expect("a task")
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().expect("it ends"));
    assert_eq!(*sum.lock().expect("nobody panics"), 60 * 20, "{name}");
}

#[test]
fn every_policy_runs_all_tasks_to_their_ends() {
    for name in PolicyRef::NAMES {
        ends_and_counts(name.parse().expect(name));
    }
}

/// Whoever came last runs first, but after a yield.
struct Stack;

impl Policy for Stack {
    fn name(&self) -> &str {
        "stack"
    }

    fn place(&self, who: Contender<'_>, queue: Queue<'_>, why: Arrival) {
        if why != Arrival::Back {
            who.set_key(u64::MAX / 4 - queue.now());
        }
    }
}

#[test]
fn a_policy_from_outside_runs_all_tasks_to_their_ends() {
    ends_and_counts(PolicyRef::new(Stack));
}

#[test]
fn an_unknown_policy_is_an_error_that_lists_those_there_are() {
    let error = "lottery".parse::<PolicyRef>().expect_err("there is none").to_string();
    assert!(error.contains("'lottery'") && PolicyRef::NAMES.iter().all(|name| error.contains(name)), "{error}");
}
