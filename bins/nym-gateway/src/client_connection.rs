//! One client's connection: the task that owns its socket and its session.
//!
//! The task does whatever comes first: a message of the client, a message for the client, the
//! next part of its inbox, a deadline. What it writes, it writes completely before it goes on, so
//! a message counts as pushed only when the operating system has it.
//!
//! However the task ends, the client is offline afterwards, and what could not be pushed is stored.

use std::net::IpAddr;
use std::sync::Arc;

use nym_daemon::clock::Clock;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{PushFrame, UnwrittenPush};
use nym_protocol::gateway::{
    Action, Admission, Attempt, ClientAddress, CloseReason, ConnectionId, GatewaySession, Login,
    Lookup,
};
use nym_protocol::ws::WsMessage;
use nym_transport::websocket::{CloseCode, Incoming, WebSocket, WebSocketError};
use rand::rngs::StdRng;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::limits::{ClientLimits, LiveLimits};
use crate::mailroom::{Desk, Mailroom, Tally, add};
use crate::origins::{Origins, Visit};
use crate::rate::Bucket;
use crate::roster::{Line, PUSHES_QUEUED, Push};
use crate::store::StoreClosed;

/// Stored messages pushed at a time.
const DRAINED_AT_ONCE: usize = 64;

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) clock: Clock,
    pub(crate) identity: Arc<IdentityKeyPair>,
    pub(crate) limits: LiveLimits,
    pub(crate) mailroom: Mailroom,
    pub(crate) origins: Arc<Origins>,
}

impl Reception {
    /// Serves a client until either side closes the connection or `shutdown` is cancelled.
    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        from: IpAddr,
        connection: ConnectionId,
        shutdown: CancellationToken,
    ) {
        let tally = &self.mailroom.desk.tally;
        let (limits, now) = (self.limits.now(), self.clock.now());
        let Some(visit) = self.origins.enter(from, &limits.address, now) else {
            add(&tally.connections_refused);
            return;
        };
        add(&tally.connections_accepted);
        let accepted = WebSocket::accept(stream, limits.websocket);
        let socket = match shutdown.run_until_cancelled(accepted).await {
            Some(Ok((socket, _))) => socket,
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection did not become a websocket");
                return;
            }
            None => return,
        };
        let mut task = ConnectionTask::new(self, visit, socket, connection);
        let end = task.run(&shutdown).await;
        task.finish(end).await;
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client closed it, or it broke.
    Gone,
    /// The client does not keep to the websocket protocol.
    Protocol,
    /// The session wants it.
    Session(CloseReason),
    /// The client gave no sign of life.
    Silent,
    /// The gateway stops.
    Shutdown,
    /// The store failed.
    Store,
}

impl From<WebSocketError> for End {
    fn from(error: WebSocketError) -> Self {
        tracing::debug!(%error, "a client's connection broke");
        match error {
            WebSocketError::TooLong { .. } => Self::Session(CloseReason::MessageTooLong),
            WebSocketError::Protocol { .. } => Self::Protocol,
            _ => Self::Gone,
        }
    }
}

impl From<StoreClosed> for End {
    fn from(_: StoreClosed) -> Self {
        Self::Store
    }
}

struct ConnectionTask {
    reception: Reception,
    visit: Visit,
    socket: WebSocket,
    session: GatewaySession,
    rng: StdRng,
    connection: ConnectionId,
    sender: mpsc::Sender<Push>,
    pushes: mpsc::Receiver<Push>,
    /// Taken from the queue, not written yet.
    writing: Vec<Push>,
    wake: Arc<Notify>,
    replaced: CancellationToken,
    online: Option<Online>,
    is_draining: bool,
    messages: Bucket,
    bytes: Bucket,
    /// Logins that were decided, in whatever way.
    admissions: u32,
    heard_at: Timestamp,
    is_pinged: bool,
}

/// Keeps a client online as long as it lives.
struct Online {
    client: ClientAddress,
    connection: ConnectionId,
    desk: Arc<Desk>,
}

impl Drop for Online {
    fn drop(&mut self) {
        self.desk.roster.release(self.client, self.connection);
    }
}

