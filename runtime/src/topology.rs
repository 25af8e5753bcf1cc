//! The machine's processors.
