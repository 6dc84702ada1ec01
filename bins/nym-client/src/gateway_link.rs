//! The link to the gateway: one websocket at a time, for ever.
//!
//! ```text
//!  dial ──► log in ──► up: packets out, pushes in ──┐
//!    ▲        │                                     │ closed, silent or broken
//!    └─ pause ┴─────────────────────────────────────┘
//! ```
//!
//! A gateway asks by ping whether its pushes were read. Reading goes on, but the answer waits until
//! what was pushed before the ping is safe: then whatever a gateway saw acknowledged survives the
//! end of this process, and many pushes share a commit. Pushes that are not safe yet are bounded
//! ([`UNSAFE_PUSHES_MAX`]); beyond that nothing is read. Answers leave with packets (`answers`).
//!
//! Every attempt has a socket of its own. While the link is down the engine makes no packets, and
//! those left in the queue are thrown away before the link is up again: they were built for a
//! moment that has passed, and sent in a burst they would show when the client was away.
//!
//! The link is encrypted, and the gateway proves the identity that the client is registered with.
//! It is plain only while the legacy switch allows that and the topology says that the gateway
//! knows no better.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_daemon::clock::{Clock, unix_time_secs};
use nym_packet::keys::IdentityPublicKey;
use nym_packet::mix_packet::MixPacket;
use nym_protocol::gateway::client_session::Event;
use nym_protocol::gateway::{ClientLogin, ClientSession, PushKind, Refusal, SharedKeys};
use nym_protocol::ws::WsMessage;
use nym_transport::legacy::LegacyPeers;
use nym_transport::websocket::{
    CloseCode, Heard, Incoming, Ping, PingedReceiver, WebSocket, WebSocketLimits, WebSocketSender,
};
use rand::rngs::StdRng;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::engine_task::{EngineInput, Push};
use crate::gateway_link::answers::{Answers, Gone, Questions, answers};
use crate::status::ClientStatus;

mod answers;

/// How often the gateway is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// A gateway that shows no sign of life for so long, three pings, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A link that was up for so long worked: the next pause is a short one.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Packets that are sealed and written with one system call when they have piled up.
const BATCH: usize = 32;

/// Pushes that were read and are not safe yet, over all links one after the other: 512 regular ones
/// are 0.8 MiB, extended ones 16 MiB. That is what a gateway pushes without an answer, 8 times 64.
pub(crate) const UNSAFE_PUSHES_MAX: usize = 512;

/// Why the link is down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the gateway closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] nym_transport::websocket::WebSocketError),
    #[error(transparent)]
    Dial(#[from] nym_transport::websocket::DialError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no sign of life for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the client is stopping")]
    Stopping,
}

impl From<Gone> for LinkError {
    fn from(_: Gone) -> Self {
        Self::Stopping
    }
}

/// Where the topology says that the gateway is, and what it speaks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayPlace {
    pub(crate) url: String,
    pub(crate) speaks_tls: bool,
}

/// What a link is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Nothing, as in the 0.11 network.
    Plain,
    /// TLS, in which the gateway proves to be this one.
    Tls(IdentityPublicKey),
}

/// The task that keeps the link up.
pub(crate) struct GatewayLink {
    pub(crate) client: IdentityPublicKey,
    pub(crate) keys: Arc<SharedKeys>,
    /// Where the configuration says the gateway is.
    pub(crate) listener: String,
    /// Where the topology says it is.
    pub(crate) announced: watch::Receiver<Option<GatewayPlace>>,
    /// Who the gateway is.
    pub(crate) gateway: IdentityPublicKey,
    /// Whether the link may be plain.
    pub(crate) legacy_peers: LegacyPeers,
    pub(crate) connect_timeout: Duration,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Sender<EngineInput>,
    pub(crate) packets: mpsc::Receiver<MixPacket>,
    pub(crate) status: Arc<watch::Sender<ClientStatus>>,
    pub(crate) rng: StdRng,
}

