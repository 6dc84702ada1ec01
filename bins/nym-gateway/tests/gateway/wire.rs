//! A websocket client that does only what it is told: it answers no ping, and may send half a
//! frame.

use std::io::ErrorKind;

use nym_protocol::gateway::AuthenticateRequest;
use nym_protocol::gateway::control::ClientControl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::network::{Client, Contact, soon};

/// The frame's first byte: it is the last of its message, and text (RFC 6455, section 5.2).
const TEXT: u8 = 0x81;
/// The same, and binary.
pub(crate) const BINARY: u8 = 0x82;
/// The same, and a close frame.
const CLOSE: u8 = 0x88;

/// What a gateway sends.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Text(String),
    /// Any frame but a text or close.
    Other(u8),
    /// A close frame with its code.
    Close(u16),
    /// The connection ended without a close frame.
    Gone,
}

/// A connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
}

impl Wire {
    /// Connects and becomes a websocket.
    pub(crate) async fn open(gateway: &Contact) -> Self {
        let mut stream = TcpStream::connect(gateway.addresses.clients).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = soon("the upgrade is answered", stream.read_u8()).await;
            answer.push(byte.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        Self { stream }
    }

    /// Connects as a client that has registered, without waiting for the answer.
    pub(crate) async fn log_in(gateway: &Contact, client: &Client, iv: [u8; 16]) -> Self {
        let mut wire = Self::open(gateway).await;
        wire.say(&login(client, iv)).await;
        wire
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes()).await;
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) {
        self.send(BINARY, bytes).await;
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let header = header(first, payload.len());
        // The gateway may have hung up, which the next read shows.
        let _ = self.stream.write_all(&[&header, payload].concat()).await;
    }

    /// Sends a text and returns the next text.
    pub(crate) async fn ask(&mut self, text: &str) -> Answer {
        self.say(text).await;
        self.next().await
    }

    /// The next frame but a ping.
    pub(crate) async fn next(&mut self) -> Answer {
        match soon("a frame or the end", self.frame()).await {
            Err(error) => {
                let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(kinds.contains(&error.kind()), "{error}");
                Answer::Gone
            }
            Ok((TEXT, payload)) => Answer::Text(String::from_utf8(payload).unwrap()),
            Ok((CLOSE, payload)) => Answer::Close(u16::from_be_bytes([payload[0], payload[1]])),
            Ok((first, _)) => Answer::Other(first),
        }
    }

    async fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let len = match self.stream.read_u8().await? {
            126 => usize::from(self.stream.read_u16().await?),
            127 => usize::try_from(self.stream.read_u64().await?).unwrap(),
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }
}

/// The header of a client's frame, with a mask of zeros so that the payload stays as it is.
pub(crate) fn header(first: u8, len: usize) -> Vec<u8> {
    let mut header = vec![first, 0xff];
    header.extend_from_slice(&u64::try_from(len).unwrap().to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header
}

/// The text by which a client authenticates.
pub(crate) fn login(client: &Client, iv: [u8; 16]) -> String {
    let keys = client.keys.as_ref().unwrap();
    let request = AuthenticateRequest::with_iv(client.identity.public_key().into(), keys, iv);
    ClientControl::Authenticate(request.to_credentials()).to_text()
}
