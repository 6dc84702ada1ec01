//! The Sphinx packet format: build, unwrap one hop, answer by SURB.
