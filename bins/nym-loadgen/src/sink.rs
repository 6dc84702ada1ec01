//! The last hop: takes what the node sends and notes when it came.

use std::time::Duration;

use nym_daemon::clock::unix_time_secs;
use nym_packet::frame::FrameDecoder;
use nym_transport::legacy::LegacyPeers;
use nym_transport::stream::Stream;
use nym_transport::tls::{Acceptor, Handshakes, LinkPolicy, TlsIdentity};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Packets kept for opening afterwards, at most: 20,000 regular ones take 48 MB. Beyond, every
/// second, third, … packet is kept.
const SAMPLE: u64 = 20_000;

/// Bytes read at once: 27 regular frames.
const READ_LEN: usize = 64 * 1024;

/// Reads that wait for the counting task: at most 64 · 64 KiB = 4 MiB. When they are full,
/// connections are not read.
const READS_QUEUED: usize = 64;

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Packets in all.
    pub(crate) count: u64,
    /// When the first and the last came.
    pub(crate) span: Option<(Instant, Instant)>,
    /// Some of the packets, still closed, and when each came.
    pub(crate) sample: Vec<(Vec<u8>, Instant)>,
}

/// Takes packets until `expected` came, or none for as long as `silence`.
///
/// A node opens one connection to each next hop, but may replace it, so several are taken.
pub(crate) async fn receive(
    listener: TcpListener,
    own: TlsIdentity,
    expected: u64,
    silence: Duration,
) -> Arrivals {
    let keep_every = expected.div_ceil(SAMPLE).max(1);
    let (reads, mut queue) = mpsc::channel(READS_QUEUED);
    // Dropped at the end, which ends the tasks in it.
    let mut tasks = JoinSet::new();
    // Whoever the node is, and whichever envelope it has: the packets tell whether they are ours.
    let policy = LinkPolicy {
        legacy: LegacyPeers::Allow.into(),
        unix_secs: unix_time_secs,
        handshakes: Handshakes::default(),
    };
    let acceptor = Acceptor::for_nodes(&own, policy, None);
    tasks.spawn(accept(listener, acceptor, reads));
    let mut arrivals = Arrivals::default();
    while arrivals.count < expected {
        let Ok(Some(read)) = timeout(silence, queue.recv()).await else {
            break;
        };
        let Read { packets, at } = read;
        arrivals.span = Some((arrivals.span.map_or(at, |(first, _)| first), at));
        for packet in packets {
            if arrivals.count.is_multiple_of(keep_every) {
                arrivals.sample.push((packet, at));
            }
            arrivals.count += 1;
        }
    }
    arrivals
}

/// The packets that one read of a connection completed.
struct Read {
    packets: Vec<Vec<u8>>,
    at: Instant,
}

async fn accept(listener: TcpListener, acceptor: Acceptor, reads: mpsc::Sender<Read>) {
    let mut connections = JoinSet::new();
    loop {
        // A failing accept concerns one connection; the packets it would have brought count as
        // lost.
        if let Ok((stream, _)) = listener.accept().await {
            let (acceptor, reads) = (acceptor.clone(), reads.clone());
            connections.spawn(async move {
                if let Ok(link) = acceptor.accept(stream).await {
                    read(link, reads).await;
                }
            });
        }
    }
}

async fn read(mut stream: Stream, reads: mpsc::Sender<Read>) {
    let mut decoder = FrameDecoder::new();
    let mut buffer = vec![0; READ_LEN];
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        let at = Instant::now();
        decoder.push(buffer.get(..len).unwrap_or_default());
        let mut packets = Vec::new();
        while let Ok(Some(frame)) = decoder.next_frame() {
            packets.push(frame.into_packet());
        }
        if !packets.is_empty() && reads.send(Read { packets, at }).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::frame::{Frame, PacketMode};
    use nym_packet::geometry::PacketSize;
    use nym_packet::keys::IdentityKeyPair;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;

    async fn arrivals_of(count: u8, expected: u64) -> Arrivals {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut link = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        for fill in 0..count {
            let packet = vec![fill; PacketSize::Ack.packet_len()];
            Frame::new(PacketMode::Mix, packet)
                .unwrap()
                .encode_into(&mut bytes);
        }
        link.write_all(&bytes).await.unwrap();
        let own = TlsIdentity::new(&IdentityKeyPair::from_seed(&[1; 32]));
        receive(listener, own, expected, Duration::from_millis(200)).await
    }

    #[tokio::test]
    async fn the_sink_stops_when_everything_came() {
        let arrivals = arrivals_of(3, 3).await;
        assert_eq!(arrivals.count, 3);
        assert_eq!(arrivals.sample.len(), 3);
        assert!(arrivals.span.is_some());
    }

    #[tokio::test]
    async fn the_sink_gives_up_when_nothing_comes() {
        let arrivals = arrivals_of(1, 3).await;
        assert_eq!(arrivals.count, 1);
        assert_eq!(arrivals_of(0, 1).await.span, None);
    }
}
