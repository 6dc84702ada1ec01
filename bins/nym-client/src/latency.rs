//! How far away gateways are.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use nym_protocol::validator::topology::GatewayDescriptor;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Gateways measured at the same time: few, so that they do not slow each other down.
const AT_ONCE: usize = 16;

/// The shortest of so many attempts counts, which leaves out the look-up of the name and chance.
const ATTEMPTS: u32 = 3;

/// A gateway that does not answer within this time is none to register at.
const LIMIT: Duration = Duration::from_secs(2);

/// A gateway and the time that a TCP connection to it takes: one round trip.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) gateway: GatewayDescriptor,
    /// `None` when it did not answer.
    pub(crate) latency: Option<Duration>,
}

/// Measures all of them; the nearest first, those that do not answer last.
pub(crate) async fn measure(gateways: Vec<GatewayDescriptor>) -> Vec<Measured> {
    let mut measured: Vec<Measured> = stream::iter(gateways)
        .map(async |gateway| Measured {
            latency: round_trip(&gateway.websocket_url()).await,
            gateway,
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    measured.sort_by_key(|measured| {
        let unknown = measured.latency.is_none();
        (
            unknown,
            measured.latency,
            measured.gateway.client_address.clone(),
        )
    });
    measured
}

async fn round_trip(url: &str) -> Option<Duration> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let mut shortest = None;
    for _ in 0..ATTEMPTS {
        let start = Instant::now();
        // A gateway that refuses once refuses again.
        timeout(LIMIT, TcpStream::connect(authority))
            .await
            .ok()?
            .ok()?;
        let took = start.elapsed();
        shortest = Some(shortest.map_or(took, |least: Duration| least.min(took)));
    }
    shortest
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use nym_daemon::entropy;
    use nym_packet::keys::IdentityKeyPair;
    use sphinx::PrivateKey;
    use tokio::net::TcpListener;

    use super::*;

    fn gateway(address: SocketAddr) -> GatewayDescriptor {
        GatewayDescriptor {
            identity: IdentityKeyPair::generate(&mut entropy()).public_key(),
            sphinx_key: PrivateKey::generate(&mut entropy()).public_key(),
            mix_address: address,
            client_address: format!("ws://{address}"),
            speaks_tls: false,
        }
    }

    #[tokio::test]
    async fn gateways_that_answer_come_first_and_have_a_latency() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone_address = gone.local_addr().unwrap();
        drop(gone);
        let there = gateway(there.local_addr().unwrap());
        let measured = measure(vec![gateway(gone_address), there.clone()]).await;
        assert_eq!(measured[0].gateway, there);
        assert!(measured[0].latency.is_some_and(|latency| latency < LIMIT));
        assert_eq!(measured[1].latency, None);
    }

    #[tokio::test]
    async fn what_is_no_url_has_no_latency() {
        for url in ["", "ws://", "nowhere", "ws://127.0.0.1:0/x"] {
            assert_eq!(round_trip(url).await, None, "{url}");
        }
    }
}
