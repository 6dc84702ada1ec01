//! Links between programs: frames over TCP, websockets, and HTTP to the validators.
//!
//! This crate moves bytes that the cores made or will read. It is a shell: it knows sockets,
//! timeouts, queues, back-off and who is at the other end, and nothing of routes or sessions.
//!
//! | Module | One end of |
//! |---|---|
//! | [`listener`] | any TCP port that others connect to |
//! | [`tls`] | an encrypted link; [`legacy`] allows plain ones, [`peers`] tells who speaks TLS |
//! | [`stream`] | either kind of link, as bytes |
//! | [`buffers`] | (of a link between nodes) the memory that packets come and go in |
//! | [`frames`] | the reading side of a link between nodes |
//! | [`connections`] | the writing side: one connection per next hop |
//! | [`websocket`] | the link between a client and its gateway, or an app and its client |
//! | [`directory`] | the conversation with the validators |
//!
//! # Example
//!
//! A link between two nodes on one machine:
//!
//! ```
//! use nym_packet::frame::{Frame, PacketMode};
//! use nym_transport::connections::{Connections, ConnectionsConfig};
//! use nym_transport::frames::{FrameReader, ReadTimeouts};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let next_hop = listener.local_addr()?;
//!
//! let rng = rand::make_rng::<rand::rngs::StdRng>();
//! let connections = Connections::new(ConnectionsConfig::default(), rng);
//! let frame = Frame::new(PacketMode::Mix, vec![0; 386])?;
//! connections.send(next_hop, frame.clone())?;
//!
//! let (stream, _) = listener.accept().await?;
//! let mut reader = FrameReader::new(stream, ReadTimeouts::default());
//! assert_eq!(reader.next_frame().await?, Some(frame));
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! * A link is encrypted, and its peer proves the key that the topology names, unless
//!   [`LegacyPeers`](legacy::LegacyPeers) allows a plain one.
//! * Every queue, message, response and number of connections is bounded, and what is dropped at
//!   a bound is counted.
//! * Every wait for a peer has a timeout; every retry backs off with jitter up to a cap.
//! * No task outlives the value that started it.

pub mod alarm;
pub mod buffers;
pub mod connections;
pub mod directory;
pub mod frames;
pub mod legacy;
pub mod listener;
pub mod peers;
pub mod stream;
pub mod tls;
pub mod websocket;

pub use connections::Connections;
pub use directory::Directory;
