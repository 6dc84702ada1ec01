//! What happens to one received frame.
//!
//! ```text
//!  frame ──► verify ──► seen before? ──► peel ──┬─► Forward   wait, then send to the next hop
//!              │             │            │     └─► Final     for a client of this gateway
//!              ▼             ▼            ▼
//!           Rejection     Rejection    Rejection              dropped and counted by reason
//! ```
//!
//! The order is the point. The replay filter is asked about a MAC only after it was verified, and
//! nothing of a replayed packet is decrypted. A sender of a bad packet is told nothing, and its
//! connection stays open.
//!
//! The [`Processor`] is immutable and shared by all workers of a node; the filter is handed in, so
//! that a node can guard it with a lock and a simulation can own it.

use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::{Frame, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::PrivateKey;
use nym_packet::mix_packet::MixPacket;
use nym_packet::node::{self, NodeError, Outcome};
use sphinx::{Batch, VerifiedHeader, Version};

use crate::replay::{Freshness, TAG_LEN};

pub use nym_packet::node::MAX_DELAY;

/// Opens frames with a node's key.
pub struct Processor {
    key: PrivateKey,
    max_delay: Duration,
}

impl Processor {
    /// A processor with the node's Sphinx key, which drops packets that ask to wait for longer
    /// than `max_delay` ([`MAX_DELAY`], one hour, unless there is a reason).
    #[must_use]
    pub const fn new(key: PrivateKey, max_delay: Duration) -> Self {
        Self { key, max_delay }
    }

    /// Takes one layer off `frame`. `check` asks the replay filter about a verified tag.
    ///
    /// # Errors
    /// [`Rejection`]: the packet is to be dropped and counted.
    pub fn process(
        &self,
        frame: Frame,
        check: impl FnOnce(&[u8; TAG_LEN]) -> Freshness,
    ) -> Result<Processed, Rejection> {
        let mode = frame.mode();
        let mut packet = frame.into_packet();
        let verified = node::verify(&self.key, mode, &packet)?;
        if check(verified.mac()) == Freshness::Replayed {
            return Err(Rejection::Replayed);
        }
        let outcome = verified.peel(&mut packet, self.max_delay)?;
        let sorted = Sorted::from(outcome);
        Ok(sorted.complete(mode, packet))
    }

    /// Takes one layer off each of `frames`, which are taken out, and puts what became of them into
    /// `done`, in their order. `check` puts [`sphinx::Error::Replayed`] in the place of the headers
    /// that were seen before.
    ///
    /// The same as [`process`](Self::process) one by one, in a third of the time for eight or more.
    /// Allocates nothing for a packet that goes on, once `room` has grown to the size of a batch.
    pub fn process_batch(
        &self,
        room: &mut BatchRoom,
        frames: impl Iterator<Item = Frame>,
        check: impl FnOnce(&mut [Result<VerifiedHeader, sphinx::Error>]),
        done: &mut Vec<Result<Processed, Rejection>>,
    ) {
        let BatchRoom {
            batch,
            kinds,
            packets,
        } = room;
        for frame in frames {
            kinds.push((frame.mode(), frame.size()));
            packets.push(frame.into_packet());
        }
        check(batch.verify(Version::NYM_0_11, &self.key, packets));
        let peeled = batch.peel(packets);
        for ((result, (mode, size)), packet) in
            peeled.iter().zip(kinds.drain(..)).zip(packets.drain(..))
        {
            let sorted = result.map_err(Rejection::from).and_then(|peeled| {
                let outcome = node::interpret(peeled, mode, size, &packet, self.max_delay)?;
                Ok(Sorted::from(outcome))
            });
            done.push(sorted.map(|sorted| sorted.complete(mode, packet)));
        }
    }
}

/// What a worker keeps from batch to batch, so that later ones allocate nothing.
#[derive(Debug, Default)]
pub struct BatchRoom {
    batch: Batch,
    kinds: Vec<(PacketMode, PacketSize)>,
    packets: Vec<Vec<u8>>,
}

/// An outcome that no longer borrows its packet.
enum Sorted {
    Final {
        destination: [u8; 32],
        message: Vec<u8>,
        surb_ack: Option<MixPacket>,
    },
    Forward {
        next_hop: HopAddress,
        delay: Duration,
    },
}

impl From<Outcome<'_>> for Sorted {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Final {
                destination,
                message,
                forward_ack,
            } => Self::Final {
                destination,
                message: message.to_vec(),
                surb_ack: forward_ack,
            },
            Outcome::Forward { next_hop, delay } => Self::Forward {
                next_hop,
                delay: delay.unwrap_or_default(),
            },
        }
    }
}

