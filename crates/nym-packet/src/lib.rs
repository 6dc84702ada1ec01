//! Nym's use of Sphinx: addresses, frames, fragments, acknowledgements, reply SURBs, cover packets.

pub mod ack;
pub mod address;
pub mod build;
pub mod cover;
pub mod fragment;
pub mod frame;
pub mod geometry;
pub mod keys;
pub mod message;
pub mod mix_packet;
pub mod node;
pub mod payload;
pub mod reassembly;
pub mod reply;
pub mod route;
pub mod symmetric;
pub mod time;
