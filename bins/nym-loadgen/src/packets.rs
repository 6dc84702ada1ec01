//! The packets of a run, built in advance on all processors.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::{FrameHeader, PacketMode};
use nym_packet::geometry::PacketSize;
use rand_core::CryptoRng;
use sphinx::{Delay, Destination, Hop, PrivateKey, PublicKey, Version};

use crate::{Load, WAIT};

/// Packets to wait that are built together: 24 MB of regular ones.
const WAITING_AT_ONCE: u32 = 10_000;

/// Length in bytes of the packet's number, which is all of its message.
const NUMBER_LEN: usize = 4;

/// All packets of a run, and the key that reads them at the sink.
pub(crate) struct Packets {
    size: PacketSize,
    sink_key: PrivateKey,
    /// Frames one after the other, all of one length; the n-th carries the number n.
    chunks: Vec<Arc<Vec<u8>>>,
    /// Delay asked for by the n-th packet.
    delays: Vec<Delay>,
}

/// A run of consecutive packets for one connection.
pub(crate) struct Share {
    /// Number of the first packet.
    pub(crate) first: u32,
    /// Length of each frame in bytes.
    pub(crate) frame_len: usize,
    /// The frames.
    pub(crate) frames: Arc<Vec<u8>>,
}

impl Packets {
    /// Builds the packets of a load: two hops, the node and the sink.
    pub(crate) fn build(load: &Load, sink: SocketAddr) -> Self {
        let mut rng = nym_daemon::entropy();
        let sink_key = PrivateKey::generate(&mut rng);
        let plan = Plan::new(load, sink, sink_key.public_key());
        let delays: Vec<_> = (0..load.packets.get())
            .map(|_| Delay::sample_exponential(load.mean_delay, &mut rng))
            .collect();
        let chunks = shares(load.packets, load.connections)
            .map(|(first, count)| Arc::new(plan.build_all(first, count, &delays)))
            .collect();
        Self {
            size: load.size,
            sink_key,
            chunks,
            delays,
        }
    }

    /// The longest delay that any packet asks the node for.
    pub(crate) fn longest_delay(&self) -> Duration {
        self.delays
            .iter()
            .max()
            .copied()
            .map_or(Duration::ZERO, Duration::from)
    }

    /// The delay that a packet asks for.
    pub(crate) fn delay(&self, number: u32) -> Option<Duration> {
        self.delays
            .get(usize::try_from(number).ok()?)
            .copied()
            .map(Duration::from)
    }

    /// What each connection sends.
    pub(crate) fn shares(&self, connections: NonZeroU32) -> impl Iterator<Item = Share> {
        let count = u32::try_from(self.delays.len())
            .ok()
            .and_then(NonZeroU32::new);
        let firsts = count
            .into_iter()
            .flat_map(move |count| shares(count, connections));
        firsts.zip(&self.chunks).map(|((first, _), frames)| Share {
            first,
            frame_len: self.size.frame_len(),
            frames: Arc::clone(frames),
        })
    }

    /// Opens a packet as it arrived at the sink and tells its number, `None` if it is not ours.
    pub(crate) fn number_of(&self, mut packet: Vec<u8>) -> Option<u32> {
        sphinx::process(Version::NYM_0_11, &self.sink_key, &mut packet).ok()?;
        let payload = packet.get(sphinx::HEADER_LEN..)?;
        let message = sphinx::recover_plaintext(payload).ok()?;
        Some(u32::from_be_bytes(*message.first_chunk::<NUMBER_LEN>()?))
    }
}

/// Cuts `count` packets into consecutive shares, one per connection, as even as possible: pairs of
/// first number and length.
fn shares(count: NonZeroU32, connections: NonZeroU32) -> impl Iterator<Item = (u32, u32)> {
    let (count, connections) = (u64::from(count.get()), u64::from(connections.get()));
    (0..connections).map(move |index| {
        let bound = |index: u64| {
            u32::try_from(count * index / connections).expect("the bound is at most the count")
        };
        (bound(index), bound(index + 1) - bound(index))
    })
}

/// Frames that the node holds for [`WAIT`], a few at a time. The sink never sees them.
pub(crate) fn waiting(load: &Load, sink: SocketAddr) -> impl Iterator<Item = Vec<u8>> {
    let nobody = PrivateKey::generate(&mut nym_daemon::entropy()).public_key();
    let plan = Plan {
        header: FrameHeader {
            size: load.size,
            // In vpn mode, nothing waits.
            mode: PacketMode::Mix,
        },
        ..Plan::new(load, sink, nobody)
    };
    let step = usize::try_from(WAITING_AT_ONCE).expect("some thousands fit into a usize");
    let delays = vec![Delay::from(WAIT); step];
    let all = load.waiting;
    (0..all).step_by(step).map(move |first| {
        let count = WAITING_AT_ONCE.min(all - first);
        plan.build_all(0, count, &delays)
    })
}

struct Plan {
    route: [Hop; 2],
    header: FrameHeader,
}

impl Plan {
    fn new(load: &Load, sink: SocketAddr, sink_key: PublicKey) -> Self {
        Self {
            route: [
                Hop {
                    address: HopAddress::new(load.node).to_node_address(),
                    public_key: load.sphinx_key,
                },
                Hop {
                    address: HopAddress::new(sink).to_node_address(),
                    public_key: sink_key,
                },
            ],
            header: FrameHeader {
                size: load.size,
                mode: load.mode,
            },
        }
    }

