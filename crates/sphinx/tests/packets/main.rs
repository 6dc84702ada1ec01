//! What must hold for every packet: with ourselves, with the published peer, with a hostile network.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test a panic is a failure"
)]

mod batch;
mod building;
mod network;
mod peer;
mod round_trip;
mod tampering;
