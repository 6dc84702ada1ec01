//! One client's connection, as the gateway sees it.
//!
//! ```text
//!                 authenticate                     keys known, proof verified
//!  ┌─────────────────────────► Looking up ──────────────────────────────┐
//!  │                               │ unknown, wrong proof               │
//!  │  ┌────────────────────────────┘                                    ▼
//!  Unauthenticated ◄──────────────────────── refused ──────────── Being admitted ──► Authenticated
//!  │  ▲                                                                 ▲   online
//!  │  └── failed ──┐                                                    │
//!  └─────────► Handshaking ─────────────────────────────────────────────┘
//!    handshakePayload            message 3 verified
//! ```
//!
//! The session does no I/O. Whoever drives it hands in what arrives, does what
//! [`poll_action`](GatewaySession::poll_action) says, in order, and answers
//! [`Action::LookUpKeys`] and [`Action::Admit`] before it hands in the next message.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nym_packet::frame::PacketLengthError;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use nym_packet::mix_packet::{MixPacket, MixPacketError};
use nym_packet::symmetric::{IV_LEN, ZERO_IV};
use nym_packet::time::Timestamp;
use rand_core::CryptoRng;

use super::auth::{AuthenticateRequest, ClientAddress};
use super::control::{ClientControl, Credentials, HandshakeMessage, ServerControl};
use super::handshake::{GatewayHandshake, HandshakeError, Progress};
use super::shared_keys::SharedKeys;
use crate::ws::WsMessage;

/// Longest message taken from a client, in bytes: 1 MiB. The longest that means anything is a
/// data frame of 33,185 bytes.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

/// How long a handshake may take from its first message.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a login.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How many requests before the login may be refused until the connection is closed.
pub const REFUSALS_MAX: u32 = 64;

/// How patient a session is with a connection that has not logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionLimits {
    /// How long a handshake may take from its first message.
    pub handshake_timeout: Duration,
    /// How long a connection may stay open without a login.
    pub login_timeout: Duration,
    /// How many requests before the login may be refused until the connection is closed.
    pub refusals_max: u32,
}

impl Default for SessionLimits {
    /// [`HANDSHAKE_TIMEOUT`], [`LOGIN_TIMEOUT`] and [`REFUSALS_MAX`].
    fn default() -> Self {
        Self {
            handshake_timeout: HANDSHAKE_TIMEOUT,
            login_timeout: LOGIN_TIMEOUT,
            refusals_max: REFUSALS_MAX,
        }
    }
}

/// Our own text: the network has no limit, and so no word for it.
const AUTHENTICATED_TOO_OFTEN: &str = "Authentication failure - too many of late, try again later";

/// What the driver of a session must do.
#[derive(Debug)]
pub enum Action {
    /// Find the keys of a client and answer with [`GatewaySession::handle_lookup`].
    LookUpKeys(ClientAddress),
    /// Decide a login that proved itself, as [`Presence::admit`](super::Presence::admit) does,
    /// and answer with [`GatewaySession::handle_admission`].
    Admit(Login),
    /// Send a packet of the client to its first hop.
    Forward(MixPacket),
    /// Send a message to the client.
    Send(WsMessage),
    /// Close the connection. Nothing follows.
    Close(CloseReason),
}

/// A login whose proof was verified.
#[derive(Debug)]
pub enum Login {
    /// A returning client.
    Authentication {
        /// Who it is.
        client: ClientAddress,
        /// The IV of its proof, to be refused from now on.
        iv: [u8; IV_LEN],
    },
    /// A completed handshake.
    Registration {
        /// Who it is.
        client: ClientAddress,
        /// The keys to store.
        keys: Arc<SharedKeys>,
    },
}

/// What the ledger says about a client that wants to authenticate.
#[derive(Debug)]
pub enum Lookup {
    /// The client is registered with these keys.
    Known(SharedKeys),
    /// Nobody with this address has registered.
    Unknown,
    /// The ledger could not be read.
    Failed,
}

/// A login that a message asks for, before anything is known about who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// Of a client that has registered before: costs a look into the ledger.
    Authentication,
    /// The first message of a handshake: costs a key exchange and a signature.
    Registration,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// The client is online with this connection.
    Online,
    /// The client is online with another connection.
    Duplicate,
    /// The IV was used before: the request is a replay.
    IvUsed,
    /// The ledger could not be written.
    Failed,
    /// The client has logged in too often of late.
    TooOften,
}

