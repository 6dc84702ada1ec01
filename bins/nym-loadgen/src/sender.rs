//! Writing packets to the node, paced or as fast as it takes them.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use nym_transport::stream::Stream;
use nym_transport::tls::{Expected, TlsIdentity, encrypt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::packets::{self, Share};
use crate::{Load, LoadError};

/// Frames written at once at most: 16 regular ones are 38,640 bytes, less than what a socket
/// buffer takes.
const BURST: u32 = 16;

/// How fast packets leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As fast as the node reads.
    FlatOut,
    /// At this rate, whatever the node does; packets that are late leave at once.
    PerSecond(u32),
    /// The time between two packets of one connection.
    Every(Duration),
}

impl Pace {
    /// The pace of one of so many connections.
    pub(crate) fn share(self, connections: NonZeroU32) -> Self {
        match self {
            Self::PerSecond(rate) => {
                let interval = Duration::from_secs(1) * connections.get() / rate.max(1);
                Self::Every(interval)
            }
            other => other,
        }
    }

    /// When a connection's n-th packet is due, counted from the start.
    fn due(self, index: u32) -> Duration {
        match self {
            Self::FlatOut | Self::PerSecond(_) => Duration::ZERO,
            Self::Every(interval) => interval.saturating_mul(index),
        }
    }
}

/// A packet and when it was handed to the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Number of the packet.
    pub(crate) number: u32,
    /// When its bytes were given to the socket.
    pub(crate) at: Instant,
}

/// Opens the load's connections.
pub(crate) async fn connect(load: &Load, own: &TlsIdentity) -> Result<Vec<Stream>, LoadError> {
    let mut connections = Vec::new();
    for _ in 0..load.connections.get() {
        let failed = |source| LoadError::Connect {
            address: load.node,
            source,
        };
        let connection = TcpStream::connect(load.node).await.map_err(failed)?;
        connection.set_nodelay(true).map_err(failed)?;
        let link = match load.identity_key {
            Some(key) => encrypt(connection, Expected::OneOf(vec![key]), Some(own))
                .await
                .map_err(|refusal| LoadError::Link {
                    address: load.node,
                    refusal,
                })?,
            None => connection.into(),
        };
        connections.push(link);
    }
    Ok(connections)
}

/// Sends the packets that are to wait, as fast as the node takes them.
pub(crate) async fn send_waiting(
    load: &Load,
    sink: SocketAddr,
    connections: &mut [Stream],
) -> Result<(), LoadError> {
    for (index, frames) in packets::waiting(load, sink).enumerate() {
        let index = index % connections.len();
        let written = connections[index].write_all(&frames).await;
        written.map_err(|source| LoadError::Waiting { source })?;
    }
    for connection in connections {
        let flushed = connection.flush().await;
        flushed.map_err(|source| LoadError::Waiting { source })?;
    }
    Ok(())
}

/// Sends one connection's share and tells what was written. It ends early when the node closes the
/// connection or `stop` is cancelled, as when the node reads no more.
pub(crate) async fn send(
    mut connection: Stream,
    share: Share,
    pace: Pace,
    start: Instant,
    stop: CancellationToken,
) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(share.frames.len() / share.frame_len);
    let mut index = 0;
    let mut rest = share.frames.as_slice();
    while !rest.is_empty() {
        tokio::time::sleep_until(start + pace.due(index)).await;
        let now = Instant::now();
        let is_due = |offset: &u32| start + pace.due(index + offset) <= now;
        let count = (0..BURST).take_while(is_due).count().max(1);
        let (burst, after) = rest.split_at((count * share.frame_len).min(rest.len()));
        let write = async {
            connection.write_all(burst).await?;
            connection.flush().await
        };
        // Cancelled, the write is not taken up again: half a burst may have been written.
        let written = stop.run_until_cancelled(write).await;
        if !matches!(written, Some(Ok(()))) {
            break;
        }
        for _ in burst.chunks(share.frame_len) {
            sent.push(Sent {
                number: share.first + index,
                at: now,
            });
            index += 1;
        }
        rest = after;
    }
    // A failing shutdown means that the node is gone, which the sink will notice.
    let _ = connection.shutdown().await;
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_rate() {
        let four = NonZeroU32::new(4).unwrap();
        let pace = Pace::PerSecond(1000).share(four);
        assert_eq!(pace, Pace::Every(Duration::from_millis(4)));
        assert_eq!(pace.due(3), Duration::from_millis(12));
        assert_eq!(Pace::FlatOut.share(four).due(3), Duration::ZERO);
    }
}
