//! What relays share.
pub mod delay_queue;
pub mod processor;
pub mod replay;
pub mod stats;
