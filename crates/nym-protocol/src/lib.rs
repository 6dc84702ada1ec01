//! What is spoken above packets: gateway sessions, the app API, topology and announcements.

pub mod app;
pub mod gateway;
pub mod validator;
pub mod ws;

/// The release of the protocol that is spoken here: announced by nodes and required of them.
pub const PROTOCOL_VERSION: &str = "0.11.0";