impl Sorted {
    fn complete(self, mode: PacketMode, packet: Vec<u8>) -> Processed {
        match self {
            Self::Forward { next_hop, delay } => {
                let frame = Frame::new(mode, packet).expect("peeling keeps a packet's length");
                Processed::Forward(Forward {
                    next_hop,
                    delay,
                    frame,
                })
            }
            Self::Final {
                destination,
                message,
                surb_ack,
            } => Processed::Final(Delivery {
                destination,
                message,
                surb_ack,
                mode,
            }),
        }
    }
}

/// A packet without this node's layer.
#[derive(Debug, PartialEq, Eq)]
pub enum Processed {
    /// It goes on.
    Forward(Forward),
    /// It is for a client, whose gateway this node should be.
    Final(Delivery),
}

/// A packet for the next hop.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where it goes.
    pub next_hop: HopAddress,
    /// How long to hold it, from the moment of processing; zero in vpn mode.
    pub delay: Duration,
    /// The packet, in the size and mode it came in.
    pub frame: Frame,
}

/// What a packet held for a client.
///
/// `Debug` shows nothing: it tells who receives what.
#[derive(PartialEq, Eq)]
pub struct Delivery {
    /// The client's identity key.
    pub destination: [u8; 32],
    /// What the client gets: 21 bytes of an acknowledgement, normally 1,643 of a regular packet.
    pub message: Vec<u8>,
    /// The acknowledgement to send once the message is delivered or stored; acknowledgements
    /// themselves have none.
    pub surb_ack: Option<MixPacket>,
    /// The mode that the packet came in.
    pub mode: PacketMode,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Delivery").finish_non_exhaustive()
    }
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The packet is not valid at this node.
    #[error(transparent)]
    Invalid(NodeError),
    /// The packet passed this node before.
    #[error("the packet was seen before")]
    Replayed,
}

impl From<NodeError> for Rejection {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Sphinx(sphinx::Error::Replayed) => Self::Replayed,
            error => Self::Invalid(error),
        }
    }
}

impl From<sphinx::Error> for Rejection {
    fn from(error: sphinx::Error) -> Self {
        NodeError::from(error).into()
    }
}

/// How many packets were dropped for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectCounts {
    /// Asked to wait for too long.
    pub delay_too_long: u64,
    /// Not meant for this node, or its header was changed on the way.
    pub invalid_header: u64,
    /// The payload cannot be read, or the SURB-ACK in it.
    pub invalid_payload: u64,
    /// The routing record or the address of the next hop makes no sense.
    pub invalid_routing: u64,
    /// Valid, but for a mix node's client, or to be forwarded by a gateway.
    pub misdirected: u64,
    /// Seen before.
    pub replayed: u64,
    /// Could not be recorded against replays, and so not be sent on.
    pub unrecorded: u64,
}

impl RejectCounts {
    /// Counts one packet.
    pub const fn record(&mut self, rejection: &Rejection) {
        let count = match rejection {
            Rejection::Replayed => &mut self.replayed,
            Rejection::Invalid(NodeError::DelayTooLong { .. }) => &mut self.delay_too_long,
            Rejection::Invalid(
                NodeError::NextHop(_) | NodeError::Sphinx(sphinx::Error::InvalidRouting(_)),
            ) => &mut self.invalid_routing,
            Rejection::Invalid(
                NodeError::MissingSurbAck { .. }
                | NodeError::SurbAck(_)
                | NodeError::Sphinx(sphinx::Error::InvalidPayload(_)),
            ) => &mut self.invalid_payload,
            Rejection::Invalid(_) => &mut self.invalid_header,
        };
        *count += 1;
    }