impl GatewayLink {
    /// Runs until `shutdown` is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut attempts = 0_usize;
        let room = Arc::new(Semaphore::new(UNSAFE_PUSHES_MAX));
        loop {
            let (url, envelope) = (self.url(attempts), self.envelope(attempts));
            let started = self.clock.now();
            let error = match self.connect(&url, envelope, &shutdown).await {
                Ok((socket, session)) => self.keep(socket, session, &room, &shutdown).await,
                Err(error) => error,
            };
            if matches!(error, LinkError::Stopping) {
                return;
            }
            if self.clock.now().saturating_duration_since(started) >= STABLE_AFTER {
                backoff.reset();
                attempts = 0;
            } else {
                attempts += 1;
            }
            let pause = backoff.pause(&mut self.rng);
            let secs = pause.as_secs_f32();
            tracing::warn!(%error, "no link to the gateway, next attempt in {secs:.1} s");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// The configured address, and at every second attempt the announced one: a gateway may have
    /// moved, and a person may have configured a detour.
    fn url(&self, attempt: usize) -> String {
        match &*self.announced.borrow() {
            Some(announced) if attempt % 2 == 1 => announced.url.clone(),
            _ => self.listener.clone(),
        }
    }

    /// TLS, unless a plain link is allowed and needed. While nobody knows yet what the gateway
    /// speaks, both are tried in turn.
    fn envelope(&self, attempt: usize) -> Envelope {
        let may_be_plain = self.legacy_peers.check(unix_time_secs()).is_ok();
        let speaks_tls = match &*self.announced.borrow() {
            Some(announced) => announced.speaks_tls,
            None => attempt.is_multiple_of(2),
        };
        if may_be_plain && !speaks_tls {
            Envelope::Plain
        } else {
            Envelope::Tls(self.gateway)
        }
    }

    /// Dials and logs in.
    async fn connect(
        &mut self,
        url: &str,
        envelope: Envelope,
        shutdown: &CancellationToken,
    ) -> Result<(WebSocket, ClientSession), LinkError> {
        let login = ClientLogin::Authentication {
            client: self.client,
            keys: Arc::clone(&self.keys),
        };
        let limits = WebSocketLimits {
            connect_timeout: self.connect_timeout,
            ..WebSocketLimits::default()
        };
        let (clock, rng) = (self.clock, &mut self.rng);
        tokio::select! {
            () = shutdown.cancelled() => Err(LinkError::Stopping),
            outcome = open(url, envelope, login, limits, clock, rng) => outcome,
        }
    }

    /// Carries packets and pushes until the link is down again.
    async fn keep(
        &mut self,
        socket: WebSocket,
        session: ClientSession,
        room: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> LinkError {
        while self.packets.try_recv().is_ok() {}
        if self.inputs.send(EngineInput::LinkUp).await.is_err() {
            return LinkError::Stopping;
        }
        self.status.send_modify(|status| status.connected = true);
        tracing::info!("connected to the gateway");

        let session = Mutex::new(session);
        let (mut sender, receiver) = socket.split_to_answer();
        let (questions, answers) = answers();
        let reader = Reader {
            receiver,
            session: &session,
            inputs: &self.inputs,
            room,
            questions,
        };
        let error = tokio::select! {
            () = shutdown.cancelled() => LinkError::Stopping,
            error = reader.run() => error,
            error = write(&mut sender, &session, &mut self.packets, answers) => error,
        };
        self.status.send_modify(|status| status.connected = false);
        let _ = self.inputs.send(EngineInput::LinkDown).await;
        let code = match &error {
            LinkError::Stopping => CloseCode::GoingAway,
            _ => CloseCode::Normal,
        };
        let _ = timeout(Duration::from_secs(1), sender.close(code, "")).await;
        error
    }
}

/// Dials a gateway and logs in there; gives the connection with a session that is ready.
pub(crate) async fn open(
    url: &str,
    envelope: Envelope,
    login: ClientLogin,
    limits: WebSocketLimits,
    clock: Clock,
    rng: &mut StdRng,
) -> Result<(WebSocket, ClientSession), LinkError> {
    let mut socket = match envelope {
        Envelope::Plain => WebSocket::dial(url, limits).await?,
        Envelope::Tls(gateway) => WebSocket::dial_tls(url, gateway, limits).await?,
    };
    let mut session = ClientSession::new(login, clock.now(), rng);
    loop {
        while let Some(message) = session.poll_transmit() {
            socket.send(message).await?;
        }
        if session.is_ready() {
            return Ok((socket, session));
        }
        while let Some(event) = session.poll_event() {
            if let Event::Refused(refusal) = event {
                return Err(refusal.into());
            }
        }
        let deadline = session.poll_timeout().unwrap_or_else(|| clock.now());
        // Both branches are cancel-safe.
        tokio::select! {
            incoming = socket.receive() => match incoming? {
                Some(Incoming::Message(message)) => session.handle_message(message),
                Some(Incoming::Pong(_)) => {}
                None => session.handle_closed(),
            },
            () = sleep_until(clock.instant(deadline)) => session.handle_timeout(clock.now()),
        }
    }
}

/// Hands on what the gateway pushes and asks.
struct Reader<'a> {
    receiver: PingedReceiver,
    session: &'a Mutex<ClientSession>,
    inputs: &'a mpsc::Sender<EngineInput>,
    room: &'a Arc<Semaphore>,
    questions: Questions,
}

impl Reader<'_> {
    async fn run(mut self) -> LinkError {
        loop {
            let handed_on = match timeout(SILENCE_MAX, self.receiver.receive()).await {
                Ok(Ok(Some(Heard::Incoming(Incoming::Message(message))))) => {
                    self.hand_on(message).await
                }
                Ok(Ok(Some(Heard::Incoming(Incoming::Pong(_))))) => Ok(()),
                Ok(Ok(Some(Heard::Ping(ping)))) => self.ask(ping).await,
                Ok(Ok(None)) => return LinkError::Closed,
                Ok(Err(error)) => return error.into(),
                Err(_) => return LinkError::Silent,
            };
            if let Err(error) = handed_on {
                return error;
            }
        }
    }

