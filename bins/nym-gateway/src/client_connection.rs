//! One client's connection: the task that owns its socket and its session.
//!
//! The task does whatever comes first: a message of the client, a message for the client, the
//! next part of its inbox, a deadline. What it writes, it writes completely before it goes on. A
//! burst of pushes ends with a ping, and the messages are safe when the pong comes: see
//! [`Mailbox`](nym_protocol::gateway::mailbox::Mailbox).
//!
//! However the task ends, the client is offline afterwards, and what it has not taken is stored.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use nym_daemon::clock::Clock;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{Deposit, Work};
use nym_protocol::gateway::{
    Action, Admission, Attempt, ClientAddress, CloseReason, ConnectionId, GatewaySession, Login,
    Lookup,
};
use nym_protocol::ws::WsMessage;
use nym_transport::alarm::Alarm;
use nym_transport::tls::Acceptor;
use nym_transport::websocket::{CloseCode, Incoming, WebSocket, WebSocketError};
use rand::rngs::StdRng;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::limits::{ClientLimits, LiveLimits};
use crate::mailroom::{Desk, Mailroom, Tally, add, add_many};
use crate::origins::{Origins, Visit};
use crate::rate::Bucket;
use crate::roster::Line;
use crate::store::StoreClosed;

/// Stored messages pushed at a time, unless there are too many clients to push to.
const DRAINED_AT_ONCE: usize = 64;

