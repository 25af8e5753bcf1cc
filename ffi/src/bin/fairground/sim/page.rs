//! The comparison as one HTML file that needs nothing else: no script, no reference to anything outside.

use super::picture::{GRID, INK, PAPER, SOFT};
use super::table::{figures, ms, percent};
use super::{gantt, vruntime};
use fairground_runtime::sim::Report;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::time::Duration;

/// What the page says of where its figures come from.
pub struct Origin<'a> {
    /// The workload's name or file.
    pub workload: &'a str,
    pub text: &'a str,
    /// The machine as it was asked for.
    pub machine: &'a str,
    /// What the pictures show.
    pub window: Duration,
    /// The command that makes the page again.
    pub command: String,
}

/// The page.
pub fn page(reports: &[Report], origin: &Origin) -> Result<String, String> {
    let window = origin.window.as_secs_f64() * 1e3;
    let pictures = reports.iter().map(|report| Ok((gantt::draw(report, window)?, vruntime::draw(report, window)?)));
    let pictures: Vec<_> = pictures.collect::<Result<_, String>>()?;
    let title = format!("Policies side by side: {}", origin.workload);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style_sheet())) }
            }
            body {
                h1 { (title) }
                @if let Some(first) = reports.first() {
                    p {
                        "Simulated: machine " (origin.machine) " (" (first.cpus) " cpus), " (first.tasks) " tasks, "
                        (format!("{:?}", first.duration)) " of virtual time, seed " (first.seed) ". All policies got the same work."
                    }
                }
                (summary(reports))
                h2 { "Who runs when" }
                p { "The first " (window) " ms. A bar: the task runs, on the cpu with that number. A thin line: it waits. Nothing: it sleeps." }
                div.grid { @for (gantt, _) in &pictures { div.wide { (PreEscaped(gantt)) } } }
                h2 { "Virtual run time" }
                p { "Time that a task ran, by its weight, as its queue counts it. Lines that stay together are shares by weight." }
                div.grid { @for (_, vruntime) in &pictures { div.wide { (PreEscaped(vruntime)) } } }
                h2 { "Task by task" }
                @for report in reports { (kinds(report)) }
                h2 { "The workload" }
                pre { code { (origin.text) } }
                h2 { "To repeat it" }
                pre { code { (origin.command) } }
            }
        }
    };
    Ok(page.into_string())
}

fn summary(reports: &[Report]) -> Markup {
    let names = reports.first().map(figures).unwrap_or_default();
    html! {
        div.wide { table {
            thead { tr { th { "policy" } @for (name, _) in &names { th { (name) } } } }
            tbody { @for report in reports { tr {
                th scope="row" { (report.policy) }
                @for (_, figure) in figures(report) { td { (figure) } }
            } } }
        } }
        p { small {
            "Times in ms. fairness: Jain's index, 1 is even. lag: the most a task was behind what it should have had. wake: from waking \
             up to running. burst: from waking up to the burst's end. moves: to other cpus. of possible: what ran of what could have run."
        } }
    }
}

fn kinds(report: &Report) -> Markup {
    let whole = report.duration.as_secs_f64() * report.cpus as f64;
    let part = |time: Duration| percent(time.as_secs_f64() / whole);
    html! { div.wide { table {
        thead { tr {
            th { (report.policy) } th { "number" } th { "got" } th { "ideal" } th { "lag" } th { "wake p50" } th { "p99" } th { "max" }
            th { "burst p50" } th { "p99" } th { "moves" }
        } }
        tbody { @for kind in &report.kinds { tr {
            th scope="row" { (kind.name) }
            td { (kind.tasks) } td { (part(kind.ran)) } td { (part(kind.ideal)) } td { (ms(kind.lag)) }
            td { (ms(kind.latency.p50)) } td { (ms(kind.latency.p99)) } td { (ms(kind.latency.max)) }
            td { (ms(kind.response.p50)) } td { (ms(kind.response.p99)) } td { (kind.migrations) }
        } } }
    } } }
}

/// On a dark background the inks are turned.
fn style_sheet() -> String {
    let hex = |c: plotters::style::RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let turned = [(INK, "--ink"), (SOFT, "--soft"), (GRID, "--grid"), (PAPER, "--paper")].map(|(ink, name)| {
        let value = hex(ink);
        format!("svg [fill='{value}']{{fill:var({name})}}svg [stroke='{value}']{{stroke:var({name})}}")
    });
    format!("{STYLE}{}", turned.concat())
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#5f5f5f;--grid:#dcdcdc;--paper:#ffffff}\
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--soft:#a9a9a9;--grid:#3d3d3d;--paper:#161616}}\
body{font:15px/1.5 sans-serif;max-width:84rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}\
h1{font-size:1.7rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--grid)}\
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,620px),1fr));gap:1rem}\
.wide{overflow-x:auto;margin:1rem 0}svg{display:block;height:auto;max-width:100%}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}\
th:first-child{text-align:left}thead th{border-bottom:2px solid var(--soft)}small{color:var(--soft)}\
pre{overflow-x:auto}code{font-size:.95em}";
