//! The vectors of `tests/vectors/gateway`.

super::vector_files! {
    "gateway":
}
