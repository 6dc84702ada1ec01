//! What is spoken above packets: gateway sessions, the app API, topology and announcements.
//!
//! A client of the network holds three conversations, and this crate knows the words of all three:
//!
//! | Module | With | About |
//! |---|---|---|
//! | [`gateway`] | its gateway, over a websocket | registration, login, packets out, messages in |
//! | [`app`] | programs on its own machine, over a websocket | send, receive, reply |
//! | [`validator`] | the validators, over HTTP | which nodes exist, and the routes through them |
//!
//! Everything here is a codec or a state machine: bytes, texts and the time go in, messages and
//! actions come out. No socket, clock, file, task or global generator; those are in the programs.
//! Packets themselves are one crate further down, in `nym-packet`.
//!
//! # Example
//!
//! A client registers at a gateway. Whoever drives the two sessions carries their messages and
//! answers what the gateway's asks:
//!
//! ```
//! use std::sync::Arc;
//! use nym_packet::{keys::IdentityKeyPair, time::Timestamp};
//! use nym_protocol::gateway::{
//!     Action, ClientLogin, ClientSession, ConnectionId, GatewaySession, MemoryStore, Presence,
//! };
//! # use rand_chacha::rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//!
//! let now = Timestamp::ZERO;
//! let identity = Arc::new(IdentityKeyPair::generate(&mut rng));
//! let gateway_identity = Arc::new(IdentityKeyPair::generate(&mut rng));
//! let login = ClientLogin::Registration { identity, gateway: gateway_identity.public_key() };
//! let mut client = ClientSession::new(login, now, &mut rng);
//! let mut gateway = GatewaySession::new(gateway_identity, now);
//! let (mut store, mut presence) = (MemoryStore::new(100), Presence::new());
//!
//! while let Some(message) = client.poll_transmit() {
//!     gateway.handle_message(now, message, &mut rng);
//!     while let Some(action) = gateway.poll_action() {
//!         match action {
//!             Action::Send(message) => client.handle_message(message),
//!             Action::Admit(login) => {
//!                 let (admission, _) = presence.admit(&mut store, ConnectionId(0), &login);
//!                 gateway.handle_admission(admission);
//!             }
//!             other => unreachable!("a registration does not lead to {other:?}"),
//!         }
//!     }
//! }
//! assert!(client.is_ready());
//! assert_eq!(presence.count(), 1);
//! ```
//!
//! # Invariants
//!
//! * Every parser takes any input and answers with a value or a typed error; none allocates by a
//!   length that was only stated.
//! * Who is logged in has proven it in this session; an acknowledgement is released only against
//!   the proof that its message was stored or read ([`gateway::mailbox`]).
//! * The same input and seed give the same output: nothing iterates over a hash map.

pub mod app;
pub mod gateway;
pub mod validator;
pub mod ws;

/// The release of the protocol that is spoken here: announced by nodes and required of them.
pub const PROTOCOL_VERSION: &str = "0.11.0";
