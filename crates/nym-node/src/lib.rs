//! What relays share: the way of a packet through a mix node or a gateway, and how a node makes
//! itself known.
//!
//! It is not a program: `nym-mixnode` and `nym-gateway` are, and each adds what only it has. It
//! does no cryptography of its own either; packets are opened by `nym-packet`.
//!
//! The pure half knows no task, socket or clock. Time and randomness are handed in, so that
//! `nym-sim` runs whole networks of these very nodes in virtual time:
//!
//! | Module | Answers |
//! |---|---|
//! | [`replay`] | did this packet pass here before? |
//! | [`delay_queue`] | which packet is due next? |
//! | [`processor`] | what is in this frame, and where does it go? |
//! | [`stats`] | what does the node publish about its work? |
//!
//! The shell half drives it with tokio:
//!
//! | Module | Does |
//! |---|---|
//! | [`pipeline`] | moves packets from links through workers and the delay queue to links |
//! | [`replay_journal`] | keeps what the replay filter knows over restarts |
//! | [`counters`] | counts for all tasks, and publishes in steps |
//! | [`links`] | encrypts links, or leaves them plain, as the configuration says |
//! | [`neighbours`] | keeps up with who else is a node, and where |
//! | [`announce`] | tells the validators, again and again, that the node is there |
//! | [`http`] | answers `/stats`, `/description` and `/health` |
//! | [`metrics`] | names the counters for Prometheus |
//! | [`keys`] | reads and makes the node's key files |
//! | [`config`] | has the defaults and checks of every node's file |
//! | [`cli`] | has the flags and refusals of every node's program |
//! | [`setup`] | writes the files of a new node, and those of an old one anew |
//! | [`node`] | binds the ports, and runs all this until the node is told to stop |
//!
//! # Example
//!
//! A node without sockets, as the simulator runs it:
//!
//! ```
//! use nym_node::processor::{MAX_DELAY, Processed, Processor, Rejection};
//! use nym_node::replay::{ReplayFilter, ReplayLimits};
//! use nym_packet::frame::{Frame, PacketMode};
//! use nym_packet::keys::PrivateKey;
//! use nym_packet::time::Timestamp;
//!
//! let mut rng = nym_daemon::entropy();
//! let now = Timestamp::ZERO;
//! let mut filter = ReplayFilter::new(ReplayLimits::default(), now, &mut rng);
//! let processor = Processor::new(PrivateKey::generate(&mut rng), MAX_DELAY);
//!
//! let noise = Frame::new(PacketMode::Mix, vec![0; 2413])?;
//! let outcome = processor.process(noise, |tag| filter.check(now, tag));
//! assert!(matches!(outcome, Err(Rejection::Invalid(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! * A tag enters the replay filter only after its packet was verified, and a packet is opened
//!   only after the filter was asked.
//! * Every queue is bounded, and what is dropped is counted by its reason.
//! * No log line and no published figure tells which packet went where.

pub mod announce;
pub mod cli;
pub mod config;
pub mod counters;
pub mod delay_queue;
pub mod http;
pub mod keys;
pub mod links;
pub mod metrics;
pub mod neighbours;
pub mod node;
pub mod pipeline;
pub mod processor;
pub mod replay;
pub mod replay_journal;
pub mod setup;
pub mod stats;