/// Steps of work between two looks at everything else: a push, and to see that there is no more.
const STEPS_AT_ONCE: usize = 2;

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) acceptor: Acceptor,
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
        let _connected = Connected::count(&self.mailroom.desk);
        let accepted = async {
            // Who is refused has been counted, and told to the operator.
            let link = self.acceptor.accept(stream).await.ok()?;
            Some(WebSocket::accept(link, limits.websocket).await)
        };
        let socket = match shutdown.run_until_cancelled(accepted).await.flatten() {
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

/// A connection that is counted until it is dropped.
struct Connected(Arc<Desk>);

impl Connected {
    fn count(desk: &Arc<Desk>) -> Self {
        add(&desk.tally.connections_accepted);
        Self(Arc::clone(desk))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        add(&self.0.tally.connections_ended);
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client closed it, or it broke.
    Gone,
    /// The client does not keep to the websocket protocol.
    Protocol,
    /// The operator has removed the client.
    Removed,
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
    wake: Arc<Notify>,
    removed: CancellationToken,
    replaced: CancellationToken,
    online: Option<Online>,
    /// Whether the mailbox may have something to do.
    has_work: bool,
    alarm: Alarm,
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
    mailroom: Mailroom,
    /// When to look whether something has been held for too long.
    overdue_at: Timestamp,
}

impl Online {
    /// Takes the client offline, and stores what it has not taken.
    async fn leave(self) {
        let given = self.release();
        self.mailroom.store_all(self.client, given).await;
    }

    fn release(&self) -> Vec<Deposit> {
        let roster = &self.mailroom.desk.roster;
        roster.release(self.client, self.connection)
    }

    async fn store_overdue(&mut self) {
        let next = self.mailroom.store_overdue(self.client).await;
        self.overdue_at = next.unwrap_or(Timestamp::MAX);
    }
}

impl Drop for Online {
    /// After [`leave`](Self::leave) there is nothing left to do. When the task ended by a panic,
    /// nobody can wait for the store: what was held is lost, and not acknowledged.
    fn drop(&mut self) {
        for Deposit { id, .. } in self.release() {
            self.mailroom.desk.roster.stored(self.client, id);
        }
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
        let (identity, limits) = (Arc::clone(&reception.identity), reception.limits.now());
        Self {
            session: GatewaySession::with_limits(identity, now, limits.session),
            reception,
            visit,
            socket,
            rng: nym_daemon::entropy(),
            connection,
            wake: Arc::default(),
            removed: CancellationToken::new(),
            replaced: CancellationToken::new(),
            online: None,
            has_work: false,
            alarm: Alarm::default(),
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
            () = self.removed.cancelled() => Err(End::Removed),
            () = self.replaced.cancelled() => {
                self.session.handle_replaced();
                self.perform().await
            }
            incoming = self.socket.receive(), if blocked_until.is_none() => match incoming? {
                None => Err(End::Gone),
                Some(incoming) => self.hear(incoming, &limits).await,
            },
            () = self.wake.notified(), if is_online => {
                self.has_work = true;
                self.work().await
            }
            () = std::future::ready(()), if self.has_work => self.work().await,
            () = self.alarm.wait_until(clock.instant(deadline)) => self.handle_timeout().await,
        }
    }

    async fn hear(&mut self, incoming: Incoming, limits: &ClientLimits) -> Result<(), End> {
        let now = self.reception.clock.now();
        self.heard_at = now;
        self.is_pinged = false;
        let message = match incoming {
            Incoming::Message(message) => message,
            Incoming::Pong(number) => return self.hear_pong(number).await,
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

    /// The client has everything that was pushed before the ping with this number.
    async fn hear_pong(&mut self, number: Option<u64>) -> Result<(), End> {
        if let (Some(online), Some(ping)) = (&self.online, number) {
            let (client, mailroom) = (online.client, &online.mailroom);
            mailroom.taken(client, self.connection, ping).await?;
            self.has_work = true;
        }
        self.work().await
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
                Action::Forward(packet) => self.reception.mailroom.desk.forward(packet).await,
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
        let Mailroom { desk, store, .. } = self.reception.mailroom.clone();
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
                    // Only now: a login that was recorded and is repeated uses up none of its
                    // client's.
                    desk.count_login(*client, limits.logins, now);
                    let given = desk.roster.take_over(*client, self.line());
                    self.come_online(*client);
                    self.reception.mailroom.store_all(*client, given).await;
                    Admission::Online
                }
                Ok(false) => Admission::IvUsed,
                Err(error) => {
                    tracing::error!(%error, "a login cannot be recorded");
                    Admission::Failed
                }
            },
            Login::Registration { client, keys } => {
                desk.count_login(*client, limits.logins, now);
                if desk.roster.claim(*client, self.line()) {
                    self.come_online(*client);
                    match store.store_keys(*client, keys).await? {
                        Ok(()) => Admission::Online,
                        Err(error) => {
                            tracing::error!(%error, "a registration cannot be stored");
                            self.online = None;
                            self.has_work = false;
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
            wake: Arc::clone(&self.wake),
            removed: self.removed.clone(),
            replaced: self.replaced.clone(),
        }
    }

    /// From here on the client goes offline when this task ends, in whatever way.
    fn come_online(&mut self, client: ClientAddress) {
        self.online = Some(Online {
            client,
            connection: self.connection,
            mailroom: self.reception.mailroom.clone(),
            overdue_at: Timestamp::MAX,
        });
        self.has_work = true;
    }

    /// Does what the mailbox says, a little at a time; what is left, when other things have had
    /// their turn.
    async fn work(&mut self) -> Result<(), End> {
        for _ in 0..STEPS_AT_ONCE {
            if self.has_work {
                self.step().await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), End> {
        let Some(online) = &mut self.online else {
            self.has_work = false;
            return Ok(());
        };
        let roster = &online.mailroom.desk.roster;
        let patience_ends = self.reception.clock.now() + roster.patience();
        online.overdue_at = online.overdue_at.min(patience_ends);
        match roster.poll_work(online.client, self.connection) {
            Work::Wait => {
                self.has_work = false;
                Ok(())
            }
            Work::Push { messages, ping } => self.push(&messages, ping).await,
            Work::Read(part) => {
                let (client, connection) = (online.client, self.connection);
                // Kept until what was read is written.
                let generous = Arc::clone(&online.mailroom.desk.generous_reads);
                let generous = generous.try_acquire_owned();
                let count = if generous.is_ok() { DRAINED_AT_ONCE } else { 1 };
                let read = online.mailroom.read(client, connection, part, count);
                match read.await? {
                    Some((messages, ping)) => self.push(&messages, Some(ping)).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Writes messages and the ping behind them. While the socket takes nothing, what is held for
    /// too long goes to the store.
    async fn push(&mut self, messages: &[Vec<u8>], ping: Option<u64>) -> Result<(), End> {
        let sealed = messages
            .iter()
            .map(|message| self.session.seal_push(message));
        let frames = sealed.collect::<Option<Vec<_>>>().ok_or(End::Gone)?;
        let Some(online) = &mut self.online else {
            return Ok(());
        };
        let clock = self.reception.clock;
        let mut writing = pin!(async {
            match ping {
                Some(number) => self.socket.send_all_and_ping(frames, number).await,
                None => self.socket.send_all(frames).await,
            }
        });
        loop {
            // Both branches are cancel-safe: the writing is pinned and taken up again. It comes first
            // because it seldom waits, and then no timer is needed.
            tokio::select! {
                biased;
                written = &mut writing => {
                    written?;
                    add_many(&online.mailroom.desk.tally.messages_pushed, messages.len());
                    return Ok(());
                }
                () = sleep_until(clock.instant(online.overdue_at)) => {
                    online.store_overdue().await;
                    let again = clock.now() + online.mailroom.desk.roster.patience();
                    online.overdue_at = online.overdue_at.min(again);
                }
            }
        }
    }

    /// When something has to happen although nothing comes.
    fn next_deadline(&self, limits: &ClientLimits) -> Timestamp {
        let silence = if self.is_pinged {
            limits.dead_after
        } else {
            limits.ping_after
        };
        let session = self.session.poll_timeout().unwrap_or(Timestamp::MAX);
        let overdue = self.online.as_ref().map(|online| online.overdue_at);
        session
            .min(self.heard_at + silence)
            .min(overdue.unwrap_or(Timestamp::MAX))
    }

    async fn handle_timeout(&mut self) -> Result<(), End> {
        let now = self.reception.clock.now();
        self.session.handle_timeout(now);
        self.perform().await?;
        if let Some(online) = &mut self.online
            && now >= online.overdue_at
        {
            online.store_overdue().await;
        }
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

    /// Takes the client offline, stores what it has not taken, and says goodbye.
    async fn finish(mut self, end: End) {
        if let Some(online) = self.online.take() {
            online.leave().await;
        }
        let (code, reason) = match end {
            End::Gone => return,
            End::Protocol => (CloseCode::Protocol, "not as websockets speak"),
            End::Removed => (CloseCode::Policy, "removed by the operator"),
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

const fn close_code(reason: CloseReason) -> (CloseCode, &'static str) {
    match reason {
        CloseReason::MessageTooLong => (CloseCode::TooLong, "the message is too long"),
        CloseReason::Replaced => (CloseCode::Policy, "replaced by a newer connection"),
        CloseReason::TimedOut => (CloseCode::Policy, "no login in time"),
        CloseReason::TooManyRefusals => (CloseCode::Policy, "too many requests were refused"),
        CloseReason::UnexpectedMessage => (CloseCode::Internal, "unexpected message"),
    }
}
