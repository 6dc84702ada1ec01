//! A mix node as a process: killed, restarted, and on a CPU without vector instructions.

#![expect(
    clippy::unwrap_used,
    reason = "the builders of a test fail by panicking, as it does"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::{Frame, FrameDecoder, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::public_key_from_base58;
use nym_packet::route::{Route, RouteHop};
use nym_tests::PATIENCE;
use nym_tests::mixnode_process::MixnodeProcess;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sphinx::{Delay, Destination, Version};

/// What the node is told: these tests speak as a 0.11 node does, and what they listen on is in no
/// topology.
const SETTINGS: [(&str, &str); 2] = [
    ("legacy_peers", "\"allow\""),
    ("open_relay_for_tests", "true"),
];

fn send(node: &MixnodeProcess, frames: &[Frame]) {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode_into(&mut bytes);
    }
    let mut link = TcpStream::connect(node.packets).unwrap();
    link.write_all(&bytes).unwrap();
    // The node reads to the end, and then closes too.
    link.shutdown(Shutdown::Write).unwrap();
    let _ = link.set_read_timeout(Some(PATIENCE));
    assert_eq!(link.read(&mut [0]).unwrap(), 0);
}

/// The next hop of all packets.
struct Sink(TcpListener);

impl Sink {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The packets of the next connection, until there are so many or the node closes it.
    fn receive(&self, count: usize) -> BTreeSet<Vec<u8>> {
        let (mut link, _) = self.0.accept().unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 1 << 16]);
        let mut packets = BTreeSet::new();
        while packets.len() < count {
            let len = link.read(&mut buffer).unwrap();
            if len == 0 {
                break;
            }
            decoder.push(&buffer[..len]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                packets.insert(frame.into_packet());
            }
        }
        packets
    }
}

/// Packets over the node and the sink, which ask for no delay; the same for the same seed.
fn frames(node: &MixnodeProcess, sink: &Sink, count: usize, seed: u64) -> Vec<Frame> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let sphinx_key = public_key_from_base58(&node.sphinx_key).unwrap();
    let hop = |address: SocketAddr| RouteHop {
        address: HopAddress::new(address),
        sphinx_key,
    };
    // The address of the node itself stands in no header.
    let route = Route::new(vec![hop(node.packets), hop(sink.address())]).unwrap();
    let destination = Destination {
        address: [1; 32],
        identifier: [0; 16],
    };
    let sizes = PacketSize::ALL.into_iter().cycle();
    let modes = [PacketMode::Mix, PacketMode::Vpn].into_iter().cycle();
    let build = |(size, mode): (PacketSize, _)| {
        let packet = sphinx::build(
            Version::NYM_0_11,
            &route.to_sphinx(),
            &[Delay::from(Duration::ZERO); 2],
            &destination,
            b"hello",
            size.payload_len(),
            &mut rng,
        );
        Frame::new(mode, packet.unwrap()).unwrap()
    };
    sizes.zip(modes).take(count).map(build).collect()
}

#[test]
fn a_killed_node_takes_no_packet_again_that_it_sent_on() {
    let home = tempfile::tempdir().unwrap();
    let _ = MixnodeProcess::init(home.path(), &SETTINGS);
    let sink = Sink::new();
    let node = MixnodeProcess::start(home.path(), None);
    let before = frames(&node, &sink, 60, 1);
    send(&node, &before);
    let sent_on = sink.receive(before.len());
    assert_eq!(sent_on.len(), before.len());
    node.process.kill();

    let node = MixnodeProcess::start(home.path(), None);
    let new = frames(&node, &sink, 1, 2);
    send(&node, &before);
    send(&node, &new);
    // When it stops it sends what it has taken, and closes its connection.
    node.process.interrupt();
    let sent_on_again = sink.receive(usize::MAX);
    assert_eq!(sent_on_again.len(), 1, "the new packet alone");
    assert!(sent_on.is_disjoint(&sent_on_again));
}

#[test]
fn every_backend_sends_the_same_bytes() {
    let home = tempfile::tempdir().unwrap();
    let data = MixnodeProcess::init(home.path(), &SETTINGS);
    let sink = Sink::new();
    let mut outputs = Vec::new();
    for backend in [Some("portable"), Some("scalar"), None] {
        let node = MixnodeProcess::start(home.path(), backend);
        let packets = frames(&node, &sink, 40, 3);
        send(&node, &packets);
        let sent_on = sink.receive(packets.len());
        assert_eq!(sent_on.len(), packets.len(), "{backend:?}");
        outputs.push(sent_on);
        node.process.interrupt();
        // So that the next takes the same packets.
        std::fs::remove_file(data.join("replay.journal")).unwrap();
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
}
