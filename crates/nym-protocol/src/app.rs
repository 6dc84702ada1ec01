//! The app API: what a program on the same machine says to its client over a websocket.
//!
//! An *app* connects to `ws://127.0.0.1:1977` and may ask for its address, send a message and
//! answer one. Several dialects of this conversation exist; they share the types of this module
//! and differ in their codecs:
//!
//! | Dialect | Codec | Frames | Confirms a `send` | Pushes |
//! |---|---|---|---|---|
//! | *seed* | [`seed`] | text | yes | the bare message |
//! | *v0.11* | [`v0_11`] | text and binary, freely mixed | no | with an optional reply SURB |
//! | *sender tags* | [`sender_tags`] | text and binary, freely mixed | by the length of its lane, when it named one | with an optional sender tag |
//! | *v0.7* | [`v0_7`] | text; binary sends | yes | the bare message |
//!
//! In every dialect an app may name what it sends and is then told what became of it:
//! [`receipts`].
//!
//! [`AppSession`] is the state machine of one app connection. It picks the dialect, keeps answers
//! in the order of their requests and encodes pushes. *v0.7* is a codec only: its 64-byte
//! addresses name no encryption key, so no packet of today can be built from them.
//!
//! ```
//! use nym_protocol::app::{Answer, AppSession, DialectChoice, Output};
//! use nym_protocol::ws::WsMessage;
//! # use nym_packet::address::Recipient;
//! # let own: Recipient = concat!(
//! #     "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.",
//! #     "7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@",
//! #     "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm",
//! # ).parse().unwrap();
//!
//! let mut session = AppSession::new(DialectChoice::Auto);
//! let Some(Output::Request(asked)) = session.handle_text(r#"{"type":"selfAddress"}"#) else {
//!     panic!("a well-formed request is handed to the client");
//! };
//! let answers = session.answer(asked.token, Ok(Answer::SelfAddress(own)));
//! let expected = format!(r#"{{"type":"selfAddress","address":"{own}"}}"#);
//! assert_eq!(answers, [WsMessage::Text(expected)]);
//! ```
//!
//! Every parser takes any bytes, answers with an [`AppError`] when it cannot use them, and
//! allocates in proportion to what it was given, never by a length that was only stated.

use core::fmt;

use nym_packet::address::Recipient;
use nym_packet::reply::ReplySurb;

pub use self::error::{AppError, ErrorKind};
pub use self::receipts::{Outcome, ReceiptStatus, RequestId, RequestIdError};
pub use self::sender_tag::{SENDER_TAG_LEN, SenderTag, SenderTagError};
pub use self::session::{Answer, AppRequest, AppSession, DialectChoice, Output, RequestToken};

mod binary;
mod error;
mod json;
pub mod receipts;
pub mod seed;
mod sender_tag;
pub mod sender_tags;
mod session;
pub mod v0_11;
pub mod v0_7;

/// What an app asks its client to do, in any dialect.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// The app will use this connection id no more: its lane may be dropped. Never answered.
    ClosedConnection {
        /// The lane.
        connection_id: u64,
    },
    /// How many packets wait in this lane?
    LaneQueueLength {
        /// The lane.
        connection_id: u64,
    },
    /// What became of the messages of these names?
    Receipts {
        /// At most a thousand.
        ids: Vec<RequestId>,
    },
    /// Answer somebody whose address is unknown.
    Reply {
        /// How the answer finds its way.
        to: ReplyTo,
        /// What to say. May be empty.
        message: Vec<u8>,
        /// The lane to queue it in.
        connection_id: Option<u64>,
    },
    /// Under which address does the client receive?
    SelfAddress,
    /// Send a message to an address.
    Send {
        /// To whom.
        recipient: Recipient,
        /// What to say. May be empty.
        message: Vec<u8>,
        /// `None` is the ordinary send; `Some(n)` gives the recipient the means to answer `n`
        /// times without learning the address of this client. `Some(0)` acts as `None`.
        reply_surbs: Option<u32>,
        /// The lane to queue it in.
        connection_id: Option<u64>,
    },
}

/// How an anonymous answer is routed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplyTo {
    /// By a reply SURB that the app was given with a message; it works once.
    Surb(Box<ReplySurb>),
    /// By the name of a peer whose reply SURBs the client keeps.
    Tag(SenderTag),
}

