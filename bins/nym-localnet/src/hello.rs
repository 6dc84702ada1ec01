//! The first message, sent exactly as an app sends it: over the clients' websockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nym_client_core::Journey;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// What the first message says.
pub const HELLO: &str = "Hello Nym!";

/// How long a client may take to answer a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// How one message went.
#[derive(Debug)]
pub struct Hello {
    /// What came out at the receiver, as text.
    pub received: String,
    /// From handing it over until it left its client, if that was seen: the wait for a slot.
    pub left_after: Option<Duration>,
    /// From handing it over until the receiver's app had it.
    pub total: Duration,
    /// The way its first packet was given.
    pub journey: Option<Journey>,
}

/// Why a message did not make it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The client's answer is not what its protocol says.
    #[error("{client} answered {answer} instead of {expected}")]
    Answer {
        /// Which client.
        client: String,
        /// What it said.
        answer: String,
        /// What an app expects there.
        expected: &'static str,
    },
    /// The message came out changed.
    #[error("{received} arrived instead of {HELLO}")]
    Changed {
        /// What came out.
        received: String,
    },
    /// A client closed the connection.
    #[error("{client} closed the app's connection")]
    Closed {
        /// Which client.
        client: String,
    },
    /// An app could not talk to its client.
    #[error("no websocket to {client} at {address}: {source}")]
    Connect {
        /// Which client.
        client: String,
        /// Where it listens.
        address: SocketAddr,
        /// What failed.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// Nothing arrived in time.
    #[error("the message did not arrive within {} s", limit.as_secs())]
    Late {
        /// How long it had.
        limit: Duration,
    },
}

/// An app connected to one client, in the dialect of a fresh connection.
struct App {
    client: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Two apps, one of which writes to the other.
pub struct Greeting {
    sender: App,
    receiver: App,
    recipient: String,
}

impl Greeting {
    /// Connects an app to each of two clients, given by name and address of the app socket.
    ///
    /// # Errors
    /// [`HelloError`] when a client does not let its app in.
    pub async fn connect(
        from: (&str, SocketAddr),
        to: (&str, SocketAddr),
    ) -> Result<Self, HelloError> {
        let sender = App::connect(from).await?;
        let mut receiver = App::connect(to).await?;
        let recipient = receiver.self_address().await?;
        Ok(Self {
            sender,
            receiver,
            recipient,
        })
    }

    /// Sends [`HELLO`] and waits for it at the other end. `journeys` are those of the sender's
    /// client.
    ///
    /// # Errors
    /// [`HelloError`]; [`HelloError::Late`] after `limit`.
    pub async fn hello(
        &mut self,
        journeys: &mut mpsc::Receiver<Journey>,
        limit: Duration,
    ) -> Result<Hello, HelloError> {
        // What is still there belongs to repetitions of earlier messages.
        while journeys.try_recv().is_ok() {}
        let sent = self.send_and_receive(journeys);
        tokio::time::timeout(limit, sent)
            .await
            .unwrap_or(Err(HelloError::Late { limit }))
    }

    /// Ends both connections in order. A client pushes again, to the next app, what an app had
    /// that broke off.
    pub async fn close(self) {
        for app in [self.sender, self.receiver] {
            app.close().await;
        }
    }

    async fn send_and_receive(
        &mut self,
        journeys: &mut mpsc::Receiver<Journey>,
    ) -> Result<Hello, HelloError> {
        let request = json!({"type": "send", "message": HELLO, "recipient": self.recipient});
        let started = Instant::now();
        self.sender.send(&request).await?;
        let confirmation = self.sender.receive().await?;
        if !is_of_type(&confirmation, "send") {
            return Err(self.sender.unexpected(confirmation, "a confirmation"));
        }
        let (mut journey, mut left_after) = (None, None);
        let received = loop {
            tokio::select! {
                // Both are cancel-safe: a frame or journey is taken whole or stays where it is.
                Some(seen) = journeys.recv(), if journey.is_none() => {
                    journey = Some(seen);
                    left_after = Some(started.elapsed());
                }
                received = self.receiver.receive() => break received?,
            }
        };
        let total = started.elapsed();
        if received != HELLO {
            return Err(HelloError::Changed { received });
        }
        Ok(Hello {
            received,
            left_after,
            total,
            journey,
        })
    }
}

impl Hello {
    /// The delays that were drawn for its mix nodes, together; zero if the journey was not seen.
    #[must_use]
    pub fn drawn(&self) -> Duration {
        let delays = self.journey.iter().flat_map(|journey| &journey.delays);
        delays
            .map(|delay| Duration::from_nanos(delay.as_nanos()))
            .sum()
    }

    /// What is neither the wait for a slot nor drawn: the work of seven programs.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        let waited = self.left_after.unwrap_or_default();
        self.total
            .saturating_sub(waited)
            .saturating_sub(self.drawn())
    }
}

impl App {
    async fn connect((client, address): (&str, SocketAddr)) -> Result<Self, HelloError> {
        let client = client.to_owned();
        match tokio_tungstenite::connect_async(format!("ws://{address}")).await {
            Ok((socket, _)) => Ok(Self { client, socket }),
            Err(source) => Err(HelloError::Connect {
                client,
                address,
                source: Box::new(source),
            }),
        }
    }

    async fn self_address(&mut self) -> Result<String, HelloError> {
        self.send(&json!({"type": "selfAddress"})).await?;
        let answer = self.receive().await?;
        let parsed: Option<Value> = serde_json::from_str(&answer).ok();
        match parsed
            .as_ref()
            .and_then(|answer| answer.get("address")?.as_str())
        {
            Some(address) => Ok(address.to_owned()),
            None => Err(self.unexpected(answer, "its address")),
        }
    }

    async fn send(&mut self, request: &Value) -> Result<(), HelloError> {
        let sent = self.socket.send(Message::text(request.to_string())).await;
        sent.map_err(|_| HelloError::Closed {
            client: self.client.clone(),
        })
    }

    async fn receive(&mut self) -> Result<String, HelloError> {
        while let Some(Ok(message)) = self.socket.next().await {
            match message {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Binary(bytes) => {
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
                _ => {}
            }
        }
        Err(HelloError::Closed {
            client: self.client.clone(),
        })
    }

    async fn close(mut self) {
        let closing = async {
            // A connection that is closed already is closed all the same.
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, closing).await;
    }

    fn unexpected(&self, answer: String, expected: &'static str) -> HelloError {
        HelloError::Answer {
            client: self.client.clone(),
            answer,
            expected,
        }
    }
}

fn is_of_type(text: &str, kind: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value["type"] == kind)
}
