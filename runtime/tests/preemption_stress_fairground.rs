//! The same stress with Fairground as the program's allocator: preempted inside of it, at any instruction.

use fairground_allocator::Fairground;

#[global_allocator]
static ALLOCATOR: Fairground = Fairground;

#[path = "preemption_stress.rs"]
mod stress;