/// Why a session closes its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// A handshake or login took too long.
    TimedOut,
    /// A message is longer than [`MESSAGE_LEN_MAX`].
    MessageTooLong,
    /// A newer connection of the same client has authenticated.
    Replaced,
    /// More than [`SessionLimits::refusals_max`] requests were refused before a login.
    TooManyRefusals,
    /// A message was handed in while an answer of the driver was due.
    UnexpectedMessage,
}

/// The state of one client's connection.
pub struct GatewaySession {
    identity: Arc<IdentityKeyPair>,
    state: State,
    actions: VecDeque<Action>,
    limits: SessionLimits,
    login_deadline: Timestamp,
    refusals: u32,
}

enum State {
    Unauthenticated,
    Handshaking {
        handshake: GatewayHandshake,
        deadline: Timestamp,
    },
    LookingUp(AuthenticateRequest),
    BeingAdmitted {
        kind: LoginKind,
        client: ClientAddress,
        keys: Arc<SharedKeys>,
    },
    Authenticated {
        client: ClientAddress,
        keys: Arc<SharedKeys>,
    },
    Closed,
}

#[derive(Clone, Copy)]
enum LoginKind {
    Authentication,
    Registration,
}

impl GatewaySession {
    /// A session for a connection that was opened at `now`, with the default limits.
    #[must_use]
    pub fn new(identity: Arc<IdentityKeyPair>, now: Timestamp) -> Self {
        Self::with_limits(identity, now, SessionLimits::default())
    }

    /// A session for a connection that was opened at `now`.
    #[must_use]
    pub fn with_limits(
        identity: Arc<IdentityKeyPair>,
        now: Timestamp,
        limits: SessionLimits,
    ) -> Self {
        Self {
            identity,
            state: State::Unauthenticated,
            actions: VecDeque::new(),
            limits,
            login_deadline: now + limits.login_timeout,
            refusals: 0,
        }
    }

    /// The login that `message` would begin if it were handed in now. Whoever finds that its
    /// sender asks too often calls [`handle_throttled`](Self::handle_throttled) instead of handing
    /// it in.
    #[must_use]
    pub fn attempt(&self, message: &WsMessage) -> Option<Attempt> {
        match (&self.state, message) {
            (State::Unauthenticated, WsMessage::Text(text)) => match ClientControl::parse(text)? {
                ClientControl::Authenticate(_) => Some(Attempt::Authentication),
                ClientControl::Register { .. } => Some(Attempt::Registration),
            },
            _ => None,
        }
    }

    /// Refuses a login whose sender asks too often.
    pub fn handle_throttled(&mut self, attempt: Attempt) {
        match attempt {
            Attempt::Authentication => self.refuse(AUTHENTICATED_TOO_OFTEN),
            Attempt::Registration => {
                let error = HandshakeError::Throttled;
                self.fail_handshake(error.to_message(), &error);
            }
        }
    }

    /// Takes a message of the client.
    pub fn handle_message<R>(&mut self, now: Timestamp, message: WsMessage, rng: &mut R)
    where
        R: CryptoRng + ?Sized,
    {
        if message.len() > MESSAGE_LEN_MAX {
            return self.close(CloseReason::MessageTooLong);
        }
        match &mut self.state {
            State::Closed => {}
            State::LookingUp(_) | State::BeingAdmitted { .. } => {
                self.close(CloseReason::UnexpectedMessage);
            }
            State::Unauthenticated => match message {
                WsMessage::Text(text) => self.handle_request(now, &text, rng),
                WsMessage::Binary(_) => self.refuse("binary request without prior authentication"),
            },
            State::Handshaking { handshake, .. } => {
                if let WsMessage::Text(text) = message {
                    let client = handshake.client();
                    let progress = handshake.handle_text(&text);
                    self.advance_handshake(client, progress);
                }
            }
            State::Authenticated { keys, .. } => {
                let answer = match message {
                    WsMessage::Text(_) => Err("invalid request".to_owned()),
                    WsMessage::Binary(frame) => open_request(keys, &frame),
                };
                match answer {
                    Ok(packet) => {
                        self.actions.push_back(Action::Forward(packet));
                        self.answer(&ServerControl::Send { status: true });
                    }
                    Err(message) => self.answer(&ServerControl::error(message)),
                }
            }
        }
    }

