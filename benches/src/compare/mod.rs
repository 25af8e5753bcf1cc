//! The comparison: every job under every allocator, in one run, with what is needed to believe the numbers.
//!
//! A machine's speed drifts by more than allocators differ, so numbers from two runs cannot be compared. Therefore:
//!
//! * **Interleaved.** One repetition runs each job under all allocators, one right after the other, and the order is rotated
//!   from job to job and repetition to repetition ([`schedule`]). A slow minute then hurts all alike.
//! * **Medians** of the repetitions, with the least and the greatest beside them ([`statistics`]).
//! * **A control.** A copy of the library under test runs as a further allocator. How far its ratio is from 1 is what this
//!   machine's noise does to that very row; no difference below it (or below [`report::NO_DIFFERENCE`]) is called one.
//! * **Checked.** Each run's checksum must be that of the run under the C library's own allocator. A run that fails is
//!   reported, never dropped.
//! * **Ratios are ours divided by theirs** throughout: below 1 ours is better. Rows that are lost are listed.
//!
//! Data flow: [`peers::resolve`] → [`schedule`] runs [`jobs`] through [`process`] → [`report::Report`] → [`table`] as text or
//! Markdown, [`html`] with the pictures of [`plot`], or (by serde) JSON, which can be read back to draw all the others anew.
//! Why rows are lost is written down in `LOSSES.md` and quoted from there ([`losses`]). The preloaded library reaches the
//! measured program only: neither `fairground-compare` nor the redis client runs on it. Programs of others run through
//! `measured`.

pub mod catalogue;
mod digest;
pub mod html;
pub mod jobs;
pub mod losses;
pub mod machine;
mod measured;
pub mod outputs;
pub mod peers;
pub mod plot;
pub mod process;
pub mod programs;
pub(crate) mod progress;
mod redis;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod series;
mod startup;
pub mod statistics;
pub mod table;
