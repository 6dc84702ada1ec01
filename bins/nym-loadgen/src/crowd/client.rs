//! One client of a crowd.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use nym_packet::keys::IdentityKeyPair;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::client_session::Event;
use nym_protocol::gateway::{ClientLogin, ClientSession, Refusal, SharedKeys};
use nym_transport::tls::{Expected, LinkRefusal, encrypt};
use nym_transport::websocket::{DialError, Incoming, WebSocket, WebSocketError, WebSocketLimits};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Crowd;
use super::messages::number_of;

/// A login may take so long when thousands log in together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A message and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Which message.
    pub(super) number: u32,
    /// When its client had it.
    pub(super) at: Instant,
}

/// Why a client is not connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The gateway ended the connection.
    #[error("the gateway has closed the connection")]
    Closed,
    /// There is no TCP connection.
    #[error("cannot connect from {from}: {source}")]
    Connect {
        /// The source address.
        from: Ipv4Addr,
        /// What the system answered.
        source: io::Error,
    },
    /// There is no websocket.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is no encrypted link.
    #[error("no encrypted link: {0}")]
    Link(#[from] LinkRefusal),
    /// The gateway does not want the client.
    #[error("the gateway refuses: {0}")]
    Refused(#[source] Refusal),
    /// The login was not answered.
    #[error("no answer within {} s", LOGIN_TIMEOUT.as_secs())]
    TimedOut,
    /// The websocket broke.
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}

/// A client, connected or not.
pub(super) struct Client {
    pub(super) identity: Arc<IdentityKeyPair>,
    keys: Option<Arc<SharedKeys>>,
}

/// A client's connection that is logged in.
pub(super) struct Session {
    socket: WebSocket,
    session: ClientSession,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            identity: Arc::new(IdentityKeyPair::generate(&mut nym_daemon::entropy())),
            keys: None,
        }
    }

    /// Registers the first time and authenticates from then on.
    pub(super) async fn log_in(
        &mut self,
        from: Ipv4Addr,
        crowd: &Crowd,
    ) -> Result<Session, ClientError> {
        let logging_in = self.try_log_in(from, crowd);
        let outcome = timeout(LOGIN_TIMEOUT, logging_in).await;
        outcome.unwrap_or(Err(ClientError::TimedOut))
    }

    async fn try_log_in(&mut self, from: Ipv4Addr, crowd: &Crowd) -> Result<Session, ClientError> {
        let login = match &self.keys {
            None => ClientLogin::Registration {
                identity: Arc::clone(&self.identity),
                gateway: crowd.identity,
            },
            Some(keys) => ClientLogin::Authentication {
                client: self.identity.public_key(),
                keys: Arc::clone(keys),
            },
        };
        let connecting = connect(from, crowd).await;
        let stream = connecting.map_err(|source| ClientError::Connect { from, source })?;
        // Fails only on a connection that is already dead, which the login will notice.
        let _ = stream.set_nodelay(true);
        let stream = if crowd.plain {
            stream.into()
        } else {
            encrypt(stream, Expected::OneOf(vec![crowd.identity]), None).await?
        };
        let url = format!("ws://{}", crowd.clients_at);
        let limits = WebSocketLimits::default();
        let mut socket = WebSocket::dial_over(stream, &url, limits).await?;
        let mut session = ClientSession::new(login, Timestamp::ZERO, &mut nym_daemon::entropy());
        loop {
            while let Some(message) = session.poll_transmit() {
                socket.send(message).await?;
            }
            match session.poll_event() {
                Some(Event::Ready { shared_keys }) => {
                    self.keys = Some(shared_keys);
                    return Ok(Session { socket, session });
                }
                Some(Event::Refused(refusal)) => return Err(ClientError::Refused(refusal)),
                _ => {}
            }
            match socket.receive().await? {
                Some(Incoming::Message(message)) => session.handle_message(message),
                Some(_) => {}
                None => return Err(ClientError::Closed),
            }
        }
    }

    /// Tells of everything that arrives until the connection ends or `leave` is cancelled.
    pub(super) async fn receive(
        self,
        session: Session,
        arrivals: mpsc::Sender<Arrival>,
        leave: CancellationToken,
    ) -> Self {
        let Session {
            mut socket,
            mut session,
        } = session;
        let receiving = async {
            while let Ok(Some(incoming)) = socket.receive().await {
                let at = Instant::now();
                if let Incoming::Message(message) = incoming {
                    session.handle_message(message);
                }
                while let Some(event) = session.poll_event() {
                    if let Event::Push(push) = event
                        && let Some(number) = number_of(&push)
                    {
                        // Nobody counts any more: then nobody misses it.
                        let _ = arrivals.send(Arrival { number, at }).await;
                    }
                }
            }
        };
        // Whatever was being received is of no use any more.
        let _ = leave.run_until_cancelled(receiving).await;
        self
    }
}

async fn connect(from: Ipv4Addr, crowd: &Crowd) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The port is taken by the connection only, so the same one serves for several addresses.
    socket.bind((from, 0).into())?;
    socket.connect(crowd.clients_at).await
}
