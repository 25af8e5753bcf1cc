//! The comparison of green-thread runtimes: every row of work under every runtime, in one run.
//!
//! The method is that of the comparison of allocators ([`compare`](crate::compare)), whose statistics, order and progress are
//! used: interleaved and rotated runs, medians of the repetitions with the least and the greatest, a copy of the first
//! runtime's program as control, answers that are checked, and no row that is left out, be it lost, failed or impossible.
//!
//! Each runtime is a program, built apart (`benches/runtimes`), which does one row per process, finds by itself how much work
//! takes the time it is given, checks the answer and prints a line of JSON. What is done here is to place it on as many
//! processors as the row is for, and to read the line ([`run`]). What rows there are and which figures each has, with what
//! this project aims at, is [`rows`]; who takes part is [`programs`].
//!
//! **Costs are compared**: a ratio is our cost divided by theirs, below 1 ours is better, also where the figure is a speed.
//!
//! Data flow: [`programs::resolve`] → [`schedule`] → [`report::Report`] → [`table`], [`html`], or (by serde) JSON, which can be
//! read back.

pub mod html;
pub mod programs;
pub mod report;
pub mod rows;
pub mod run;
pub mod schedule;
pub mod table;
