//! Websocket connections (RFC 6455): of a client to its gateway, of an app to its client.
//!
//! [`WebSocket`] is one connection, from either end. It carries [`WsMessage`]s, which are what
//! the sessions of `nym-protocol` take and give, and answers pings by itself, or leaves that to
//! its reader ([`WebSocket::split_to_answer`]). Messages are bounded, since a peer's announced
//! length must not become our memory.
//!
//! A gateway is dialled with TLS ([`WebSocket::dial_tls`]), and proves its identity key; whether a
//! URL says `ws` or `wss` makes no difference, so that nobody can take the TLS away by changing it.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::ws::WsMessage;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as TungsteniteCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as TungsteniteError, Message};

use crate::stream::Stream;
use crate::tls::{Expected, LinkRefusal, encrypt};
use crate::websocket::pings::Answering;
use crate::websocket::url::WsUrl;

pub use crate::websocket::pings::{Heard, Ping, PingedReceiver};
pub use crate::websocket::url::UrlError;

mod pings;
mod url;

/// Bounds of a websocket connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketLimits {
    /// Name resolution and the TCP connection, each.
    pub connect_timeout: Duration,
    /// The upgrade from HTTP.
    pub handshake_timeout: Duration,
    /// The longest message in bytes, received or sent. A longer one closes the connection.
    pub message_len: usize,
    /// A message that cannot be written for so long ends the connection.
    pub write_timeout: Duration,
}

impl Default for WebSocketLimits {
    /// 10 s for each step of connecting, messages of 1 MiB, 30 s for writing.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            message_len: 1 << 20,
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl WebSocketLimits {
    /// At most two messages wait to be written, and a small read buffer serves a connection that
    /// mostly idles: ten thousand of them sit on one gateway.
    fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .max_message_size(Some(self.message_len))
            .max_frame_size(Some(self.message_len))
            .read_buffer_size(8 * 1024)
            .write_buffer_size(16 * 1024)
            .max_write_buffer_size(2 * self.message_len + 32 * 1024)
    }
}

/// Why a websocket connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no TCP connection.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// The URL dialled.
        url: String,
        /// What the operating system answered.
        source: io::Error,
    },
    /// The peer did not answer the upgrade request as a websocket server does.
    #[error("{url} does not speak websocket: {problem}")]
    Handshake {
        /// The URL dialled.
        url: String,
        /// What was wrong.
        problem: String,
    },
    /// There is no encrypted link, or the peer is somebody else.
    #[error("no link with {url}: {refusal}")]
    Link {
        /// The URL dialled.
        url: String,
        /// Why.
        refusal: LinkRefusal,
    },
    /// A step took too long.
    #[error("cannot connect to {url}: no answer within {} s", after.as_secs_f64())]
    TimedOut {
        /// The URL dialled.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The URL cannot be dialled.
    #[error("{url} cannot be dialled: {problem}")]
    Url {
        /// The URL given.
        url: String,
        /// What is wrong with it.
        problem: UrlError,
    },
}

/// Why an accepted TCP connection did not become a websocket: a port scan, a browser, `curl`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The peer asked for something else.
    #[error("the peer does not speak websocket: {problem}")]
    Handshake {
        /// What was wrong.
        problem: String,
    },
    /// The peer did not finish its request in time.
    #[error("the peer did not ask for an upgrade within {} s", after.as_secs_f64())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

/// Why a connection ended other than by a close frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The connection is closed already.
    #[error("the connection is closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer broke the rules of the websocket protocol.
    #[error("the peer broke the websocket protocol: {problem}")]
    Protocol {
        /// How.
        problem: String,
    },
    /// A message is longer than the limit.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The longest message allowed.
        limit: usize,
    },
    /// A message could not be written.
    #[error("a message could not be written within {} s", after.as_secs_f64())]
    WriteTimedOut {
        /// How long was waited.
        after: Duration,
    },
}

/// Why we close a connection, as the peer sees it (RFC 6455, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 1001: this program is stopping.
    GoingAway,
    /// 1011: something failed here.
    Internal,
    /// 1000: all is done.
    Normal,
    /// 1008: what the peer does is not allowed.
    Policy,
    /// 1002: what the peer sent breaks the protocol.
    Protocol,
    /// 1009: a message is too long.
    TooLong,
    /// 1013: too busy now.
    TryAgain,
}