    /// Adds the counts of another worker.
    pub const fn add(&mut self, other: &Self) {
        self.delay_too_long += other.delay_too_long;
        self.invalid_header += other.invalid_header;
        self.invalid_payload += other.invalid_payload;
        self.invalid_routing += other.invalid_routing;
        self.misdirected += other.misdirected;
        self.replayed += other.replayed;
        self.unrecorded += other.unrecorded;
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.delay_too_long
            + self.invalid_header
            + self.invalid_payload
            + self.invalid_routing
            + self.misdirected
            + self.replayed
            + self.unrecorded
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::route::{Route, RouteHop};
    use nym_packet::time::Timestamp;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use sphinx::{Delay, Destination};

    use super::*;
    use crate::replay::{ReplayFilter, ReplayLimits};

    const NODE_KEY: [u8; 32] = [7; 32];

    /// A node, its filter, and a generator for packets to it.
    struct Bench {
        processor: Processor,
        filter: ReplayFilter,
        rng: ChaCha20Rng,
    }

    impl Bench {
        fn new() -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(3);
            Self {
                processor: Processor::new(PrivateKey::from_bytes(NODE_KEY), MAX_DELAY),
                filter: ReplayFilter::new(ReplayLimits::default(), Timestamp::ZERO, &mut rng),
                rng,
            }
        }

        /// A packet of the ack size over this node and, if `hops` is 2, another one.
        fn packet(&mut self, hops: usize, delay: Duration, message: &[u8]) -> Vec<u8> {
            let key = PrivateKey::from_bytes(NODE_KEY).public_key();
            let address = next_hop();
            let route = Route::new(vec![
                RouteHop {
                    address,
                    sphinx_key: key
                };
                hops
            ])
            .unwrap();
            sphinx::build(
                Version::NYM_0_11,
                &route.to_sphinx(),
                &vec![Delay::from(delay); hops],
                &Destination {
                    address: [9; 32],
                    identifier: [0; 16],
                },
                message,
                PacketSize::Ack.payload_len(),
                &mut self.rng,
            )
            .unwrap()
        }

        fn process(&mut self, mode: PacketMode, packet: &[u8]) -> Result<Processed, Rejection> {
            let frame = Frame::new(mode, packet.to_vec()).unwrap();
            let Self {
                processor, filter, ..
            } = self;
            processor.process(frame, |tag| filter.check(Timestamp::ZERO, tag))
        }
    }

    fn next_hop() -> HopAddress {
        "10.0.0.1:1789".parse().unwrap()
    }

    #[test]
    fn a_forward_packet_keeps_its_size_mode_and_delay() {
        let mut bench = Bench::new();
        let delay = Duration::from_millis(50);
        let packet = bench.packet(2, delay, b"hello");
        let Ok(Processed::Forward(forward)) = bench.process(PacketMode::Mix, &packet) else {
            panic!("the packet has another hop");
        };
        assert_eq!((forward.next_hop, forward.delay), (next_hop(), delay));
        assert_eq!(forward.frame.size(), PacketSize::Ack);
        assert_ne!(forward.frame.packet(), packet);
        // What comes out is a packet for the next hop, here the same node.
        let next = forward.frame.into_packet();
        let Ok(Processed::Final(delivery)) = bench.process(PacketMode::Mix, &next) else {
            panic!("the second hop is the last");
        };
        assert_eq!(delivery.message, b"hello");
        assert_eq!(delivery.destination, [9; 32]);
        assert_eq!(delivery.surb_ack, None);
    }

    #[test]
    fn vpn_mode_ignores_the_delay_however_long() {
        let mut bench = Bench::new();
        let packet = bench.packet(2, MAX_DELAY * 2, b"");
        let Ok(Processed::Forward(forward)) = bench.process(PacketMode::Vpn, &packet) else {
            panic!("the packet has another hop");
        };
        assert_eq!(forward.delay, Duration::ZERO);
        assert_eq!(forward.frame.mode(), PacketMode::Vpn);
    }

