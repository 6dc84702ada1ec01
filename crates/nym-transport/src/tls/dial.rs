//! The dialling end.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connections::{Dial, DialFailure, Dialling, Link, dial_tcp};
use crate::peers::Peers;
use crate::stream::Stream;
use crate::tls::accept::LinkPolicy;
use crate::tls::config::dialling;
use crate::tls::handshakes::{LinkRefusal, Side};
use crate::tls::identity::TlsIdentity;
use crate::tls::verify::{Expected, KeyIsExpected};
use crate::tls::{LINK_BUFFER, NO_BUFFER, WRITE_BUFFER};

/// Makes a link of a connection that was just dialled: its peer must prove to be who is expected.
/// A node shows its own identity, a client none. Give it a timeout.
///
/// # Errors
///
/// [`LinkRefusal`].
pub async fn encrypt(
    stream: TcpStream,
    expected: Expected,
    own: Option<&TlsIdentity>,
) -> Result<Stream, LinkRefusal> {
    let peer = stream.peer_addr().map_err(|_| LinkRefusal::Closed)?;
    let config = dialling(KeyIsExpected(expected), own);
    let buffer = if own.is_some() {
        LINK_BUFFER
    } else {
        NO_BUFFER
    };
    let stream = BufReader::with_capacity(buffer, stream);
    let limit = |connection: &mut rustls::ClientConnection| {
        connection.set_buffer_limit(Some(WRITE_BUFFER));
    };
    // The name is not sent: it only fills a place. The peer is known by its key.
    let name = ServerName::IpAddress(peer.ip().into());
    let stream = TlsConnector::from(Arc::new(config))
        .connect_with(name, stream, limit)
        .await
        .map_err(|error| LinkRefusal::from_io(Side::Dialled, &error))?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Dials next hops: who is there, and whether it speaks TLS, tells the topology.
#[derive(Debug, Clone)]
pub struct NodeDialer {
    /// Who this node is.
    pub identity: TlsIdentity,
    /// The topology.
    pub peers: Peers,
    /// Whether next hops without TLS may be dialled.
    pub policy: LinkPolicy,
    /// Dials addresses that are in no topology, too, whoever is there: a node that does is an open
    /// relay, for measurements only.
    pub open_relay_for_tests: bool,
}

impl Dial for NodeDialer {
    fn knows(&self, next_hop: SocketAddr) -> bool {
        self.open_relay_for_tests || self.peers.at(next_hop).is_some()
    }

    fn dial(&self, next_hop: SocketAddr) -> Dialling {
        let dialer = self.clone();
        Box::pin(async move { Ok(Box::new(dialer.link(next_hop).await?) as Box<dyn Link>) })
    }
}

impl NodeDialer {
    async fn link(&self, next_hop: SocketAddr) -> Result<Stream, DialFailure> {
        let known = match self.peers.at(next_hop) {
            None if !self.open_relay_for_tests => self.peers.find(next_hop).await,
            known => known,
        };
        let may_be_plain = self.policy.legacy.check((self.policy.unix_secs)());
        let expected = match (known, may_be_plain) {
            (Some(peer), _) if peer.speaks_tls => Some(Expected::OneOf(peer.identities)),
            (None, _) if !self.open_relay_for_tests => {
                return Err(self.refuse(LinkRefusal::NotInTopology));
            }
            (_, Ok(())) => None,
            (None, Err(_)) => Some(Expected::Anybody),
            (Some(_), Err(denied)) => return Err(self.refuse(denied.into())),
        };
        let stream = dial_tcp(next_hop).await?;
        let outcome = match expected {
            Some(expected) => encrypt(stream, expected, Some(&self.identity)).await,
            None => Ok(Stream::Plain(stream)),
        };
        self.policy.handshakes.record(Side::Dialled, &outcome);
        // Whoever is there now may be another one later.
        outcome.map_err(|refusal| DialFailure::Failed(std::io::Error::other(refusal)))
    }

    fn refuse(&self, refusal: LinkRefusal) -> DialFailure {
        let outcome = Err(refusal.clone());
        self.policy.handshakes.record(Side::Dialled, &outcome);
        DialFailure::Refused(refusal)
    }
}
