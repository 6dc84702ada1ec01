//! Our bytes against recorded ones: every vector of `tests/vectors`, or of the directory that the
//! environment variable `VECTORS_DIR` names.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test a panic is a failure"
)]

mod vectors;
