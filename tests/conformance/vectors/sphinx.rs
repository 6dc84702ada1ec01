//! The vectors of the packet format itself, in `tests/vectors/packet`.

super::vector_files! {
    "packet":
}
