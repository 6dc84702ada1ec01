//! What packets cost beside their own bytes.

use allocation_counter::measure;
use nym_node::delay_queue::{DelayQueue, QueueLimits};
use nym_node::processor::{BatchRoom, MAX_DELAY, Processed, Processor};
use nym_node::replay::{Freshness, ReplayFilter, ReplayLimits};
use nym_packet::frame::{Frame, FrameDecoder, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::PrivateKey;
use nym_packet::time::Timestamp;
use nym_transport::buffers::Buffers;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sphinx::{Delay, Destination, Hop, NodeAddress, Version};

/// Deadlines spread over 50 seconds, in no order.
fn deadline(number: u64) -> Timestamp {
    Timestamp::from_nanos((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 50_000_000_000) + 1)
}

#[test]
fn waiting_packets_take_their_own_bytes_and_15_percent_at_most() {
    for (size, count) in [
        (PacketSize::Regular, 20_000_u64),
        (PacketSize::Ack, 60_000),
        (PacketSize::Extended, 1000),
    ] {
        let limits = QueueLimits {
            count: usize::MAX,
            bytes: usize::MAX,
        };
        let next_hop = "10.0.0.1:1789".parse().unwrap();
        let frame = Frame::new(PacketMode::Mix, vec![1; size.packet_len()]).unwrap();
        let fill = |queue: &mut DelayQueue| {
            for number in 0..count {
                queue.insert(deadline(number), next_hop, &frame, |_| {
                    unreachable!("there is no limit");
                });
            }
        };
        let mut queue = DelayQueue::new(limits);
        let filling = measure(|| fill(&mut queue));
        let own = count * size.packet_len() as u64;
        assert!(
            filling.bytes_max * 100 <= own * 115,
            "{size}: {} bytes for {own}",
            filling.bytes_max
        );
        let leaving = measure(|| while queue.pop_due(Timestamp::MAX, |_| Vec::new()).is_some() {});
        assert!(queue.is_empty());
        // What stays is the one spare chunk and the room for what is due.
        let kept = filling.bytes_current + leaving.bytes_current;
        assert!(kept < 500_000, "{size}: {kept} bytes");
    }
}

const NODE_KEY: [u8; 32] = [7; 32];

/// The bytes of packets that ask the node to hold them, and then go to another.
fn link(count: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut address = [0; 32];
    // 10.0.0.1:1789, as nodes are named in headers.
    address[..7].copy_from_slice(&[4, 6, 253, 10, 0, 0, 1]);
    let hop = Hop {
        address: NodeAddress(address),
        public_key: PrivateKey::from_bytes(NODE_KEY).public_key(),
    };
    let destination = Destination {
        address: [9; 32],
        identifier: [0; 16],
    };
    let mut bytes = Vec::new();
    for size in PacketSize::ALL.into_iter().cycle().take(count) {
        let delays = [Delay::from_nanos(50_000_000); 2];
        let packet = sphinx::build(
            Version::NYM_0_11,
            &[hop; 2],
            &delays,
            &destination,
            b"hello",
            size.payload_len(),
            rng,
        );
        let frame = Frame::new(PacketMode::Mix, packet.expect("the route is usable"))
            .expect("a packet of this size can be framed");
        frame.encode_into(&mut bytes);
    }
    bytes
}

#[test]
fn the_way_of_a_packet_through_a_node_allocates_nothing() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    // Eight of each size: none needs a second chunk of the delay queue.
    let links = [link(24, &mut rng), link(24, &mut rng)];
    let processor = Processor::new(PrivateKey::from_bytes(NODE_KEY), MAX_DELAY);
    let mut filter = ReplayFilter::new(ReplayLimits::default(), Timestamp::ZERO, &mut rng);
    let mut queue = DelayQueue::new(QueueLimits::default());
    let (buffers, mut decoder, mut room) = (
        Buffers::default(),
        FrameDecoder::new(),
        BatchRoom::default(),
    );
    let (mut frames, mut done) = (Vec::new(), Vec::new());
    let mut pass = |now: Timestamp, link: &[u8]| {
        let mut spares = buffers.lock();
        for read in link.chunks(32 * 1024) {
            decoder.push(read);
            while let Some(frame) = decoder.next_frame_in(|size| spares.take(size)).unwrap() {
                frames.push(frame);
            }
            let check = |headers: &mut [Result<sphinx::VerifiedHeader, sphinx::Error>]| {
                for header in headers {
                    let mac = header.as_ref().unwrap().mac();
                    assert_eq!(filter.check(now, mac), Freshness::Fresh);
                }
            };
            processor.process_batch(&mut room, frames.drain(..), check, &mut done);
            for processed in done.drain(..) {
                let Ok(Processed::Forward(forward)) = processed else {
                    panic!("there is another hop");
                };
                let deadline = now + forward.delay;
                queue.insert(deadline, forward.next_hop, &forward.frame, |_| {
                    unreachable!("there is room");
                });
                spares.give(forward.frame);
            }
        }
        let mut count = 0;
        while let Some((_, frame)) = queue.pop_due(Timestamp::MAX, |size| spares.take(size)) {
            spares.give(frame);
            count += 1;
        }
        assert_eq!(count, 24);
    };
    // The first packets make the room that later ones use.
    pass(Timestamp::ZERO, &links[0]);
    let later = measure(|| pass(Timestamp::ZERO, &links[1]));
    assert_eq!(later.count_total, 0);
}
