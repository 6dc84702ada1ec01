//! Pings that are answered when their reader says so, and not as soon as they are read.
//!
//! A gateway takes the answer to a ping for the promise that what it pushed before cannot be lost
//! any more. The websocket library answers each ping with the next call, whatever that is. Its
//! documentation names the way out: a pong of one's own, written before anything else, replaces
//! the one that it has ready. [`Answering`] does that with an empty pong, which answers no ping
//! that has a number and which RFC 6455 allows at any time (section 5.5.3).

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, SinkExt as _, Stream as Streaming, StreamExt as _};
use nym_protocol::ws::WsMessage;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error as TungsteniteError, Message};

use super::{Incoming, WebSocket, WebSocketError, WebSocketReceiver, WebSocketSender, within};
use crate::stream::Stream;

/// A ping of the peer that has not been answered: up to 125 bytes, which the answer repeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ping(pub(super) Bytes);

/// What came from a peer whose pings the reader answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A message, or the answer to a ping of ours.
    Incoming(Incoming),
    /// A ping, to be answered by [`WebSocketSender::answer_and_send_all`] sooner or later.
    Ping(Ping),
}

/// The reading half of a connection whose pings are answered by
/// [`WebSocketSender::answer_and_send_all`].
#[derive(Debug)]
pub struct PingedReceiver(WebSocketReceiver);

impl PingedReceiver {
    /// The next message, pong or ping, or `None` when the peer has closed the connection.
    /// Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`WebSocketError`]; the connection is then of no further use.
    pub async fn receive(&mut self) -> Result<Option<Heard>, WebSocketError> {
        self.0.hear().await
    }
}

impl WebSocket {
    /// The two halves, as [`split`](Self::split) gives them, of which nobody answers pings but the
    /// caller.
    #[must_use]
    pub fn split_to_answer(self) -> (WebSocketSender, PingedReceiver) {
        let Self { sender, receiver } = self;
        let (WebSocketSender { sink, limits }, stream) = (sender, receiver.stream);
        let mut socket = sink
            .reunite(stream)
            .expect("both halves are of one connection");
        socket.by_itself = false;
        let (sink, stream) = socket.split();
        let receiver = WebSocketReceiver { stream, limits };
        (WebSocketSender { sink, limits }, PingedReceiver(receiver))
    }
}

impl WebSocketSender {
    /// Answers a ping, and with it all that came before (RFC 6455, section 5.5.3), and sends
    /// messages with as few system calls as possible.
    ///
    /// Not cancel-safe, as [`WebSocketSender::send`].
    ///
    /// # Errors
    ///
    /// As [`WebSocketSender::send_all`].
    pub async fn answer_and_send_all(
        &mut self,
        ping: Option<Ping>,
        messages: impl IntoIterator<Item = WsMessage>,
    ) -> Result<(), WebSocketError> {
        if let Some(Ping(payload)) = ping {
            within(self.limits, self.sink.feed(Message::Pong(payload))).await?;
        }
        self.send_all(messages).await
    }
}

/// A websocket of the library that answers pings by itself or leaves it to the reader.
#[derive(Debug)]
pub(super) struct Answering {
    socket: WebSocketStream<Stream>,
    by_itself: bool,
}

impl Answering {
    pub(super) const fn by_itself(socket: WebSocketStream<Stream>) -> Self {
        Self {
            socket,
            by_itself: true,
        }
    }
}

impl Streaming for Answering {
    type Item = Result<Message, TungsteniteError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.socket.poll_next_unpin(cx);
        if !self.by_itself
            && let Poll::Ready(Some(Ok(Message::Ping(_)))) = polled
        {
            // Fails only on a connection that is closed or broken, which has no answer ready and of
            // which whoever reads or writes next is told.
            let _ = Pin::new(&mut self.socket).start_send(Message::Pong(Bytes::new()));
        }
        polled
    }
}

impl Sink<Message> for Answering {
    type Error = TungsteniteError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.socket.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), Self::Error> {
        self.socket.start_send_unpin(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.socket.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.socket.poll_close_unpin(cx)
    }
}
