//! Scaffold: the interface the other crates build on while the real layers are being written.
pub mod malloc;
