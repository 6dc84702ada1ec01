//! A whole mixnet without sockets, in virtual time, from one seed.
//!
//! The parts are the ones that ship: the client's [`Engine`](nym_client_core::Engine), both sides
//! of the gateway session, the relays' processor, replay filter and delay queue. Only what is
//! between them is simulated: a [`Network`] carries frames with latency and [`Faults`], and turns
//! the clock to the next moment something is due. Hours pass in seconds.
//!
//! The same [`SimConfig`], seed included, gives the same run, packet for packet:
//! [`Network::trace`] proves it.
//!
//! It is a crate of its own, and not a test helper, because simulation is how we know things about
//! the mixnet: change the pattern, the faults or the topology, and measure.
//!
//! ```
//! use std::time::Duration;
//!
//! use nym_sim::{Network, SimConfig};
//!
//! let mut network = Network::new(SimConfig { seed: 7, ..SimConfig::default() });
//! let (alice, bob) = (0, 1);
//! network.connect(alice);
//! network.connect(bob);
//! network.run_for(Duration::from_secs(1));
//! network.send(alice, bob, b"Hello Nym!").unwrap();
//! network.run_for(Duration::from_secs(5));
//! assert_eq!(network.take_received(bob)[0].message, b"Hello Nym!");
//! ```
//!
//! # What is not simulated
//!
//! Sockets, TLS, disks and processor time. A link between a client and its gateway is a
//! connection: it loses nothing while it lasts.

mod client;
mod config;
mod gateway;
mod mixnode;
mod network;
mod schedule;
pub mod statistics;
mod trace;

pub use crate::config::{Faults, SimConfig};
pub use crate::network::{LinkCounts, Network};
pub use crate::trace::Trace;
