//! z3: satisfiability of problems in SMT-LIB, with models.
//!
//! Each problem is a job shop (every job visits the machines in an order of its own, no machine does two things at once,
//! all is done by a deadline) in integers, with an equation in bit vectors, an array and an uninterpreted function that share
//! the variables. Deadlines are about where problems turn from unsatisfiable to satisfiable, which is where they are hard.
//! The answer is `sat` or `unsat` for each, with the model: z3 is deterministic, so it is the same whatever the addresses.

use super::{Place, Program, digest_of_output};
use crate::workload::random::Random;
use std::fmt::{self, Write};
use std::process::Command;

pub(super) const Z3: Program = Program {
    name: "z3",
    stands_for: "a prover behind program analysis: job shops in integers with bit vectors and arrays, with models",
    executable: "z3",
    package: "z3",
    prepare,
    answer: digest_of_output,
};

/// Problems at scale 1.
const PROBLEMS: u32 = 50;
const JOBS: usize = 7;
const MACHINES: usize = 5;
/// Of JOBS jobs whose steps last 1 to 9 at MACHINES machines, about half can be done by then.
const DEADLINE: usize = 60;

fn prepare(place: &Place, command: &mut Command) -> Result<(), String> {
    let mut text = String::new();
    let mut random = Random::new(1);
    for _ in 0..place.amount(PROBLEMS) {
        add_problem(&mut text, &mut random).map_err(|e| e.to_string())?;
    }
    command.arg("-model").arg(place.write("shops.smt2", &text)?);
    Ok(())
}

/// `sJ_M` is when job J starts on machine M.
fn add_problem(text: &mut String, random: &mut Random) -> fmt::Result {
    writeln!(text, "(push)")?;
    let mut lasts = [[0; MACHINES]; JOBS];
    for (job, lasts) in lasts.iter_mut().enumerate() {
        lasts.fill_with(|| random.between(1, 9));
        let mut order: [usize; MACHINES] = std::array::from_fn(|machine| machine);
        for last in (1..MACHINES).rev() {
            order.swap(last, random.below(last + 1));
        }
        for machine in 0..MACHINES {
            writeln!(text, "(declare-const s{job}_{machine} Int)")?;
        }
        writeln!(text, "(assert (>= s{job}_{} 0))", order[0])?;
        for pair in order.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            writeln!(text, "(assert (>= s{job}_{after} (+ s{job}_{before} {})))", lasts[before])?;
        }
        let last = order[MACHINES - 1];
        writeln!(text, "(assert (<= (+ s{job}_{last} {}) {DEADLINE}))", lasts[last])?;
    }
    for (job, other) in (0..JOBS).flat_map(|job| (0..job).map(move |other| (job, other))) {
        for (machine, (mine, theirs)) in lasts[job].iter().zip(&lasts[other]).enumerate() {
            let (a, b) = (format!("s{job}_{machine}"), format!("s{other}_{machine}"));
            writeln!(text, "(assert (or (>= {a} (+ {b} {theirs})) (>= {b} (+ {a} {mine}))))")?;
        }
    }
    writeln!(text, "(declare-const table (Array Int Int))\n(declare-fun cost (Int) Int)")?;
    for job in 0..JOBS {
        writeln!(text, "(assert (= (select table s{job}_0) (cost (+ s{job}_1 {job}))))")?;
    }
    // The factor is odd, so that the product is a permutation and the equation has some chance.
    let (factor, salt) = (random.next() as u32 | 1, random.next() as u32);
    writeln!(text, "(declare-const hash (_ BitVec 32))")?;
    writeln!(text, "(assert (= (bvmul hash #x{factor:08x}) (bvxor (bvlshr hash #x00000005) #x{salt:08x})))")?;
    writeln!(text, "(check-sat)\n(pop)")
}

#[cfg(test)]
mod tests {
    use super::{Random, add_problem};

    #[test]
    fn problems_are_well_formed_and_differ() {
        let mut random = Random::new(1);
        let mut problem = || {
            let mut text = String::new();
            add_problem(&mut text, &mut random).unwrap();
            text
        };
        let (first, second) = (problem(), problem());
        assert_eq!(first.matches('(').count(), first.matches(')').count());
        assert_ne!(first, second);
    }
}