    #[test]
    fn the_second_time_a_packet_is_dropped_even_with_another_group_element_bit() {
        let mut bench = Bench::new();
        let packet = bench.packet(2, Duration::ZERO, b"");
        assert!(bench.process(PacketMode::Mix, &packet).is_ok());
        assert_eq!(
            bench.process(PacketMode::Mix, &packet),
            Err(Rejection::Replayed)
        );
        let mut altered = packet;
        altered[31] ^= 0x80;
        assert_eq!(
            bench.process(PacketMode::Mix, &altered),
            Err(Rejection::Replayed)
        );
        assert_eq!(
            bench.process(PacketMode::Vpn, &altered),
            Err(Rejection::Replayed)
        );
    }

    #[test]
    fn an_unverified_packet_does_not_enter_the_filter() {
        let mut bench = Bench::new();
        let packet = bench.packet(2, Duration::ZERO, b"");
        let mut forged = packet.clone();
        forged[60] ^= 1;
        assert!(bench.process(PacketMode::Mix, &forged).is_err());
        assert!(bench.filter.is_empty());
        assert!(bench.process(PacketMode::Mix, &packet).is_ok());
    }

    #[test]
    fn a_batch_gives_what_its_packets_give_one_by_one() {
        let (mut one, mut many) = (Bench::new(), Bench::new());
        let mut packets = Vec::new();
        for index in 0_u8..20 {
            let hops = if index % 5 == 0 { 1 } else { 2 };
            packets.push(one.packet(hops, Duration::from_millis(index.into()), &[index]));
        }
        packets[3][60] ^= 1;
        packets[7] = packets[6].clone();
        packets[8] = one.packet(2, MAX_DELAY * 2, b"");
        let expected: Vec<_> = packets
            .iter()
            .map(|packet| one.process(PacketMode::Mix, packet))
            .collect();
        let frames: Vec<_> = packets
            .into_iter()
            .map(|packet| Frame::new(PacketMode::Mix, packet).unwrap())
            .collect();
        let (mut room, mut done) = (BatchRoom::default(), Vec::new());
        // The room is used again: nothing of the first batch is left in the second.
        for batch in [&frames[..13], &frames[13..]] {
            many.processor.process_batch(
                &mut room,
                batch.iter().cloned(),
                |headers| {
                    for header in headers {
                        if let Ok(verified) = header
                            && many.filter.check(Timestamp::ZERO, verified.mac())
                                == Freshness::Replayed
                        {
                            *header = Err(sphinx::Error::Replayed);
                        }
                    }
                },
                &mut done,
            );
        }
        assert_eq!(done, expected);
        assert_eq!(done[7], Err(Rejection::Replayed));
    }

    #[test]
    fn a_delay_at_the_limit_passes_and_one_above_is_dropped() {
        let mut bench = Bench::new();
        let at_limit = bench.packet(2, MAX_DELAY, b"");
        assert!(bench.process(PacketMode::Mix, &at_limit).is_ok());
        let above = bench.packet(2, MAX_DELAY + Duration::from_nanos(1), b"");
        let rejection = bench.process(PacketMode::Mix, &above).unwrap_err();
        let mut counts = RejectCounts::default();
        counts.record(&rejection);
        assert_eq!(
            counts,
            RejectCounts {
                delay_too_long: 1,
                ..RejectCounts::default()
            }
        );
    }

    #[test]
    fn each_reason_has_its_count() {
        use nym_packet::address::AddressError;
        use sphinx::{Error, PayloadFault, RoutingFault};

        let rejections = [
            Rejection::Replayed,
            NodeError::Sphinx(Error::InvalidHeader).into(),
            NodeError::Sphinx(Error::InvalidPayload(PayloadFault::NonZeroPrefix)).into(),
            NodeError::MissingSurbAck { found: 3 }.into(),
            NodeError::Sphinx(Error::InvalidRouting(RoutingFault::UnknownFlag { flag: 3 })).into(),
            NodeError::NextHop(AddressError::UnknownType { found: 5 }).into(),
        ];
        let mut counts = RejectCounts::default();
        for rejection in &rejections {
            counts.record(rejection);
        }
        assert_eq!((counts.replayed, counts.invalid_header), (1, 1));
        assert_eq!((counts.invalid_payload, counts.invalid_routing), (2, 2));
        let mut sum = counts;
        sum.add(&counts);
        assert_eq!(sum.total(), 12);
    }
}