    async fn hand_on(&self, message: WsMessage) -> Result<(), LinkError> {
        lock(self.session).handle_message(message);
        loop {
            let event = lock(self.session).poll_event();
            match event {
                Some(Event::Push(content)) => {
                    let room = match PushKind::of(content.len()) {
                        PushKind::Ack => None,
                        PushKind::Message => {
                            let room = Arc::clone(self.room).acquire_owned().await;
                            Some(room.map_err(|_| LinkError::Stopping)?)
                        }
                    };
                    let push = EngineInput::Push(Push { content, room });
                    let sent = self.inputs.send(push).await;
                    sent.map_err(|_| LinkError::Stopping)?;
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// Lets the ping wait for its answer.
    async fn ask(&self, ping: Ping) -> Result<(), LinkError> {
        let (safe, is_safe) = oneshot::channel();
        let asked = self.inputs.send(EngineInput::Question(safe)).await;
        asked.map_err(|_| LinkError::Stopping)?;
        Ok(self.questions.put(ping, is_safe).await?)
    }
}

async fn write(
    sender: &mut WebSocketSender,
    session: &Mutex<ClientSession>,
    packets: &mut mpsc::Receiver<MixPacket>,
    mut answers: Answers,
) -> LinkError {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        // All branches are cancel-safe.
        let written = tokio::select! {
            count = packets.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return LinkError::Stopping;
                }
                let sealed: Vec<_> = {
                    let session = lock(session);
                    batch.drain(..).filter_map(|packet| session.seal_packet(&packet)).collect()
                };
                sender.answer_and_send_all(answers.take_due(), sealed).await
            }
            answer = answers.overdue() => match answer {
                Ok(ping) => sender.answer_and_send_all(Some(ping), []).await,
                Err(gone) => return gone.into(),
            },
            _ = pings.tick() => sender.ping().await,
        };
        if let Err(error) = written {
            return error.into();
        }
    }
}

fn lock(session: &Mutex<ClientSession>) -> MutexGuard<'_, ClientSession> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
