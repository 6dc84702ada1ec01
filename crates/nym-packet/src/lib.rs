//! Nym's use of Sphinx: addresses, frames, fragments, acknowledgements, reply SURBs, cover packets.
