#![doc = include_str!("../README.md")]

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
#[cfg(test)]
mod testing;
pub mod time;
