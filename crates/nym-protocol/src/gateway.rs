//! What a client and its gateway say to each other over a websocket.
//!
//! A client registers once ([`handshake`]), which leaves both sides with [`SharedKeys`], and
//! authenticates with them on every later connection ([`auth`]). From then on it sends packets
//! and receives what the mixnet brought for it, in sealed binary messages.
//!
//! [`ClientSession`] and [`GatewaySession`] are the two ends of a connection as state machines;
//! [`mailbox`] says what a gateway keeps, and when it may acknowledge.

pub mod auth;
pub mod client_session;
pub mod control;
pub mod gateway_session;
pub mod handshake;
pub mod mailbox;
pub mod memory;
mod presence;
#[cfg(test)]
mod session_tests;
pub mod shared_keys;

pub use auth::{AuthenticateRequest, ClientAddress};
pub use client_session::{ClientLogin, ClientSession, PushKind, Refusal};
pub use gateway_session::{
    Action, Admission, Attempt, CloseReason, GatewaySession, Login, Lookup, SessionLimits,
};
pub use mailbox::{Inbox, Ledger};
pub use memory::MemoryStore;
pub use presence::{ConnectionId, Presence};
pub use shared_keys::{FrameError, SharedKeys};
