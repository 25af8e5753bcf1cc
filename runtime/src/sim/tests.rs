//! What the simulator must show of the policies, in virtual time and so exactly.

use super::*;
use crate::topology::Shape;

fn simulate(cpus: &str, workload: &str) -> Report {
    let machine = cpus.parse::<Shape>().expect(cpus).topology();
    let workload: Workload = workload.parse().expect("a workload");
    Simulation::new(&workload, &machine).run().expect("a simulation")
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let text = Workload::text("web-requests").expect("it is there");
    let again = [simulate("4", text), simulate("4", text)].map(|report| format!("{report:?}"));
    assert_eq!(again[0], again[1]);
}
