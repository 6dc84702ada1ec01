//! A mailbox for clients and their door to the mixnet.
//!
//! ```text
//!            websocket                                    TCP
//!  client ◄─────────────► [client_connection] ──────────────────────────► first mix node
//!                              ▲   │                        ▲
//!                       pushes │   │ keys, IVs              │ packets of clients,
//!                              │   ▼                        │ acknowledgements
//!                          [roster] [store] ────────────────┤
//!                              ▲       ▲  after the commit  │
//!                              │       │                    │
//!  last mix node ──TCP──► pipeline ─► [mailroom] ───────────┘
//!                                      after the pong
//! ```
//!
//! A gateway knows its clients and what waits for them; it knows nothing of what is in their
//! messages, nor where those come from. It is not a mix node: packets that want to go on are
//! dropped.
//!
//! # Example
//!
//! ```
//! use nym_gateway::{Config, Gateway};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let validators = vec!["http://127.0.0.1:1317".parse()?];
//! let config = Config::on_loopback("one", directory.path(), validators);
//! let gateway = Gateway::bind(config).await?;
//! assert_ne!(gateway.addresses().clients.port(), 0);
//! let shutdown = CancellationToken::new();
//! shutdown.cancel();
//! gateway.run(shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! * An acknowledgement leaves only after the client has answered the ping behind the push of its
//!   message, or the message was committed to the database; the types of
//!   [`mailbox`](nym_protocol::gateway::mailbox) see to it.
//! * A message leaves the inbox only after that answer.
//! * A client is offline when the task of its connection ends, in whatever way.
//! * Nothing that is logged or published names a client.

pub mod cli;
mod client_connection;
pub mod config;
mod control;
mod gateway;
mod http;
mod init;
mod late_acks;
pub mod limits;
mod mailroom;
mod metrics;
mod origins;
mod rate;
mod roster;
mod store;

pub use crate::config::Config;
pub use crate::control::{GatewayControl, Reloadable};
pub use crate::gateway::{Addresses, Gateway, GatewayError, run};
pub use crate::init::{InitError, Initialised, init};
pub use crate::limits::{AddressLimits, ClientLimits};
pub use crate::mailroom::GatewayCounts;
pub use crate::rate::Rate;
pub use crate::store::{ClientInbox, InboxStats, Inspector, Quotas, StoreError, WhenFull};
