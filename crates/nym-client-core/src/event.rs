//! What the engine tells the program around it.

use std::fmt;
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::reply::ReplySurb;
use nym_protocol::app::{Outcome, RequestId, SenderTag};
use sphinx::Delay;

/// Names one message or reply that an app handed over; counts up from 1, over restarts as well if
/// the engine is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub(crate) u64);

impl MessageId {
    /// The first message of an engine.
    pub const FIRST: Self = Self(1);

    /// The message of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names one message that arrived; counts up from 1, over restarts as well if the engine is kept.
/// The same message has the same number however often it is handed to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(u64);

impl MessageNumber {
    /// The message of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What became of a message whose app wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message.
    pub message: MessageId,
    /// What its app calls it.
    pub id: RequestId,
    /// How it ended; `None`: it is on its way.
    pub outcome: Option<Outcome>,
}

/// Something the app, or the person at the client, wants to know.
///
/// In an engine that is kept, an event comes only when everything that led to it is safe.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message that was taken over is safe: it will end as delivered or failed, whatever happens
    /// to this process.
    Accepted {
        /// The message.
        message: MessageId,
    },
    /// Every packet of the message was acknowledged: it was pushed to the recipient's client, or
    /// is kept by its gateway.
    Delivered {
        /// The message.
        message: MessageId,
        /// Time since the app handed it over.
        latency: Duration,
        /// What its app calls it, if it wants to know.
        receipt: Option<RequestId>,
    },
    /// The message was given up.
    Failed {
        /// The message.
        message: MessageId,
        /// Why.
        reason: FailureReason,
        /// What its app calls it, if it wants to know.
        receipt: Option<RequestId>,
    },
    /// A message arrived, whole. It is kept until
    /// [`Engine::handle_taken`](crate::Engine::handle_taken).
    Received(ReceivedMessage),
    /// A message that was taken over could not be made safe and is forgotten; nothing of it was
    /// sent.
    Refused {
        /// The message.
        message: MessageId,
    },
    /// A packet that carries (part of) a message left. Only with
    /// [`crate::EngineConfig::trace_journeys`].
    Sent(Journey),
}

/// A message that arrived.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// Tells it from all others that ever arrived.
    pub number: MessageNumber,
    /// What the sender's app handed over, any bytes.
    pub message: Vec<u8>,
    /// The way to answer once, if the sender attached one.
    pub reply_surb: Option<ReplySurb>,
    /// The name under which further SURBs of this sender are kept, and this one as well.
    pub sender_tag: Option<SenderTag>,
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureReason {
    /// A fragment was sent as often as allowed and never acknowledged.
    #[error("a packet was sent {attempts} times and never acknowledged")]
    Attempts {
        /// How often it was sent.
        attempts: u32,
    },
    /// A reply was sent and never acknowledged. A SURB works once, so it cannot be repeated.
    #[error("the reply was sent but never acknowledged, and its SURB is spent")]
    ReplyUnacknowledged,
    /// The message stayed unacknowledged for too long.
    #[error("not acknowledged within {age_max:?}")]
    TooOld {
        /// The bound it exceeded.
        age_max: Duration,
    },
    /// No packet can be encrypted to the recipient: its encryption key is a degenerate one.
    #[error("the recipient's encryption key is unusable")]
    UnusableRecipient,
    /// The reply SURB names no node to send to.
    #[error("the reply SURB is unusable")]
    UnusableSurb,
}

/// The way one packet was given: known to its sender alone.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The message it carries (part of).
    pub message: MessageId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The three mix nodes and the recipient's gateway; for a reply only the first hop is known.
    pub hops: Vec<HopAddress>,
    /// The delay drawn for each mix node; empty for a reply.
    pub delays: Vec<Delay>,
}
