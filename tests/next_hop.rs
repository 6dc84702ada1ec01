//! A next hop that is killed and started again under load.
//!
//! A mix node as a process forwards to a next hop that ends as a killed process does: all its
//! sockets are closed at once, with what lies in them unread. What the node had not handed to the
//! operating system yet arrives after the restart; what it had is lost; and its counters say how
//! much is what.

#![expect(
    clippy::unwrap_used,
    reason = "the builders of a test fail by panicking, as it does"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nym_daemon::clock::unix_time_secs;
use nym_daemon::entropy;
use nym_packet::address::HopAddress;
use nym_packet::frame::{Frame, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey, public_key_from_base58};
use nym_packet::route::{Route, RouteHop};
use nym_tests::PATIENCE;
use nym_tests::mixnode_process::MixnodeProcess;
use nym_transport::frames::{FrameReader, ReadTimeouts};
use nym_transport::legacy::LegacyPeers;
use nym_transport::stream::Stream;
use nym_transport::tls::{Acceptor, Expected, Handshakes, LinkPolicy, TlsIdentity, encrypt};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sphinx::{Delay, Destination, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Packets sent before it is looked at what became of them.
const STEP: u32 = 100;

/// Bytes that a link has taken out of its socket beyond the last frame that it gave, at most: what it
/// reads at once, a record that is not complete, and a frame that is not.
const READ_AHEAD: u64 = 128 * 1024;

/// How often is looked whether something has happened.
const EVERY: Duration = Duration::from_millis(5);

/// What the node is told: the next hop is in no topology; the page is to show what is true now.
const SETTINGS: [(&str, &str); 4] = [
    ("open_relay_for_tests", "true"),
    ("node_stats_updating_delay", "\"1ms\""),
    ("packet_forwarding_initial_backoff", "\"50ms\""),
    ("packet_forwarding_maximum_backoff", "\"50ms\""),
];

/// A running node, and a link to it.
struct Node {
    process: MixnodeProcess,
    link: Stream,
}

impl Node {
    async fn start(home: &Path) -> Self {
        let _ = MixnodeProcess::init(home, &SETTINGS);
        let process = MixnodeProcess::start(home, None);
        let identity: IdentityPublicKey = process.identity.parse().unwrap();
        let stream = TcpStream::connect(process.packets).await.unwrap();
        let (expected, own) = (Expected::OneOf(vec![identity]), own_identity());
        let link = encrypt(stream, expected, Some(&own)).await.unwrap();
        Self { process, link }
    }

    async fn send(&mut self, frames: &[Frame]) {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode_into(&mut bytes);
        }
        self.link.write_all(&bytes).await.unwrap();
        self.link.flush().await.unwrap();
    }

    /// What the node counts.
    async fn page(&self) -> Page {
        let mut stream = TcpStream::connect(self.process.pages).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Page(text)
    }

    /// Waits until the node's page fulfils a condition.
    async fn until(&self, what: &str, condition: impl Fn(&Page) -> bool) -> Page {
        let waiting = async {
            loop {
                let page = self.page().await;
                if condition(&page) {
                    return page;
                }
                sleep(EVERY).await;
            }
        };
        let page = timeout(PATIENCE, waiting).await;
        assert!(page.is_ok(), "never {what}:\n{}", self.page().await.0);
        page.unwrap()
    }
}

/// The page of a node at one moment.
struct Page(String);

impl Page {
    fn number(&self, name: &str) -> u64 {
        let mut lines = self.0.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        assert!(value.is_some(), "no {name} in {}", self.0);
        value.unwrap().parse().unwrap()
    }

    fn received(&self) -> u64 {
        self.number("nym_node_packets_received_total")
    }

    fn queued(&self) -> u64 {
        self.number("nym_node_frames_queued_total")
    }

    fn written(&self) -> u64 {
        self.number("nym_node_frames_written_total")
    }

    fn links(&self, event: &str) -> u64 {
        self.number(&format!("nym_node_links_total{{event=\"{event}\"}}"))
    }

    /// Packets dropped for any reason.
    fn dropped(&self) -> u64 {
        let is_dropped = |line: &&str| {
            line.starts_with("nym_node_frames_dropped_total")
                || line.starts_with("nym_node_packets_rejected_total")
        };
        let counts = self.0.lines().filter(is_dropped);
        counts
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    }
}

