//! Placeholder until the first examples land.
