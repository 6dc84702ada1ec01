//! Nym's use of Sphinx: addresses, frames, fragments, acknowledgements, reply SURBs, cover packets.

pub mod address;
pub mod fragment;
pub mod frame;
pub mod geometry;
pub mod keys;
pub mod message;
pub mod mix_packet;
pub mod reply;
pub mod route;
pub mod symmetric;
pub mod time;
