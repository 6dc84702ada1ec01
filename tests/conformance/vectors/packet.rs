//! The vectors of `tests/vectors/packet`.

super::vector_files! {
    "packet":
}