impl ConnectionTask {
    fn new(
        reception: Reception,
        visit: Visit,
        socket: WebSocket,
        connection: ConnectionId,
    ) -> Self {
        let now = reception.clock.now();
        let (sender, pushes) = mpsc::channel(PUSHES_QUEUED);
        let (identity, limits) = (Arc::clone(&reception.identity), reception.limits.now());
        Self {
            session: GatewaySession::with_limits(identity, now, limits.session),
            reception,
            visit,
            socket,
            rng: nym_daemon::entropy(),
            connection,
            sender,
            pushes,
            writing: Vec::new(),
            wake: Arc::default(),
            replaced: CancellationToken::new(),
            online: None,
            is_draining: false,
            messages: Bucket::default(),
            bytes: Bucket::default(),
            admissions: 0,
            heard_at: now,
            is_pinged: false,
        }
    }

    async fn run(&mut self, shutdown: &CancellationToken) -> End {
        loop {
            if let Err(end) = self.turn(shutdown).await {
                return end;
            }
        }
    }

    /// Waits for the next thing to do, and does it.
    async fn turn(&mut self, shutdown: &CancellationToken) -> Result<(), End> {
        let (clock, limits) = (self.reception.clock, self.reception.limits.now());
        let blocked_until = self.blocked_until(&limits, clock.now());
        let deadline = blocked_until
            .unwrap_or(Timestamp::MAX)
            .min(self.next_deadline(&limits));
        let is_online = self.online.is_some();
        // All branches are cancel-safe: they take something only when they win.
        tokio::select! {
            () = shutdown.cancelled() => Err(End::Shutdown),
            () = self.replaced.cancelled() => {
                self.session.handle_replaced();
                self.perform().await
            }
            incoming = self.socket.receive(), if blocked_until.is_none() => match incoming? {
                None => Err(End::Gone),
                Some(incoming) => self.hear(incoming, &limits).await,
            },
            count = self.pushes.recv_many(&mut self.writing, PUSHES_QUEUED), if is_online => {
                // The task holds a sender itself, so the queue is never closed.
                debug_assert_ne!(count, 0);
                self.write_pushes().await
            }
            () = self.wake.notified(), if is_online => {
                self.is_draining = true;
                Ok(())
            }
            () = std::future::ready(()), if self.is_draining => self.drain().await,
            () = sleep_until(clock.instant(deadline)) => self.handle_timeout().await,
        }
    }

    async fn hear(&mut self, incoming: Incoming, limits: &ClientLimits) -> Result<(), End> {
        let now = self.reception.clock.now();
        self.heard_at = now;
        self.is_pinged = false;
        let Incoming::Message(message) = incoming else {
            return Ok(());
        };
        self.record(&message, limits, now);
        let attempt = self.session.attempt(&message);
        if let Some(attempt) = attempt
            && !self.may_try(attempt, limits, now)
        {
            add(&self.tally().logins_throttled);
            self.session.handle_throttled(attempt);
            return self.perform().await;
        }
        let admissions = self.admissions;
        self.session.handle_message(now, message, &mut self.rng);
        self.perform().await?;
        if attempt == Some(Attempt::Authentication) && self.admissions == admissions {
            add(&self.tally().logins_denied);
        }
        Ok(())
    }

    /// Counts a message against the limits of the client and of its address.
    fn record(&mut self, message: &WsMessage, limits: &ClientLimits, now: Timestamp) {
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        self.messages.take(limits.messages, now, 1);
        self.bytes.take(limits.bytes, now, len);
        self.visit.record(&limits.address, now, len);
        if self.blocked_until(limits, now).is_some() {
            add(&self.tally().reads_held_back);
        }
    }

    /// When the next message may be read, if not now.
    fn blocked_until(&self, limits: &ClientLimits, now: Timestamp) -> Option<Timestamp> {
        let messages = self.messages.blocked_until(limits.messages, now);
        let bytes = self.bytes.blocked_until(limits.bytes, now);
        let address = self.visit.blocked_until(&limits.address, now);
        messages.max(bytes).max(address)
    }