impl From<CloseCode> for TungsteniteCode {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::GoingAway => Self::Away,
            CloseCode::Internal => Self::Error,
            CloseCode::Normal => Self::Normal,
            CloseCode::Policy => Self::Policy,
            CloseCode::Protocol => Self::Protocol,
            CloseCode::TooLong => Self::Size,
            CloseCode::TryAgain => Self::Again,
        }
    }
}

/// What a peer asked for when it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// The `Origin` header: set by browsers to the site whose script connects.
    pub origin: Option<String>,
    /// The path of the request without its query, `/` at least.
    pub path: String,
}

/// What came from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message with data.
    Message(WsMessage),
    /// The answer to a ping: the peer lives, and has read everything sent before that ping. With
    /// the number of a [numbered](WebSocketSender::send_all_and_ping) ping.
    Pong(Option<u64>),
}

/// One websocket connection: [`WebSocketSender`] and [`WebSocketReceiver`] in one.
///
/// A task that answers while its peer keeps talking should [`split`](Self::split) it, so that
/// neither direction waits for the other.
#[derive(Debug)]
pub struct WebSocket {
    sender: WebSocketSender,
    receiver: WebSocketReceiver,
}

/// The writing half of a websocket connection.
#[derive(Debug)]
pub struct WebSocketSender {
    sink: SplitSink<Answering, Message>,
    limits: WebSocketLimits,
}

/// The reading half of a websocket connection; it also answers pings.
#[derive(Debug)]
pub struct WebSocketReceiver {
    stream: SplitStream<Answering>,
    limits: WebSocketLimits,
}

impl WebSocket {
    fn new(stream: WebSocketStream<Stream>, limits: WebSocketLimits) -> Self {
        let (sink, stream) = Answering::by_itself(stream).split();
        Self {
            sender: WebSocketSender { sink, limits },
            receiver: WebSocketReceiver { stream, limits },
        }
    }

    /// Connects to `ws://host[:port][/path]`, in clear.
    ///
    /// IPv6 hosts may stand in brackets or, as 0.11 gateways announce them, bare.
    ///
    /// # Errors
    ///
    /// [`DialError`] names the URL and the step that failed.
    pub async fn dial(url: &str, limits: WebSocketLimits) -> Result<Self, DialError> {
        let target = parse(url)?;
        if target.is_secure() {
            return Err(DialError::Url {
                url: url.to_owned(),
                problem: UrlError::Secure,
            });
        }
        let stream = connect(url, &target, limits).await?;
        Self::upgrade(url, &target, stream.into(), limits).await
    }

    /// Connects to a gateway at `ws://host[:port][/path]` or `wss://…`, with TLS either way. The
    /// gateway must prove its identity key; the caller stays anonymous on this layer.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::dial`]; [`DialError::Link`] when there is no TLS, or somebody else is there.
    pub async fn dial_tls(
        url: &str,
        gateway: IdentityPublicKey,
        limits: WebSocketLimits,
    ) -> Result<Self, DialError> {
        let target = parse(url)?;
        let stream = connect(url, &target, limits).await?;
        let after = limits.handshake_timeout;
        let encrypting = encrypt(stream, Expected::OneOf(vec![gateway]), None);
        let refused = |refusal| DialError::Link {
            url: url.to_owned(),
            refusal,
        };
        let stream = timeout(after, encrypting)
            .await
            .unwrap_or(Err(LinkRefusal::TimedOut { after }))
            .map_err(refused)?;
        Self::upgrade(url, &target, stream, limits).await
    }

    /// As [`WebSocket::dial`] and [`WebSocket::dial_tls`], over a connection that has been made, as
    /// from an address of choice.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::dial`], but for the connecting.
    pub async fn dial_over(
        stream: impl Into<Stream>,
        url: &str,
        limits: WebSocketLimits,
    ) -> Result<Self, DialError> {
        Self::upgrade(url, &parse(url)?, stream.into(), limits).await
    }

    /// Asks the peer to speak websocket.
    async fn upgrade(
        url: &str,
        target: &WsUrl,
        stream: Stream,
        limits: WebSocketLimits,
    ) -> Result<Self, DialError> {
        let after = limits.handshake_timeout;
        let request = target.request_url();
        let handshake =
            tokio_tungstenite::client_async_with_config(request, stream, Some(limits.config()));
        let (stream, _) = timeout(after, handshake)
            .await
            .map_err(|_| timed_out(url, after))?
            .map_err(|error| DialError::Handshake {
                url: url.to_owned(),
                problem: error.to_string(),
            })?;
        Ok(Self::new(stream, limits))
    }

