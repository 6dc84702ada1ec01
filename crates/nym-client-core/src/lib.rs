//! The client's traffic engine: when which packet leaves, when it leaves again, and what becomes
//! of those that arrive.
//!
//! It is a state machine without I/O: no socket, clock, file, task or generator of its own. The
//! same engine drives `nym-client` over a websocket and `nym-sim` in virtual time.
//!
//! It is not the app's protocol and not the gateway's: both are conversations of
//! [`nym_protocol`]. Packets themselves are made by [`nym_packet`].
//!
//! | Type | Is |
//! |---|---|
//! | [`Engine`] | the state machine |
//! | [`EngineConfig`] | the traffic pattern and the bounds of its tables |
//! | [`Event`] | what it has to tell: received, delivered, failed |
//!
//! # The traffic pattern
//!
//! Two Poisson processes run as long as the gateway takes packets (Loopix, section 4.1). A slot of
//! the *main stream*, on average every 20 ms, carries the next real packet or else loop cover; a
//! slot of the *loop cover stream*, on average every 200 ms, always carries loop cover. What an
//! observer of the link sees does not depend on what apps do. A stall is never made up for by a
//! burst.
//!
//! # Anonymous peers
//!
//! A reply SURB that came with a message is handed to the app and also kept under a random
//! [`SenderTag`](nym_protocol::app::SenderTag), so that an app may answer the tag instead.
//! [`Engine::send_anonymous`] attaches several: the first inside the message, the others in
//! follow-up messages that the engine of the recipient takes in without showing them.
//!
//! # Packets and slots
//!
//! A packet is built when its slot comes, over the topology of that moment. Messages share the
//! main stream in turn, so a file does not hold up a chat line.
//!
//! # What survives
//!
//! An engine made by [`Engine::restore`] writes down, as [`Batch`]es of [`Change`]s, whatever
//! somebody was promised; the shell keeps them, in `nym-client` in an encrypted database. After a
//! crash the same records give back the engine as it was at the last commit: unacknowledged
//! fragments under the same names, reply keys, half received messages, the memory of finished
//! ones, messages that no app has taken, and receipts. An engine made by [`Engine::new`] keeps
//! everything in memory.
//!
//! # Invariants
//!
//! * A message that [`Engine::send`] took over and [`Event::Accepted`] confirmed ends in exactly
//!   one [`Event::Delivered`] or [`Event::Failed`].
//! * Nothing is told, sent or confirmed to the gateway that depends on a change which is not
//!   committed.
//! * A message that arrives is reported once, however often its packets are repeated.
//! * The same inputs at the same times with the same generator give the same outputs.
//! * No input from the network makes it panic or grow without bound.
//!
//! # What the wire does not promise
//!
//! Contents and acknowledgements are encrypted but carry no MAC: the recipient's own gateway can
//! garble them, or claim a delivery that did not happen.

mod config;
mod engine;
mod event;
mod journal;
mod receipts;
mod reply_keys;
mod sender_surbs;

pub use crate::config::EngineConfig;
pub use crate::engine::{ClientKeys, Engine, EngineStats, Lane, RestoreError, SendError};
pub use crate::event::{
    Event, FailureReason, Journey, MessageId, MessageNumber, Receipt, ReceivedMessage,
};
pub use crate::journal::{Batch, Change, Position, RecordKey};