    fn may_try(&self, attempt: Attempt, limits: &ClientLimits, now: Timestamp) -> bool {
        match attempt {
            Attempt::Authentication => self.visit.may_authenticate(&limits.address, now),
            Attempt::Registration => self.visit.may_register(&limits.address, now),
        }
    }

    fn tally(&self) -> &Tally {
        &self.reception.mailroom.desk.tally
    }

    /// Does what the session says.
    async fn perform(&mut self) -> Result<(), End> {
        let mut answers = Vec::new();
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(message) => answers.push(message),
                Action::Forward(packet) => self.reception.mailroom.desk.forward(packet),
                Action::LookUpKeys(client) => {
                    let lookup = match self.reception.mailroom.store.look_up(client).await? {
                        Ok(Some(keys)) => Lookup::Known(keys),
                        Ok(None) => Lookup::Unknown,
                        Err(error) => {
                            tracing::error!(%error, "the ledger cannot be read");
                            Lookup::Failed
                        }
                    };
                    self.session.handle_lookup(lookup);
                }
                Action::Admit(login) => {
                    let admission = self.admit(&login).await?;
                    self.session.handle_admission(admission);
                }
                Action::Close(reason) => {
                    self.send(answers).await?;
                    return Err(End::Session(reason));
                }
            }
        }
        self.send(answers).await
    }

    async fn send(&mut self, messages: Vec<WsMessage>) -> Result<(), End> {
        if !messages.is_empty() {
            self.socket.send_all(messages).await?;
        }
        Ok(())
    }

    /// As [`Presence::admit`](nym_protocol::gateway::Presence::admit), with other connections
    /// doing the same meanwhile.
    async fn admit(&mut self, login: &Login) -> Result<Admission, End> {
        let Mailroom { desk, store } = self.reception.mailroom.clone();
        let (limits, now) = (self.reception.limits.now(), self.reception.clock.now());
        let (Login::Authentication { client, .. } | Login::Registration { client, .. }) = login;
        self.admissions += 1;
        if !desk.may_log_in(*client, limits.logins, now) {
            add(&desk.tally.logins_throttled);
            return Ok(Admission::TooOften);
        }
        let admission = match login {
            Login::Authentication { client, iv } => match store.use_iv(*client, *iv).await? {
                Ok(true) => {
                    desk.roster.take_over(*client, self.line());
                    self.come_online(*client);
                    Admission::Online
                }
                Ok(false) => Admission::IvUsed,
                Err(error) => {
                    tracing::error!(%error, "a login cannot be recorded");
                    Admission::Failed
                }
            },
            Login::Registration { client, keys } => {
                if desk.roster.claim(*client, self.line()) {
                    self.come_online(*client);
                    match store.store_keys(*client, keys).await? {
                        Ok(()) => Admission::Online,
                        Err(error) => {
                            tracing::error!(%error, "a registration cannot be stored");
                            self.online = None;
                            self.is_draining = false;
                            Admission::Failed
                        }
                    }
                } else {
                    Admission::Duplicate
                }
            }
        };
        add(match admission {
            Admission::Online => &desk.tally.logins,
            Admission::IvUsed => &desk.tally.logins_replayed,
            Admission::Duplicate | Admission::Failed | Admission::TooOften => {
                &desk.tally.logins_refused
            }
        });
        Ok(admission)
    }

    fn line(&self) -> Line {
        Line {
            connection: self.connection,
            pushes: self.sender.clone(),
            wake: Arc::clone(&self.wake),
            replaced: self.replaced.clone(),
        }
    }

    /// From here on the client goes offline when this task ends, in whatever way.
    fn come_online(&mut self, client: ClientAddress) {
        let desk = Arc::clone(&self.reception.mailroom.desk);
        self.online = Some(Online {
            client,
            connection: self.connection,
            desk,
        });
        self.is_draining = true;
    }

    /// Writes what was taken from the queue, then releases the acknowledgements.
    async fn write_pushes(&mut self) -> Result<(), End> {
        let messages = self.writing.iter().map(|push| push.message.as_slice());
        let (frames, proofs) = seal(&self.session, messages)?;
        self.socket.send_all(frames).await?;
        for (push, proof) in self.writing.drain(..).zip(proofs) {
            self.reception.mailroom.pushed(push.ack, proof.written());
        }
        Ok(())
    }

    /// Pushes the oldest messages of the inbox and removes them.
    async fn drain(&mut self) -> Result<(), End> {
        let Some(client) = self.online.as_ref().map(|online| online.client) else {
            self.is_draining = false;
            return Ok(());
        };
        // What is in the queue came before what is in the inbox.
        while let Ok(push) = self.pushes.try_recv() {
            self.writing.push(push);
        }
        self.write_pushes().await?;

        let Mailroom { desk, store } = self.reception.mailroom.clone();
        let stored_count = desk.roster.stored_count(client);
        let stored = store
            .read(client, DRAINED_AT_ONCE)
            .await?
            .map_err(|error| {
                tracing::error!(%error, "an inbox cannot be read");
                End::Store
            })?;
        if stored.is_empty() {
            // If messages are on their way to the inbox, it wakes us when they are there.
            desk.roster.go_live(client, self.connection, stored_count);
            self.is_draining = false;
            return Ok(());
        }
        let messages = stored.iter().map(|stored| stored.message.as_slice());
        let (frames, proofs) = seal(&self.session, messages)?;
        self.socket.send_all(frames).await?;
        let written = stored
            .iter()
            .zip(proofs)
            .map(|(stored, proof)| (stored.id, proof.written()))
            .collect();
        Ok(store.remove(client, written).await?)
    }

    /// When something has to happen although nothing comes.
    fn next_deadline(&self, limits: &ClientLimits) -> Timestamp {
        let silence = if self.is_pinged {
            limits.dead_after
        } else {
            limits.ping_after
        };
        let session = self.session.poll_timeout().unwrap_or(Timestamp::MAX);
        session.min(self.heard_at + silence)
    }

    async fn handle_timeout(&mut self) -> Result<(), End> {
        let now = self.reception.clock.now();
        self.session.handle_timeout(now);
        self.perform().await?;
        let limits = self.reception.limits.now();
        let silent_for = now.saturating_duration_since(self.heard_at);
        if silent_for >= limits.dead_after {
            return Err(End::Silent);
        }
        if silent_for >= limits.ping_after && !self.is_pinged {
            self.is_pinged = true;
            add(&self.tally().clients_pinged);
            self.socket.ping().await?;
        }
        Ok(())
    }

    /// Takes the client offline, stores what was not pushed, and says goodbye.
    async fn finish(mut self, end: End) {
        if let Some(online) = self.online.take() {
            let client = online.client;
            drop(online);
            while let Ok(push) = self.pushes.try_recv() {
                self.writing.push(push);
            }
            for push in self.writing.drain(..) {
                self.reception.mailroom.accept(client, push).await;
            }
        }
        let (code, reason) = match end {
            End::Gone => return,
            End::Protocol => (CloseCode::Protocol, "not as websockets speak"),
            End::Session(reason) => close_code(reason),
            End::Silent => {
                add(&self.tally().clients_silent);
                (CloseCode::Policy, "no sign of life")
            }
            End::Shutdown => (CloseCode::GoingAway, "the gateway stops"),
            End::Store => (CloseCode::Internal, "the gateway cannot store"),
        };
        self.socket.close(code, reason).await;
    }
}

/// Seals messages for the client of an authenticated session.
fn seal<'a>(
    session: &GatewaySession,
    messages: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<WsMessage>, Vec<UnwrittenPush>), End> {
    let frames: Option<Vec<PushFrame>> =
        messages.map(|message| session.seal_push(message)).collect();
    let frames = frames.ok_or(End::Gone)?;
    Ok(frames.into_iter().map(PushFrame::into_parts).unzip())
}

const fn close_code(reason: CloseReason) -> (CloseCode, &'static str) {
    match reason {
        CloseReason::MessageTooLong => (CloseCode::TooLong, "the message is too long"),
        CloseReason::Replaced => (CloseCode::Policy, "replaced by a newer connection"),
        CloseReason::TimedOut => (CloseCode::Policy, "no login in time"),
        CloseReason::TooManyRefusals => (CloseCode::Policy, "too many requests were refused"),
        CloseReason::UnexpectedMessage => (CloseCode::Internal, "unexpected message"),
    }
}
