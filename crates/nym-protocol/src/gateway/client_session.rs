//! One connection to a gateway, as the client sees it.
//!
//! ```text
//!  Registering ──► Registered? ──┐
//!   handshake       message 5    ├──► Ready ──► pushes
//!  Authenticating ───────────────┘
//!        any of them ──► Refused
//! ```
//!
//! The session does no I/O: its user sends what [`poll_transmit`](ClientSession::poll_transmit)
//! gives, hands in what arrives, and takes [`Event`]s.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nym_packet::geometry::ACK_CONTENT_LEN;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use rand_core::CryptoRng;
use thiserror::Error;

use super::auth::{AuthenticateRequest, ClientAddress};
use super::control::{ClientControl, ServerControl};
use super::handshake::{ClientHandshake, HandshakeError, Progress};
use super::shared_keys::SharedKeys;
use crate::ws::WsMessage;

/// How long a gateway may take to answer an authentication.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long a registration may take in all.
pub const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(10);

/// How a client comes in.
#[derive(Debug)]
pub enum ClientLogin {
    /// For the first time: agree on keys.
    Registration {
        /// The client's identity.
        identity: Arc<IdentityKeyPair>,
        /// The gateway's identity, learned from the topology or pinned.
        gateway: IdentityPublicKey,
    },
    /// Again: prove that it knows the keys.
    Authentication {
        /// The client's identity.
        client: IdentityPublicKey,
        /// What its registration agreed on.
        keys: Arc<SharedKeys>,
    },
}

/// What a session tells its user.
#[derive(Debug)]
pub enum Event {
    /// The client is logged in; after a registration, these keys are to be stored.
    Ready {
        /// The keys of this connection.
        shared_keys: Arc<SharedKeys>,
    },
    /// The gateway delivers something; [`PushKind::of`] tells what.
    Push(Vec<u8>),
    /// The login failed. Open a new connection for the next attempt.
    Refused(Refusal),
}

/// Why a login failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection was closed before the answer.
    #[error("the gateway closed the connection before it answered")]
    Closed,
    /// The gateway said why.
    #[error("the gateway refuses: {message}")]
    Gateway {
        /// Its words, as received.
        message: String,
    },
    /// The handshake failed.
    #[error("the registration handshake failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// The gateway does not know these keys, or takes the request for a replay.
    #[error("the gateway does not know this client's keys")]
    NotRecognised,
    /// The gateway did not answer in time.
    #[error("the gateway did not answer in time")]
    TimedOut,
}

/// What a push is, told by its length alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushKind {
    /// An acknowledgement of a fragment: 21 bytes.
    Ack,
    /// Anything else. 1,643 bytes come out of a regular packet, 32,363 out of an extended one.
    Message,
}

impl PushKind {
    /// What a push of `len` bytes is.
    #[must_use]
    pub const fn of(len: usize) -> Self {
        if len == ACK_CONTENT_LEN {
            Self::Ack
        } else {
            Self::Message
        }
    }
}

/// The state of a connection to a gateway.
pub struct ClientSession {
    state: State,
    deadline: Option<Timestamp>,
    transmits: VecDeque<WsMessage>,
    events: VecDeque<Event>,
    pushes_dropped_count: u64,
}

enum State {
    Registering(ClientHandshake),
    /// The handshake is complete, but the gateway may still refuse.
    Registered(Arc<SharedKeys>),
    Authenticating(Arc<SharedKeys>),
    Ready(Arc<SharedKeys>),
    Refused,
}

impl ClientSession {
    /// Starts a login on a connection that was opened at `now`.
    pub fn new<R>(login: ClientLogin, now: Timestamp, rng: &mut R) -> Self
    where
        R: CryptoRng + ?Sized,
    {
        let (state, first, timeout) = match login {
            ClientLogin::Registration { identity, gateway } => {
                let (handshake, first) = ClientHandshake::start(identity, gateway, rng);
                (
                    State::Registering(handshake),
                    first.to_text(),
                    REGISTRATION_TIMEOUT,
                )
            }
            ClientLogin::Authentication { client, keys } => {
                let client = ClientAddress::from(client);
                let request = AuthenticateRequest::new(client, &keys, rng).to_credentials();
                let first = ClientControl::Authenticate(request).to_text();
                (State::Authenticating(keys), first, AUTHENTICATION_TIMEOUT)
            }
        };
        Self {
            state,
            deadline: Some(now + timeout),
            transmits: VecDeque::from([WsMessage::Text(first)]),
            events: VecDeque::new(),
            pushes_dropped_count: 0,
        }
    }

