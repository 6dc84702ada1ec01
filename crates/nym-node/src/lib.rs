//! What relays share.
pub mod delay_queue;
pub mod replay;
pub mod stats;
