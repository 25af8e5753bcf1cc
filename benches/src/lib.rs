//! Placeholder until the first benches land.