    fn build_all(&self, first: u32, count: u32, delays: &[Delay]) -> Vec<u8> {
        let frame_len = self.header.size.frame_len();
        let numbers: Vec<u32> = (first..first + count).collect();
        let mut frames = vec![0; numbers.len() * frame_len];
        let workers = thread::available_parallelism().map_or(1, Into::into);
        let per_worker = numbers.len().div_ceil(workers).max(1);
        thread::scope(|scope| {
            let parts = frames
                .chunks_mut(per_worker * frame_len)
                .zip(numbers.chunks(per_worker));
            for (frames, numbers) in parts {
                scope.spawn(move || {
                    let mut rng = nym_daemon::entropy();
                    for (frame, number) in frames.chunks_exact_mut(frame_len).zip(numbers) {
                        let delay = usize::try_from(*number).ok().and_then(|n| delays.get(n));
                        self.build(frame, *number, delay.copied().unwrap_or_default(), &mut rng);
                    }
                });
            }
        });
        frames
    }

    fn build<R: CryptoRng>(&self, frame: &mut [u8], number: u32, delay: Delay, rng: &mut R) {
        let (header, packet) = frame
            .split_first_chunk_mut::<{ FrameHeader::LEN }>()
            .expect("a frame is longer than its header");
        *header = self.header.to_bytes();
        let destination = Destination {
            address: [0; 32],
            identifier: [0; 16],
        };
        let delays = [delay, Delay::ZERO];
        let message = number.to_be_bytes();
        sphinx::build_into(
            Version::NYM_0_11,
            &self.route,
            &delays,
            &destination,
            &message,
            packet,
            rng,
        )
        .expect("two hops, two delays and four bytes fit into every packet size");
    }
}

/// Names of the sizes on the command line.
pub(crate) fn parse_size(text: &str) -> Result<PacketSize, String> {
    match text {
        "regular" => Ok(PacketSize::Regular),
        "ack" => Ok(PacketSize::Ack),
        "extended" => Ok(PacketSize::Extended),
        _ => Err("allowed are regular, ack and extended".to_owned()),
    }
}

/// Names of the modes on the command line.
pub(crate) fn parse_mode(text: &str) -> Result<PacketMode, String> {
    match text {
        "mix" => Ok(PacketMode::Mix),
        "vpn" => Ok(PacketMode::Vpn),
        _ => Err("allowed are mix and vpn".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn load(node_key: &PrivateKey) -> Load {
        Load {
            node: "127.0.0.1:1789".parse().unwrap(),
            sphinx_key: node_key.public_key(),
            identity_key: None,
            sink: "127.0.0.1:0".parse().unwrap(),
            connections: number(2),
            packets: number(5),
            rate: None,
            mean_delay: Duration::from_millis(50),
            waiting: 0,
            size: PacketSize::Ack,
            mode: PacketMode::Mix,
            pid: None,
            pages: None,
            patience: Duration::from_secs(1),
        }
    }

    #[test]
    fn shares_are_consecutive_even_and_complete() {
        let all: Vec<_> = shares(number(10), number(3)).collect();
        assert_eq!(all, [(0, 3), (3, 3), (6, 4)]);
        assert_eq!(
            shares(number(1), number(2)).collect::<Vec<_>>(),
            [(0, 0), (0, 1)]
        );
    }

    #[test]
    fn each_packet_crosses_the_node_and_shows_its_number_at_the_sink() {
        let node_key = PrivateKey::from_bytes([7; 32]);
        let load = load(&node_key);
        let sink: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let packets = Packets::build(&load, sink);
        let mut seen = Vec::new();
        for share in packets.shares(load.connections) {
            for frame in share.frames.chunks(share.frame_len) {
                let mut packet = frame[FrameHeader::LEN..].to_vec();
                let peeled = sphinx::process(Version::NYM_0_11, &node_key, &mut packet).unwrap();
                let number = packets.number_of(packet).unwrap();
                let sphinx::Peeled::Forward { next_hop, delay } = peeled else {
                    panic!("the node is not the last hop");
                };
                assert_eq!(next_hop, HopAddress::new(sink).to_node_address());
                assert_eq!(Duration::from(delay), packets.delay(number).unwrap());
                seen.push(number);
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn packets_to_wait_are_complete_and_ask_for_the_whole_wait() {
        let node_key = PrivateKey::from_bytes([7; 32]);
        let count = WAITING_AT_ONCE / 100;
        let load = Load {
            waiting: count,
            mode: PacketMode::Vpn,
            ..load(&node_key)
        };
        let mut seen = 0;
        for frames in waiting(&load, load.node) {
            for frame in frames.chunks_exact(PacketSize::Ack.frame_len()) {
                assert_eq!(frame[1], PacketMode::Mix.code());
                let mut packet = frame[FrameHeader::LEN..].to_vec();
                let peeled = sphinx::process(Version::NYM_0_11, &node_key, &mut packet).unwrap();
                let sphinx::Peeled::Forward { delay, .. } = peeled else {
                    panic!("the node is not the last hop");
                };
                assert_eq!(Duration::from(delay), WAIT);
                seen += 1;
            }
        }
        assert_eq!(seen, count);
    }

    #[test]
    fn foreign_packets_have_no_number() {
        let load = load(&PrivateKey::from_bytes([7; 32]));
        let packets = Packets::build(&load, load.node);
        assert_eq!(packets.number_of(vec![1; 386]), None);
        assert_eq!(packets.number_of(Vec::new()), None);
    }
}