    /// Takes the answer to [`Action::LookUpKeys`].
    pub fn handle_lookup(&mut self, lookup: Lookup) {
        if !matches!(self.state, State::LookingUp(_)) {
            return;
        }
        let State::LookingUp(request) = self.replace_state(State::Unauthenticated) else {
            return;
        };
        match lookup {
            Lookup::Known(keys) if request.verify(&keys) => {
                let (client, iv) = (request.client(), *request.iv());
                let (kind, keys) = (LoginKind::Authentication, Arc::new(keys));
                self.state = State::BeingAdmitted { kind, client, keys };
                self.actions
                    .push_back(Action::Admit(Login::Authentication { client, iv }));
            }
            Lookup::Known(_) | Lookup::Unknown => self.deny(),
            Lookup::Failed => self.refuse("Authentication failure - failed to look up shared key"),
        }
    }

    /// Takes the answer to [`Action::Admit`].
    pub fn handle_admission(&mut self, admission: Admission) {
        if !matches!(self.state, State::BeingAdmitted { .. }) {
            return;
        }
        let admitted = self.replace_state(State::Unauthenticated);
        let State::BeingAdmitted { kind, client, keys } = admitted else {
            return;
        };
        match (admission, kind) {
            (Admission::Online, kind) => {
                self.state = State::Authenticated { client, keys };
                self.answer(&match kind {
                    LoginKind::Authentication => ServerControl::Authenticate { status: true },
                    LoginKind::Registration => ServerControl::Register { status: true },
                });
            }
            (Admission::IvUsed, _) => self.deny(),
            (Admission::Duplicate, LoginKind::Authentication) => {
                self.refuse("Authentication failure - duplicate connection detected");
            }
            (Admission::Duplicate, LoginKind::Registration) => {
                self.refuse("Registration failure - duplicate connection detected");
            }
            (Admission::TooOften, LoginKind::Authentication) => {
                self.refuse(AUTHENTICATED_TOO_OFTEN);
            }
            (Admission::TooOften, LoginKind::Registration) => {
                self.refuse("Registration failure - too many of late, try again later");
            }
            (Admission::Failed, LoginKind::Authentication) => {
                self.refuse("Authentication failure - failed to record the login");
            }
            (Admission::Failed, LoginKind::Registration) => {
                self.refuse("Registration failure - failed to complete issuing shared key");
            }
        }
    }

    /// A newer connection of the same client has authenticated.
    pub fn handle_replaced(&mut self) {
        self.close(CloseReason::Replaced);
    }