    /// Makes an accepted connection a websocket.
    ///
    /// # Errors
    ///
    /// [`AcceptError`], which concerns this peer alone and deserves no more than a debug log.
    pub async fn accept(
        stream: impl Into<Stream>,
        limits: WebSocketLimits,
    ) -> Result<(Self, Upgrade), AcceptError> {
        let stream = stream.into();
        let mut upgrade = Upgrade::default();
        #[expect(
            clippy::result_large_err,
            reason = "the library fixes the callback's type"
        )]
        let note = |request: &Request, response: Response| {
            upgrade = Upgrade {
                origin: header(request, "origin"),
                path: request.uri().path().to_owned(),
            };
            Ok::<_, ErrorResponse>(response)
        };
        let handshake =
            tokio_tungstenite::accept_hdr_async_with_config(stream, note, Some(limits.config()));
        let stream = timeout(limits.handshake_timeout, handshake)
            .await
            .map_err(|_| AcceptError::TimedOut {
                after: limits.handshake_timeout,
            })?
            .map_err(|error| AcceptError::Handshake {
                problem: error.to_string(),
            })?;
        Ok((Self::new(stream, limits), upgrade))
    }

    /// The two halves; the connection ends when both are dropped.
    #[must_use]
    pub fn split(self) -> (WebSocketSender, WebSocketReceiver) {
        (self.sender, self.receiver)
    }

    /// As [`WebSocketReceiver::receive`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketReceiver::receive`].
    pub async fn receive(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        self.receiver.receive().await
    }

    /// As [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send`].
    pub async fn send(&mut self, message: WsMessage) -> Result<(), WebSocketError> {
        self.sender.send(message).await
    }

    /// As [`WebSocketSender::send_all`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send_all`].
    pub async fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = WsMessage>,
    ) -> Result<(), WebSocketError> {
        self.sender.send_all(messages).await
    }

    /// As [`WebSocketSender::send_all_and_ping`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send`].
    pub async fn send_all_and_ping(
        &mut self,
        messages: impl IntoIterator<Item = WsMessage>,
        number: u64,
    ) -> Result<(), WebSocketError> {
        self.sender.send_all_and_ping(messages, number).await
    }

    /// As [`WebSocketSender::ping`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::ping`].
    pub async fn ping(&mut self) -> Result<(), WebSocketError> {
        self.sender.ping().await
    }

    /// As [`WebSocketSender::close`].
    pub async fn close(self, code: CloseCode, reason: &str) {
        self.sender.close(code, reason).await;
    }
}

impl WebSocketReceiver {
    /// The next message or pong, or `None` when the peer has closed the connection.
    ///
    /// Pings are answered on the way. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`]; the connection is then of no further use.
    pub async fn receive(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        loop {
            match self.hear().await? {
                None => return Ok(None),
                Some(Heard::Incoming(incoming)) => return Ok(Some(incoming)),
                // Answered by the websocket layer.
                Some(Heard::Ping(_)) => {}
            }
        }
    }

    async fn hear(&mut self) -> Result<Option<Heard>, WebSocketError> {
        loop {
            let incoming = match self.stream.next().await {
                None => return Ok(None),
                Some(Ok(Message::Binary(bytes))) => {
                    Incoming::Message(WsMessage::Binary(bytes.into()))
                }
                Some(Ok(Message::Text(text))) => {
                    Incoming::Message(WsMessage::Text(text.as_str().to_owned()))
                }
                Some(Ok(Message::Ping(payload))) => return Ok(Some(Heard::Ping(Ping(payload)))),
                Some(Ok(Message::Pong(payload))) => {
                    Incoming::Pong(payload.as_ref().try_into().ok().map(u64::from_be_bytes))
                }
                Some(Ok(Message::Close(_))) => return Ok(None),
                // A bare frame is never given to readers.
                Some(Ok(Message::Frame(_))) => continue,
                Some(Err(error)) => return Err(WebSocketError::new(error, self.limits)),
            };
            return Ok(Some(Heard::Incoming(incoming)));
        }
    }
}

impl WebSocketSender {
    /// Sends a message and waits until the operating system has it.
    ///
    /// Not cancel-safe: a message whose future is dropped may be sent or not.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`]; except after [`WebSocketError::TooLong`] the connection is of no
    /// further use.
    pub async fn send(&mut self, message: WsMessage) -> Result<(), WebSocketError> {
        self.send_all([message]).await
    }

