//! The figures for other tools: times in milliseconds.

use super::Report;
use fairground_runtime::sim::{Kind, Percentiles};
use serde_json::{Value, json};
use std::time::Duration;

pub fn text(reports: &[Report]) -> String {
    let policies: Vec<_> = reports.iter().map(report).collect();
    format!("{:#}\n", json!({ "policies": policies }))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn times(times: Percentiles) -> Value {
    json!({
        "count": times.count,
        "p50_ms": ms(times.p50),
        "p90_ms": ms(times.p90),
        "p99_ms": ms(times.p99),
        "max_ms": ms(times.max),
    })
}

fn report(report: &Report) -> Value {
    json!({
        "policy": report.policy,
        "cpus": report.cpus,
        "tasks": report.tasks,
        "duration_ms": ms(report.duration),
        "seed": report.seed,
        "fairness": report.fairness,
        "lag_ms": ms(report.lag),
        "lead_ms": ms(report.lead),
        "latency": times(report.latency),
        "response": times(report.response),
        "wait_each_ms": ms(report.wait_each),
        "migrations": report.migrations,
        "switches": report.switches,
        "preemptions": report.preemptions,
        "idle": report.idle,
        "throughput": report.throughput,
        "bursts": report.bursts,
        "kinds": report.kinds.iter().map(kind).collect::<Vec<_>>(),
    })
}

fn kind(kind: &Kind) -> Value {
    json!({
        "name": kind.name,
        "tasks": kind.tasks,
        "ran_ms": ms(kind.ran),
        "ideal_ms": ms(kind.ideal),
        "ran_least_ms": ms(kind.ran_each.0),
        "ran_most_ms": ms(kind.ran_each.1),
        "lag_ms": ms(kind.lag),
        "lead_ms": ms(kind.lead),
        "latency": times(kind.latency),
        "response": times(kind.response),
        "preemptions": kind.preemptions,
        "migrations": kind.migrations,
    })
}