    /// Closes the connection if its login or handshake took too long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.close(CloseReason::TimedOut);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Handshaking { deadline, .. } => Some(deadline.min(self.login_deadline)),
            State::Authenticated { .. } | State::Closed => None,
            _ => Some(self.login_deadline),
        }
    }

    /// Seals a message for the client; `None` unless the connection is authenticated.
    #[must_use]
    pub fn seal_push(&self, message: &[u8]) -> Option<WsMessage> {
        match &self.state {
            State::Authenticated { keys, .. } => Some(WsMessage::Binary(keys.seal(message))),
            _ => None,
        }
    }

    /// Who is authenticated on this connection.
    #[must_use]
    pub const fn client(&self) -> Option<ClientAddress> {
        match &self.state {
            State::Authenticated { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// Whether the connection is to be closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The first message of a connection, or one after a failure.
    fn handle_request<R>(&mut self, now: Timestamp, text: &str, rng: &mut R)
    where
        R: CryptoRng + ?Sized,
    {
        match ClientControl::parse(text) {
            None => self.refuse("malformed request"),
            Some(ClientControl::Authenticate(credentials)) => self.look_up(&credentials),
            Some(ClientControl::Register { data }) => self.start_handshake(now, &data, rng),
        }
    }

    fn look_up(&mut self, credentials: &Credentials) {
        match AuthenticateRequest::from_credentials(credentials) {
            Err(error) => self.refuse(&error.to_string()),
            // The key stream of this IV is that of every data frame, so it proves nothing.
            Ok(request) if *request.iv() == ZERO_IV => self.deny(),
            Ok(request) => {
                self.actions.push_back(Action::LookUpKeys(request.client()));
                self.state = State::LookingUp(request);
            }
        }
    }

    fn start_handshake<R>(&mut self, now: Timestamp, data: &[u8], rng: &mut R)
    where
        R: CryptoRng + ?Sized,
    {
        let identity_is_valid = data
            .get(..32)
            .is_some_and(|key| IdentityPublicKey::from_bytes(key).is_ok());
        if !identity_is_valid {
            return self.refuse("malformed request");
        }
        match GatewayHandshake::accept(&self.identity, data, rng) {
            Ok((handshake, message)) => {
                self.send(message.to_text());
                let deadline = now + self.limits.handshake_timeout;
                self.state = State::Handshaking {
                    handshake,
                    deadline,
                };
            }
            Err(error) => {
                self.fail_handshake(error.to_message(), &error);
            }
        }
    }

    fn advance_handshake(&mut self, client: IdentityPublicKey, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::Send(message) => self.send(message.to_text()),
            Progress::Failed { send, error } => {
                self.state = State::Unauthenticated;
                self.fail_handshake(send, &error);
            }
            Progress::Done { send, keys } => {
                if let Some(message) = send {
                    self.send(message.to_text());
                }
                let (client, keys) = (ClientAddress::from(client), Arc::new(keys));
                let login = Login::Registration {
                    client,
                    keys: Arc::clone(&keys),
                };
                let kind = LoginKind::Registration;
                self.state = State::BeingAdmitted { kind, client, keys };
                self.actions.push_back(Action::Admit(login));
            }
        }
    }

    fn fail_handshake(&mut self, send: Option<HandshakeMessage>, error: &HandshakeError) {
        if let Some(message) = send {
            self.send(message.to_text());
        }
        self.refuse(&format!("failed to perform the handshake - {error}"));
    }

    /// A login without a valid proof.
    fn deny(&mut self) {
        self.answer(&ServerControl::Authenticate { status: false });
        self.count_refusal();
    }

    /// A request before the login that cannot be granted.
    fn refuse(&mut self, message: &str) {
        self.answer(&ServerControl::error(message));
        self.count_refusal();
    }

    fn count_refusal(&mut self) {
        self.refusals += 1;
        if self.refusals > self.limits.refusals_max {
            self.close(CloseReason::TooManyRefusals);
        }
    }

    fn answer(&mut self, message: &ServerControl) {
        self.send(message.to_text());
    }

    fn send(&mut self, text: String) {
        self.actions.push_back(Action::Send(WsMessage::Text(text)));
    }

    fn close(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.actions.push_back(Action::Close(reason));
        }
    }

    const fn replace_state(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }
}

impl fmt::Debug for GatewaySession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Unauthenticated => "Unauthenticated",
            State::Handshaking { .. } => "Handshaking",
            State::LookingUp(_) => "LookingUp",
            State::BeingAdmitted { .. } => "BeingAdmitted",
            State::Authenticated { .. } => "Authenticated",
            State::Closed => "Closed",
        };
        formatter
            .debug_struct("GatewaySession")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Opens a data frame of an authenticated client; the error is the text to answer.
fn open_request(keys: &SharedKeys, frame: &[u8]) -> Result<MixPacket, String> {
    let plaintext = keys.open(frame).map_err(|error| error.to_string())?;
    MixPacket::from_bytes(&plaintext)
        .map_err(|error| format!("provided mix packet was malformed - {}", malformed(&error)))
}

/// What the network calls each way in which a client's packet can be malformed.
fn malformed(error: &MixPacketError) -> String {
    match error {
        MixPacketError::Empty => "Too few bytes provided to recover from bytes".to_owned(),
        MixPacketError::UnknownMode { .. } => "provided packet mode is invalid".to_owned(),
        MixPacketError::Length(PacketLengthError { found }) => format!(
            "received request had invalid size. \
             (actual: {found}, but expected one of: {} (ACK), {} (REGULAR), {} (EXTENDED))",
            PacketSize::Ack.packet_len(),
            PacketSize::Regular.packet_len(),
            PacketSize::Extended.packet_len(),
        ),
        _ => "address field was incorrectly encoded".to_owned(),
    }
}