    /// Sends several messages with as few system calls as possible, and waits until the operating
    /// system has all of them.
    ///
    /// Not cancel-safe, as [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send`]; messages before one that is too long have been sent.
    pub async fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = WsMessage>,
    ) -> Result<(), WebSocketError> {
        let fed = self.feed_all(messages).await;
        within(self.limits, self.sink.flush()).await?;
        fed
    }

    /// As [`send_all`](Self::send_all), and a ping with a number behind the messages, 8 bytes in
    /// big-endian order. The peer answers it with the same number, as [`Incoming::Pong`], once it
    /// has read the messages. A peer with several pings to answer may answer the last one alone
    /// (RFC 6455, section 5.5.3).
    ///
    /// Not cancel-safe, as [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send`]; there is no ping behind a message that is too long.
    pub async fn send_all_and_ping(
        &mut self,
        messages: impl IntoIterator<Item = WsMessage>,
        number: u64,
    ) -> Result<(), WebSocketError> {
        let mut fed = self.feed_all(messages).await;
        if fed.is_ok() {
            let ping = Message::Ping(number.to_be_bytes().to_vec().into());
            fed = within(self.limits, self.sink.feed(ping)).await;
        }
        within(self.limits, self.sink.flush()).await?;
        fed
    }

    async fn feed_all(
        &mut self,
        messages: impl IntoIterator<Item = WsMessage>,
    ) -> Result<(), WebSocketError> {
        let limit = self.limits.message_len;
        for message in messages {
            if message.len() > limit {
                return Err(WebSocketError::TooLong { limit });
            }
            let feeding = self.sink.feed(to_tungstenite(message));
            within(self.limits, feeding).await?;
        }
        Ok(())
    }

    /// Asks the peer for a sign of life, which arrives as [`Incoming::Pong`] without a number.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`]; the connection is then of no further use.
    pub async fn ping(&mut self) -> Result<(), WebSocketError> {
        within(
            self.limits,
            self.sink.send(Message::Ping(Vec::new().into())),
        )
        .await
    }

    /// Says goodbye; `reason` is cut to the 123 bytes that a close frame holds. What the peer
    /// answers is not awaited, and a connection that is dead already is no error.
    pub async fn close(mut self, code: CloseCode, reason: &str) {
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.get(..end).unwrap_or_default().into(),
        };
        let _ = within(self.limits, self.sink.send(Message::Close(Some(frame)))).await;
    }
}

fn parse(url: &str) -> Result<WsUrl, DialError> {
    WsUrl::parse(url).map_err(|problem| DialError::Url {
        url: url.to_owned(),
        problem,
    })
}

fn timed_out(url: &str, after: Duration) -> DialError {
    let url = url.to_owned();
    DialError::TimedOut { url, after }
}

async fn connect(
    url: &str,
    target: &WsUrl,
    limits: WebSocketLimits,
) -> Result<TcpStream, DialError> {
    let after = limits.connect_timeout;
    let connecting = TcpStream::connect((target.host(), target.port()));
    let stream = timeout(after, connecting)
        .await
        .map_err(|_| timed_out(url, after))?
        .map_err(|source| DialError::Connect {
            url: url.to_owned(),
            source,
        })?;
    // Fails only on a connection that is already dead, which the handshake will notice.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Waits for a write, at most for the write timeout.
async fn within(
    limits: WebSocketLimits,
    writing: impl Future<Output = Result<(), TungsteniteError>>,
) -> Result<(), WebSocketError> {
    let after = limits.write_timeout;
    match timeout(after, writing).await {
        Ok(outcome) => outcome.map_err(|error| WebSocketError::new(error, limits)),
        Err(_) => Err(WebSocketError::WriteTimedOut { after }),
    }
}

impl WebSocketError {
    /// Sorts the library's errors by what they mean.
    fn new(error: TungsteniteError, limits: WebSocketLimits) -> Self {
        match error {
            TungsteniteError::ConnectionClosed | TungsteniteError::AlreadyClosed => Self::Closed,
            TungsteniteError::Io(error) => Self::Io(error),
            TungsteniteError::Capacity(_) | TungsteniteError::WriteBufferFull(_) => Self::TooLong {
                limit: limits.message_len,
            },
            other => Self::Protocol {
                problem: other.to_string(),
            },
        }
    }
}

fn header(request: &Request, name: &str) -> Option<String> {
    request
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}

fn to_tungstenite(message: WsMessage) -> Message {
    match message {
        WsMessage::Binary(bytes) => Message::Binary(bytes.into()),
        WsMessage::Text(text) => Message::Text(text.into()),
    }
}

#[cfg(test)]
mod tests;
