//! What packets cost beside their own bytes.

use allocation_counter::measure;
use nym_node::delay_queue::{DelayQueue, QueueLimits};
use nym_packet::frame::{Frame, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::time::Timestamp;

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
        let leaving = measure(|| while queue.pop_due(Timestamp::MAX).is_some() {});
        assert!(queue.is_empty());
        // What stays is the one spare chunk and the room for what is due.
        let kept = filling.bytes_current + leaving.bytes_current;
        assert!(kept < 500_000, "{size}: {kept} bytes");
    }
}
