//! Our bytes against recorded ones: every vector of `tests/vectors`, or of the directory that the
//! environment variable `VECTORS_DIR` names.

mod vectors;
