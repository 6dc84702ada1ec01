//! A complete private mixnet in one process: a validator, mix nodes in three layers, gateways and
//! clients, all talking TCP on loopback through the very libraries that the programs run.
//!
//! Nothing is written outside one directory; it needs no root, container or internet.
//!
//! * [`Config`] says how big the network is.
//! * [`Localnet`] is one that is up.
//! * [`hello::Greeting`] sends a message through it, as an app does.
//! * [`report`] is what the person at the terminal sees.
//! * [`cli`] is the program.
//!
//! It is not a simulation: that is `nym-sim`, where time is virtual.

pub mod cli;
pub mod config;
pub mod hello;
pub mod report;

mod error;
mod join;
mod listing;
mod network;
mod places;
mod tap;

pub use crate::config::Config;
pub use crate::error::LocalnetError;
pub use crate::network::Localnet;
