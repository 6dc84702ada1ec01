//! The vectors of `tests/vectors/app-api`.

super::vector_files! {
    "app-api":
}
