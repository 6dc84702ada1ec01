//! The program an app talks to: a websocket in front of the mixnet.
//!
//! ```text
//!  app ──ws──┐                                   ┌── topology ◄── validators
//!  app ──ws──┤ apps ──orders──► engine ──packets─┤
//!            │                    │  ▲           └── gateway link ──ws──► gateway
//!            └──── deliveries ◄───┘  └── pushes ──────────┘
//! ```
//!
//! Each box is one task (each app one more), each arrow a bounded queue. All protocol lives
//! below: the traffic engine in [`nym_client_core`], what an app and a gateway say in
//! [`nym_protocol`]. This crate is no library for apps; those open the websocket.
//!
//! | Type | Is |
//! |---|---|
//! | [`Client`] | a client: [`Client::bind`], [`Client::addresses`], [`Client::run`] |
//! | [`ClientConfig`] | everything a client can be told, with fields that cannot be wrong |
//! | [`init()`] | the first start: keys, a gateway, a registration |
//!
//! # Invariants
//!
//! * A message that arrived waits until an app has it. When as many wait as may, nothing more is
//!   taken in, and the gateway keeps what comes.
//! * While the gateway is away, nothing piles up for it: cover packets are not made, messages
//!   wait as messages. The traffic after a reconnection looks like the traffic before.
//! * Every task ends when the shutdown token is cancelled, and is awaited.
//! * No log line holds a key, a message or the address of anybody but this client.

pub mod cli;
pub mod config;
pub mod init;
pub mod keys;
pub mod upgrade;

mod app_connection;
mod apps;
mod backoff;
#[cfg(test)]
mod bonds;
mod client;
mod commands;
mod deliveries;
mod engine_task;
mod error;
mod gateway_link;
mod instance;
mod latency;
mod status;
mod store;
mod topology_task;
mod traffic;

use tokio_util::sync::CancellationToken;

pub use crate::client::{Addresses, Client};
pub use crate::config::{AppToken, AppsConfig, ClientConfig, PushMode};
pub use crate::error::ClientError;
pub use crate::init::init;
pub use crate::status::{ClientStatus, Rates, StatusReport};
pub use crate::store::{StoreConfig, StoreError};

/// Runs a client until `shutdown` is cancelled.
///
/// # Errors
///
/// [`ClientError`] when it cannot start. Once it runs it goes on through every failure of the
/// network.
pub async fn run(config: ClientConfig, shutdown: CancellationToken) -> Result<(), ClientError> {
    Client::bind(config).await?.run(shutdown).await
}