fn own_identity() -> TlsIdentity {
    TlsIdentity::new(&IdentityKeyPair::generate(&mut entropy()))
}

/// The next hop: a port, which may be closed, and what came.
struct NextHop {
    address: SocketAddr,
    key: PrivateKey,
    running: Option<(TcpListener, Option<FrameReader<Stream>>)>,
    /// Packets that came since the last start.
    arrived: u64,
    /// Their numbers, since the first.
    seen: BTreeSet<u32>,
}

impl NextHop {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            key: PrivateKey::generate(&mut entropy()),
            running: Some((listener, None)),
            arrived: 0,
            seen: BTreeSet::new(),
        }
    }

    async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some((listener, None));
        self.arrived = 0;
    }

    /// Closes everything at once.
    fn kill(&mut self) {
        self.running = None;
    }

    /// Takes packets until so many have come since the last start.
    async fn receive(&mut self, count: u64) {
        let receiving = async {
            while self.arrived < count {
                self.receive_some().await;
            }
        };
        let in_time = timeout(PATIENCE, receiving).await.is_ok();
        assert!(in_time, "{} of {count} packets came", self.arrived);
    }

    async fn receive_some(&mut self) {
        let (listener, link) = self.running.as_mut().unwrap();
        let reader = match link {
            Some(reader) => reader,
            None => {
                let (stream, _) = listener.accept().await.unwrap();
                let policy = LinkPolicy {
                    legacy: LegacyPeers::Deny.into(),
                    unix_secs: unix_time_secs,
                    handshakes: Handshakes::default(),
                };
                let acceptor = Acceptor::for_nodes(&own_identity(), policy, None);
                let stream = acceptor.accept(stream).await.unwrap();
                assert!(stream.is_encrypted());
                link.insert(FrameReader::new(stream, ReadTimeouts::default()))
            }
        };
        let mut frames = Vec::new();
        assert_ne!(
            reader.next_frames(&mut frames).await.unwrap(),
            0,
            "the node hung up"
        );
        for frame in frames {
            let mut packet = frame.into_packet();
            sphinx::process(Version::NYM_0_11, &self.key, &mut packet).unwrap();
            let message = sphinx::recover_plaintext(&packet[sphinx::HEADER_LEN..]).unwrap();
            self.seen
                .insert(u32::from_be_bytes(message.try_into().unwrap()));
            self.arrived += 1;
        }
    }

    /// Bytes in the sockets of the links to here: sent and not acknowledged, or arrived and not read.
    fn in_kernel(&self) -> u64 {
        let port = format!(":{:04X}", self.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let of_line = |line: &str| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [_, local, remote, "01", queues, ..] = fields[..] else {
                return 0;
            };
            if !local.ends_with(&port) && !remote.ends_with(&port) {
                return 0;
            }
            let (sending, receiving) = queues.split_once(':').unwrap();
            [sending, receiving]
                .map(|len| u64::from_str_radix(len, 16).unwrap())
                .iter()
                .sum()
        };
        table.lines().map(of_line).sum()
    }
}

/// Packets that show their number to the next hop, and ask for no delay.
struct Packets {
    route: Route,
    next: u32,
    rng: ChaCha20Rng,
}

impl Packets {
    fn new(node: &Node, next_hop: &NextHop) -> Self {
        let hop = |address: SocketAddr, sphinx_key| RouteHop {
            address: HopAddress::new(address),
            sphinx_key,
        };
        let node = &node.process;
        let first = hop(
            node.packets,
            public_key_from_base58(&node.sphinx_key).unwrap(),
        );
        let last = hop(next_hop.address, next_hop.key.public_key());
        Self {
            route: Route::new(vec![first, last]).unwrap(),
            next: 0,
            rng: ChaCha20Rng::seed_from_u64(1),
        }
    }