    /// Takes a message of the gateway.
    pub fn handle_message(&mut self, message: WsMessage) {
        match (&mut self.state, message) {
            (State::Registering(handshake), WsMessage::Text(text)) => {
                let progress = handshake.handle_text(&text);
                self.advance_handshake(progress);
            }
            (State::Registered(keys), WsMessage::Text(text)) => {
                let keys = Arc::clone(keys);
                match ServerControl::parse(&text) {
                    Some(ServerControl::Register { status: true }) => self.ready(keys),
                    Some(ServerControl::Register { status: false }) => {
                        self.refused(Refusal::NotRecognised);
                    }
                    Some(ServerControl::Error { message }) => {
                        self.refused(Refusal::Gateway { message });
                    }
                    _ => {}
                }
            }
            (State::Authenticating(keys), WsMessage::Text(text)) => {
                let keys = Arc::clone(keys);
                match ServerControl::parse(&text) {
                    Some(ServerControl::Authenticate { status: true }) => self.ready(keys),
                    Some(ServerControl::Authenticate { status: false }) => {
                        self.refused(Refusal::NotRecognised);
                    }
                    Some(ServerControl::Error { message }) => {
                        self.refused(Refusal::Gateway { message });
                    }
                    _ => {}
                }
            }
            (State::Ready(keys), WsMessage::Binary(frame)) => match keys.open(&frame) {
                Ok(push) => self.events.push_back(Event::Push(push)),
                Err(_) => self.pushes_dropped_count += 1,
            },
            // Answers to packets carry no number to match them with; everything else is noise.
            _ => {}
        }
    }

    /// The connection was closed.
    pub fn handle_closed(&mut self) {
        match self.state {
            State::Registering(_) => self.refused(HandshakeError::Closed.into()),
            State::Registered(_) | State::Authenticating(_) => self.refused(Refusal::Closed),
            State::Ready(_) | State::Refused => {}
        }
    }

    /// Gives up a login that takes too long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.refused(Refusal::TimedOut);
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<WsMessage> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Seals a packet for the gateway; `None` unless the client is logged in.
    #[must_use]
    pub fn seal_packet(&self, packet: &MixPacket) -> Option<WsMessage> {
        match &self.state {
            State::Ready(keys) => Some(WsMessage::Binary(keys.seal(&packet.to_bytes()))),
            _ => None,
        }
    }

    /// Whether the client is logged in.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// How many binary messages were dropped because they were not sealed with our keys.
    #[must_use]
    pub const fn pushes_dropped_count(&self) -> u64 {
        self.pushes_dropped_count
    }

    fn advance_handshake(&mut self, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::Send(message) => self.transmit(message.to_text()),
            Progress::Done { keys, .. } => self.state = State::Registered(Arc::new(keys)),
            Progress::Failed { send, error } => {
                if let Some(message) = send {
                    self.transmit(message.to_text());
                }
                self.refused(error.into());
            }
        }
    }

    fn ready(&mut self, keys: Arc<SharedKeys>) {
        self.deadline = None;
        self.state = State::Ready(Arc::clone(&keys));
        self.events.push_back(Event::Ready { shared_keys: keys });
    }

    fn refused(&mut self, refusal: Refusal) {
        self.deadline = None;
        self.state = State::Refused;
        self.events.push_back(Event::Refused(refusal));
    }

    fn transmit(&mut self, text: String) {
        self.transmits.push_back(WsMessage::Text(text));
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Registering(_) => "Registering",
            State::Registered(_) => "Registered",
            State::Authenticating(_) => "Authenticating",
            State::Ready(_) => "Ready",
            State::Refused => "Refused",
        };
        formatter
            .debug_struct("ClientSession")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
