//! The vectors of `tests/vectors/validator`.

super::vector_files! {
    "validator":
}