    fn take(&mut self, count: u32) -> Vec<Frame> {
        let route = self.route.to_sphinx();
        let destination = Destination {
            address: [0; 32],
            identifier: [0; 16],
        };
        let first = self.next;
        self.next += count;
        let mut build = |number: u32| {
            let (delays, size) = ([Delay::ZERO; 2], PacketSize::Regular.payload_len());
            let (message, rng) = (number.to_be_bytes(), &mut self.rng);
            let wire = Version::NYM_0_11;
            let packet = sphinx::build(wire, &route, &delays, &destination, &message, size, rng);
            Frame::new(PacketMode::Mix, packet.unwrap()).unwrap()
        };
        (first..self.next).map(&mut build).collect()
    }

    /// How many were taken.
    fn count(&self) -> u64 {
        self.next.into()
    }
}

/// Sends packets until some hundreds wait for a next hop that reads nothing, and the operating system
/// takes no more. Gives the bytes that it has.
async fn fill_up(node: &mut Node, packets: &mut Packets, next_hop: &NextHop) -> u64 {
    let mut before = (0, 0);
    loop {
        let sent = packets.count();
        let page = node
            .until("takes what was sent", |page| page.queued() == sent)
            .await;
        let now = (page.written(), next_hop.in_kernel());
        if sent - page.written() < 3 * u64::from(STEP) {
            assert!(sent < 30_000, "the operating system takes everything");
            node.send(&packets.take(STEP)).await;
        } else if now == before {
            return next_hop.in_kernel();
        } else {
            sleep(10 * EVERY).await;
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_written_to_a_killed_next_hop_arrives_at_its_successor() {
    let home = tempfile::tempdir().unwrap();
    let (mut node, mut next_hop) = (Node::start(home.path()).await, NextHop::start().await);
    let mut packets = Packets::new(&node, &next_hop);

    // The next hop takes packets, and then no more. The sockets fill up, then the node's queue.
    node.send(&packets.take(3 * STEP)).await;
    next_hop.receive(300).await;
    let in_kernel = fill_up(&mut node, &mut packets, &next_hop).await;

    // It is killed. While it is down, more packets come for it.
    next_hop.kill();
    let page = node
        .until("loses the link", |page| page.links("lost") == 1)
        .await;
    let (written, lost) = (page.written(), page.written() - 300);
    node.send(&packets.take(STEP)).await;
    node.until("dials in vain", |page| page.links("dial_failed") > 0)
        .await;
    next_hop.restart().await;
    node.send(&packets.take(STEP)).await;

    let sent = packets.count();
    next_hop.receive(sent - written).await;
    let page = node
        .until("has written all", |page| page.written() == sent)
        .await;
    assert_eq!(
        (page.received(), page.queued(), page.dropped()),
        (sent, sent, 0)
    );
    assert_eq!((page.links("connected"), page.links("lost")), (2, 1));
    assert_eq!(next_hop.seen.len() as u64, sent - lost, "none came twice");
    // Lost is what the operating system had, and nothing else.
    let lost_len = lost * PacketSize::Regular.frame_len() as u64;
    assert!(
        lost > 0 && lost_len <= in_kernel + READ_AHEAD,
        "{lost_len} of {in_kernel} bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_hop_that_is_killed_again_and_again_gets_all_that_was_not_written() {
    const KILLS: u64 = 3;
    let home = tempfile::tempdir().unwrap();
    let (mut node, mut next_hop) = (Node::start(home.path()).await, NextHop::start().await);
    let mut packets = Packets::new(&node, &next_hop);
    for kills in 1..=KILLS {
        // Killed in the middle of a burst that it reads as fast as it can.
        let burst = packets.take(6 * STEP);
        let enough = next_hop.arrived + 200;
        tokio::join!(node.send(&burst), next_hop.receive(enough));
        next_hop.kill();
        node.until("loses the link", |page| page.links("lost") == kills)
            .await;
        node.send(&packets.take(STEP)).await;
        let sent = packets.count();
        let page = node
            .until("takes what was sent", |page| page.queued() == sent)
            .await;
        // It is down, so nothing more is written before the restart.
        next_hop.restart().await;
        next_hop.receive(sent - page.written()).await;
    }
    let sent = packets.count();
    let page = node
        .until("has written all", |page| page.written() == sent)
        .await;
    assert_eq!(
        (page.received(), page.queued(), page.dropped()),
        (sent, sent, 0)
    );
    assert_eq!(
        (page.links("connected"), page.links("lost")),
        (KILLS + 1, KILLS)
    );
}
