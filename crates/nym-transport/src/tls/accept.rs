//! The accepting end: what comes in by the first byte, and whether it may stay.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{Acceptor as HelloReader, CertificateType, ClientHello};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::legacy::LegacySwitch;
use crate::peers::KnownPeersOnly;
use crate::stream::Stream;
use crate::tls::config::{accepting_clients, accepting_nodes};
use crate::tls::handshakes::{Handshakes, LinkRefusal, Side};
use crate::tls::identity::TlsIdentity;
use crate::tls::verify::KeyIsKnown;
use crate::tls::web_certificate::WebCertificate;
use crate::tls::{LINK_BUFFER, NO_BUFFER, WRITE_BUFFER};

/// The first byte of TLS: a handshake record.
pub(super) const TLS: u8 = 0x16;

/// The first byte of a plain link between nodes: the size code of a frame.
const FRAME: std::ops::RangeInclusive<u8> = 1..=3;

/// The first byte of a plain link of a client: an upgrade request, `GET`.
const UPGRADE: u8 = b'G';

/// A peer that has not finished its handshake after so long is cut off.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a plain client or a person with a browser is told.
const TLS_IS_REQUIRED: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\n\
    Upgrade: TLS/1.3\r\nConnection: Upgrade, close\r\n\
    Content-Type: text/plain\r\nContent-Length: 30\r\n\r\nThis port requires wss (TLS).\n";

/// What all ports of a program have in common.
#[derive(Debug, Clone)]
pub struct LinkPolicy {
    /// Whether plain 0.11 peers are let in.
    pub legacy: LegacySwitch,
    /// The time, in seconds since 1970, which ends the switch above.
    pub unix_secs: fn() -> u64,
    /// Where results are counted.
    pub handshakes: Handshakes,
}

/// Makes links of the connections of one port; clones are handles to the same.
#[derive(Clone)]
pub struct Acceptor(Arc<Port>);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

struct Port {
    policy: LinkPolicy,
    raw_keys: Arc<ServerConfig>,
    web_certificate: Option<WebCertificate>,
    side: Peer,
    timeout: Duration,
}

/// Who connects to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Client,
    Node,
}

impl Acceptor {
    /// For the port of other nodes, which prove their identity keys. With `known`, only those that
    /// the rule lets in.
    #[must_use]
    pub fn for_nodes(own: &TlsIdentity, policy: LinkPolicy, known: Option<KnownPeersOnly>) -> Self {
        Self(Arc::new(Port {
            policy,
            raw_keys: accepting_nodes(own, KeyIsKnown(known)),
            web_certificate: None,
            side: Peer::Node,
            timeout: HANDSHAKE_TIMEOUT,
        }))
    }

    /// For the port of clients, which say who they are inside of the link. Those that do not know
    /// raw public keys are shown the certificate, if there is one.
    #[must_use]
    pub fn for_clients(
        own: &TlsIdentity,
        policy: LinkPolicy,
        web_certificate: Option<WebCertificate>,
    ) -> Self {
        Self(Arc::new(Port {
            policy,
            raw_keys: accepting_clients(own),
            web_certificate,
            side: Peer::Client,
            timeout: HANDSHAKE_TIMEOUT,
        }))
    }

    /// Makes a link of a connection that was just accepted, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`LinkRefusal`], which has been counted and logged; the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream, LinkRefusal> {
        let port = &*self.0;
        let after = port.timeout;
        let outcome = timeout(after, port.shake_hands(stream))
            .await
            .unwrap_or(Err(LinkRefusal::TimedOut { after }));
        port.policy.handshakes.record(Side::Accepted, &outcome);
        outcome
    }
}

impl Port {
    async fn shake_hands(&self, stream: TcpStream) -> Result<Stream, LinkRefusal> {
        let mut first = [0];
        let len = stream.peek(&mut first).await;
        match (len, first, self.side) {
            (Ok(1..), [TLS], _) => self.encrypt(stream).await,
            (Ok(1..), [byte], Peer::Node) if FRAME.contains(&byte) => self.plain(stream).await,
            (Ok(1..), [UPGRADE], Peer::Client) => self.plain(stream).await,
            (Ok(1..), ..) => Err(LinkRefusal::OtherProtocol),
            (Ok(0) | Err(_), ..) => Err(LinkRefusal::Closed),
        }
    }

    /// A plain link, if there may be one.
    async fn plain(&self, mut stream: TcpStream) -> Result<Stream, LinkRefusal> {
        let allowed = self.policy.legacy.check((self.policy.unix_secs)());
        if let Err(denied) = allowed {
            if self.side == Peer::Client {
                // A courtesy; the connection ends either way.
                let _ = stream.write_all(TLS_IS_REQUIRED).await;
                let _ = stream.shutdown().await;
            }
            return Err(denied.into());
        }
        Ok(Stream::Plain(stream))
    }

    async fn encrypt(&self, stream: TcpStream) -> Result<Stream, LinkRefusal> {
        let refused = |error| LinkRefusal::from_io(Side::Accepted, &error);
        let buffer = match self.side {
            Peer::Client => NO_BUFFER,
            Peer::Node => LINK_BUFFER,
        };
        let stream = BufReader::with_capacity(buffer, stream);
        let hello = LazyConfigAcceptor::new(HelloReader::default(), stream);
        let start = hello.await.map_err(refused)?;
        let config = match &self.web_certificate {
            Some(certificate) if !knows_raw_keys(&start.client_hello()) => {
                certificate.config().await
            }
            _ => Arc::clone(&self.raw_keys),
        };
        let limit = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(WRITE_BUFFER));
        };
        let stream = start.into_stream_with(config, limit).await;
        Ok(Stream::Tls(Box::new(stream.map_err(refused)?.into())))
    }
}

/// Whether the peer is a program of ours and not a browser.
fn knows_raw_keys(hello: &ClientHello<'_>) -> bool {
    hello
        .server_cert_types()
        .is_some_and(|types| types.contains(&CertificateType::RawPublicKey))
}
