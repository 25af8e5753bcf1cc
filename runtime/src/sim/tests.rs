//! What the simulator must show of the policies, in virtual time and so exactly.

use super::*;
use crate::topology::Shape;

fn simulate(policy: &str, cpus: &str, text: &str) -> Report {
    let machine = cpus.parse::<Shape>().expect(cpus).topology();
    let workload: Workload = text.parse().expect(text);
    let policy = policy.parse().expect(policy);
    Simulation::new(&workload, &machine).policy(policy).run().expect("a simulation")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Each task of each kind is within `percent` of what it should have had.
#[track_caller]
fn assert_shares(report: &Report, percent: f64) {
    for kind in &report.kinds {
        let ideal = ms(kind.ideal) / kind.tasks as f64;
        for got in [kind.ran_each.0, kind.ran_each.1].map(ms) {
            let off = (got / ideal - 1.0).abs() * 100.0;
            assert!(off <= percent, "{} on {} cpus: {got} ms, not {ideal} ms ({off:.2} %)", kind.name, report.cpus);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_one_others() {
    let text = Workload::text("web-requests").expect("it is there");
    let (machine, workload) = ("4".parse::<Shape>().unwrap().topology(), text.parse::<Workload>().unwrap());
    let of = |seed| format!("{:?}", Simulation::new(&workload, &machine).seed(seed).run().expect("a simulation").kinds);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn cfs_shares_within_one_percent_on_1_16_256_and_1024_cpus() {
    let many = "task default per-cpu 2 run forever\ntask low per-cpu 1 run forever nice 3\ntask yields per-cpu 1 run 100us yield nice -3";
    let few = "task default per-cpu 1 run forever\ntask low per-cpu 1 run forever nice 3";
    // On the large ones slices are a tenth, so that a tenth of the time has as many.
    for (cpus, ms, finer, tasks) in
        [("1", 4000, 1, many), ("2x8", 1000, 1, many), ("4x64", 50, 10, few), ("8x64x2", 30, 10, few)]
    {
        let machine = cpus.parse::<Shape>().expect(cpus).topology();
        let workload: Workload = tasks.parse().expect(tasks);
        let Tunables { latency, min_granularity, wakeup_granularity, .. } = Tunables::default();
        let tunables = Tunables {
            latency: latency / finer,
            min_granularity: min_granularity / finer,
            wakeup_granularity: wakeup_granularity / finer,
            ..Tunables::default()
        };
        let simulation = Simulation::new(&workload, &machine).duration(Duration::from_millis(ms)).tunables(tunables);
        let report = simulation.run().expect("a simulation");
        assert_shares(&report, 1.0);
        assert!(report.idle < 1e-9 && report.fairness > 0.9999, "{}", report.fairness);
    }
}

#[test]
fn groups_share_within_one_percent_whatever_is_in_them() {
    for (policy, cpus) in [("cfs", "1"), ("cfs", "16"), ("eevdf", "1"), ("eevdf", "16")] {
        let text = "
            duration 3s
            group large weight 300
            group small weight 100
            task many  per-cpu 5  in small  run forever
            task few   per-cpu 1  in large  run forever";
        assert_shares(&simulate(policy, cpus, text), 1.0);
    }
}

#[test]
fn no_equal_task_waits_longer_than_the_latency_times_the_tasks_ahead_of_it() {
    let latency = Tunables::default().latency;
    for (cpus, text) in [
        ("1", "task hog count 12 run forever"),
        ("1", "task hog count 3 run forever\ntask sleeper count 8 run 50us..3ms sleep 1ms..9ms"),
        ("16", "task hog per-cpu 3 run forever\ntask sleeper per-cpu 8 run ~400us sleep ~3ms"),
    ] {
        let report = simulate("cfs", cpus, text);
        assert!(report.wait_each <= Duration::from_nanos(latency), "{text}: {:?}", report.wait_each);
    }
}

#[test]
fn balancing_comes_within_five_percent_of_what_could_run() {
    for cpus in ["2", "16", "2x8x2", "128"] {
        let all_on_one = "duration 200ms
            task burst per-cpu 8 on 0 run 5ms..20ms end
            task sleeper per-cpu 2 on 0 run ~300us sleep ~500us";
        let nothing_else = "duration 50ms\ntask burst per-cpu 10 on 0 run 1ms..2ms end";
        let storm = Workload::text("fork-storm").expect("it is there").replace("per-cpu 200", "per-cpu 40");
        for text in [all_on_one, nothing_else, &storm] {
            let report = simulate("cfs", cpus, text);
            assert!(report.throughput >= 0.95, "{cpus}: {}", report.throughput);
        }
    }
}

#[test]
fn where_started_tasks_stay_idle_cpus_still_take_new_ones() {
    let machine = "8".parse::<Shape>().unwrap().topology();
    let workload: Workload = "duration 100ms\ntask child count 64 on 0 run 1ms..2ms end".parse().unwrap();
    let report = Simulation::new(&workload, &machine).migrating(false).run().expect("a simulation");
    assert!(report.migrations > 0 && report.bursts == 64, "{report:?}");
    // The very same with hogs: all have begun at once, and then nothing moves.
    let workload: Workload = "duration 100ms\ntask hog count 8 start 0..1ms on 0 run forever".parse().unwrap();
    let report = Simulation::new(&workload, &machine).migrating(false).run().expect("a simulation");
    assert_eq!(report.migrations, 0);
}

#[test]
fn eevdf_keeps_every_lag_within_a_slice() {
    // By the theorem of Stoica and Abdel-Wahab no lag leaves the range of one request, if tasks come and go with a lag of none. What
    // is sampled is the lag machine-wide, each half of a slice, so one half more may be seen.
    let slice = Duration::from_nanos(Tunables::default().min_granularity);
    for text in [
        "duration 2s\ntask hog count 7 run forever",
        "duration 8s\ntask heavy run forever nice -15\ntask hog count 8 run forever",
        "duration 8s\ntask a count 2 run forever nice -6\ntask b count 3 run forever nice 2\ntask c run forever nice 6",
        "duration 2s\ntask a count 3 run forever\ntask yields count 2 run 70us yield nice -2",
    ] {
        let report = simulate("eevdf", "1", text);
        assert!(report.lag.max(report.lead) <= slice * 3 / 2, "{text}: {:?}, {:?}", report.lag, report.lead);
        assert_shares(&report, 1.0);
    }
}

#[test]
fn round_robin_and_first_come_give_what_they_promise() {
    let text = "task heavy run forever nice -10\ntask light count 2 run forever nice 10";
    let report = simulate("rr", "1", text);
    let [heavy, light] = [0, 1].map(|kind| ms(report.kinds[kind].ran_each.1));
    assert!((heavy / light - 1.0).abs() < 0.04, "turns are turns: {heavy} and {light}");
    // Whoever came first runs, and nobody else.
    let report = simulate("fcfs", "1", "task first run forever\ntask second run forever start 1ms");
    assert_eq!(report.kinds[1].ran, Duration::ZERO);
    let report = simulate(
        "fcfs",
        "1",
        "task short count 50 run 2ms sleep 200ms start 1ms..3ms\ntask long run 100ms sleep 1ms times 3",
    );
    assert!(ms(report.kinds[0].latency.max) > 90.0, "behind a long one: {:?}", report.kinds[0].latency);
}

#[test]
fn shortest_job_first_answers_short_ones_sooner_than_first_come() {
    let text = "duration 4s\ntask short count 6 run 1ms sleep ~20ms\ntask long count 3 run 30ms sleep ~90ms";
    let [sjf, fcfs] = ["sjf", "fcfs"].map(|policy| simulate(policy, "1", text));
    let response = |report: &Report, kind: usize| ms(report.kinds[kind].response.p50);
    assert!(response(&sjf, 0) < response(&fcfs, 0), "{} and {}", response(&sjf, 0), response(&fcfs, 0));
}

#[test]
fn strict_priority_interrupts_and_starves() {
    let text = "task urgent run 1ms sleep 3ms nice -5\ntask other count 2 run forever\ntask never run forever nice 1";
    let report = simulate("priority", "1", text);
    assert_eq!(report.kinds[0].latency.max, Duration::ZERO);
    assert_eq!(report.kinds[2].ran, Duration::ZERO);
    let [least, most] = [report.kinds[1].ran_each.0, report.kinds[1].ran_each.1].map(ms);
    assert!(most - least <= 10.1, "equal ones take turns of 10 ms: {least} and {most}");
}

#[test]
fn real_time_comes_before_every_policy_and_idle_after() {
    for policy in PolicyRef::NAMES {
        let text = "task now run 1ms sleep 4ms class fifo:10\ntask fair run forever\ntask never run forever class idle";
        let report = simulate(policy, "1", text);
        let got: Vec<_> = report.kinds.iter().map(|kind| ms(kind.ran).round()).collect();
        assert_eq!(got, [200.0, 800.0, 0.0], "{policy}");
    }
}

#[test]
fn slow_cores_do_less_and_quotas_hold() {
    let report = simulate("cfs", "1@512", "duration 1s\ntask job run 100ms end");
    assert_eq!(ms(report.kinds[0].response.max), 200.0);
    let text = "duration 1s\ngroup half quota 5ms/10ms\ntask in count 3 in half run forever";
    for policy in PolicyRef::NAMES {
        let report = simulate(policy, "1", text);
        assert!((ms(report.kinds[0].ran) - 500.0).abs() < 10.0, "{policy}: {:?}", report.kinds[0].ran);
    }
}

#[test]
fn lanes_tell_what_tasks_did_and_add_up() {
    let machine = "2".parse::<Shape>().unwrap().topology();
    let workload: Workload =
        "duration 50ms\ntask hog count 3 run forever\ntask light run 100us sleep 1ms".parse().unwrap();
    let end = Duration::from_millis(50);
    let report = Simulation::new(&workload, &machine).follow(Duration::ZERO..end).run().expect("a simulation");
    let names: Vec<_> = report.lanes.iter().map(|lane| lane.task.as_str()).collect();
    assert_eq!(names, ["hog 1", "hog 2", "hog 3", "light"]);
    let ran = |lane: &Lane| -> Duration {
        let ends = lane.turns.iter().skip(1).map(|turn| turn.0).chain([end]);
        lane.turns
            .iter()
            .zip(ends)
            .filter(|(turn, _)| matches!(turn.1, Doing::Running(_)))
            .map(|(turn, end)| end - turn.0)
            .sum()
    };
    let hogs: Duration = report.lanes[..3].iter().map(ran).sum();
    assert_eq!((hogs, ran(&report.lanes[3])), (report.kinds[0].ran, report.kinds[1].ran));
    assert!(report.lanes.iter().all(|lane| lane.vruntime.is_sorted_by_key(|point| point.1)), "vruntime goes back");
}

#[test]
fn what_the_machine_cannot_do_is_an_error_that_says_so() {
    let machine = "4".parse::<Shape>().unwrap().topology();
    let error = |text: &str| Simulation::new(&text.parse().unwrap(), &machine).run().expect_err(text).to_string();
    assert_eq!(error("task a run 1ms end on 4"), "task 'a' is spawned on cpu 4: the machine has cpus 0 to 3");
    assert_eq!(error("task a run 1ms end on 4 count 9"), error("task a run 1ms end on 4"));
    let many = error("task a per-cpu 1000000 run 1ms end");
    assert_eq!(many, "4000000 tasks on this machine: 1000000 are the most");
}

#[test]
fn times_beyond_the_clock_are_never_reached() {
    let report = simulate("cfs", "2", "duration 1ms\ntask rare count 1000000 every 360000s run 1us end");
    assert_eq!((report.tasks, report.bursts), (1, 1));
}