/// A message from the network on its way to an app.
#[derive(Default)]
#[non_exhaustive]
pub struct Received {
    /// What the sender said.
    pub message: Vec<u8>,
    /// The means to answer once, for dialects that hand it to the app.
    pub reply_surb: Option<Box<ReplySurb>>,
    /// The name of the anonymous sender, for dialects that keep SURBs in the client.
    pub sender_tag: Option<SenderTag>,
}

impl Received {
    /// A message that came with neither reply SURB nor sender tag.
    #[must_use]
    pub fn new(message: Vec<u8>) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }

    /// The same message, with the means to answer it once.
    #[must_use]
    pub fn with_reply_surb(mut self, reply_surb: ReplySurb) -> Self {
        self.reply_surb = Some(Box::new(reply_surb));
        self
    }

    /// The same message, from an anonymous peer of this name.
    #[must_use]
    pub fn with_sender_tag(mut self, sender_tag: SenderTag) -> Self {
        self.sender_tag = Some(sender_tag);
        self
    }
}

/// Says how long the message is, never what it says.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("message_len", &self.message.len())
            .field(
                "answerable",
                &(self.reply_surb.is_some() || self.sender_tag.is_some()),
            )
            .finish_non_exhaustive()
    }
}

/// What a client says to an app: the app's side of the codecs parses into this.
#[derive(Debug)]
#[non_exhaustive]
pub enum Response {
    /// A `send` was accepted.
    Accepted,
    /// A request was refused.
    Error(AppError),
    /// So many packets wait in a lane.
    LaneQueueLength {
        /// The lane.
        lane: u64,
        /// How many packets wait.
        queue_length: u64,
    },
    /// A message arrived.
    Received(Received),
    /// The address of the client.
    SelfAddress(Recipient),
}

/// Which of the two kinds of websocket message a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A binary message.
    Binary,
    /// A text message.
    Text,
}

/// The request cannot be said in this dialect or form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this request has no form in the chosen dialect")]
pub struct Unrepresentable;

impl Response {
    /// Reads a JSON response of any dialect, as an app would.
    ///
    /// The bare messages of *seed* and *v0.7* are no JSON responses: an app that waits for one
    /// takes whatever comes for it.
    ///
    /// # Errors
    /// Always of kind [`ErrorKind::MalformedResponse`].
    pub fn parse_text(text: &str) -> Result<Self, AppError> {
        let malformed = |detail: String| AppError::new(ErrorKind::MalformedResponse, detail);
        let response: TextResponse =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        Ok(match response {
            TextResponse::Error { message } => {
                let (kind, detail) =
                    ErrorKind::split_text(&message).unwrap_or((ErrorKind::Other, &message));
                Self::Error(AppError::new(kind, detail))
            }
            TextResponse::LaneQueueLength { lane, queue_length } => {
                Self::LaneQueueLength { lane, queue_length }
            }
            TextResponse::Received {
                message,
                reply_surb,
                sender_tag,
            } => {
                let reply_surb = reply_surb
                    .map(|surb| surb.parse().map(Box::new))
                    .transpose()
                    .map_err(|error| malformed(format!("malformed reply surb: {error}")))?;
                let sender_tag = sender_tag
                    .map(|tag| tag.parse())
                    .transpose()
                    .map_err(|error| malformed(format!("malformed sender tag: {error}")))?;
                Self::Received(Received {
                    message: message.into_bytes(),
                    reply_surb,
                    sender_tag,
                })
            }
            TextResponse::SelfAddress { address } => Self::SelfAddress(
                address
                    .parse()
                    .map_err(|error| malformed(format!("malformed address: {error}")))?,
            ),
            TextResponse::Send => Self::Accepted,
        })
    }
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum TextResponse {
    Error {
        message: String,
    },
    LaneQueueLength {
        lane: u64,
        queue_length: u64,
    },
    Received {
        message: String,
        #[serde(rename = "replySurb")]
        reply_surb: Option<String>,
        #[serde(rename = "senderTag")]
        sender_tag: Option<String>,
    },
    SelfAddress {
        address: String,
    },
    Send,
}
