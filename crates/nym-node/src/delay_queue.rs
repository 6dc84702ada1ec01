//! Packets that wait for their moment.
//!
//! Each packet of a Loopix mix leaves on its own, after the exponential delay that its header names
//! (Piotrowska et al. 2017, section 4.1). The queue knows no timer: its owner asks for
//! [`DelayQueue::next_turn`] and sleeps until then.
//!
//! # Time and memory
//!
//! A timer wheel sorts by 131 µs; what has come to its turn is sorted exactly. So a packet costs
//! the same whether ten wait or a million, and leaves at its deadline, never before. It lies in a
//! slot of its own length: 32 bytes and a share of a chunk beside it, 16 more in its last 131 µs.
//! That is 2 % of a regular packet and 12 % of an ack. An empty queue is 300 KB.
//!
//! # When it is full
//!
//! Delays are chosen by senders, so the queue is memory that strangers fill. It is bounded by
//! count and by bytes, and when it is full *the oldest deadlines stay*: of all packets, the new one
//! among them, that whose deadline is farthest away is dropped, to a slot of the wheel, and counted.
//!
//! Nothing is sent early: whoever floods a node would then push everybody else's packets out at a
//! moment of their choosing, which is the flushing attack that random delays are there to prevent
//! (Serjantov et al. 2002, "From a trickle to a flood"). And nothing that is due soon gives way to
//! what asks to wait for an hour: to displace packets of the usual 50 ms a flood must fill the queue
//! with packets that leave before them, 111,000 every 50 ms at the default limits, which is
//! fifty times what a core can open.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use nym_node::delay_queue::{DelayQueue, QueueLimits};
//! use nym_packet::frame::{Frame, PacketMode};
//! use nym_packet::time::Timestamp;
//!
//! let frame = Frame::new(PacketMode::Mix, vec![7; 2413])?;
//! let next_hop = "10.0.0.1:1789".parse()?;
//! let soon = Timestamp::ZERO + Duration::from_millis(20);
//!
//! let mut queue = DelayQueue::new(QueueLimits::default());
//! queue.insert(soon, next_hop, &frame, |_| unreachable!("the queue is empty"));
//! assert_eq!(queue.pop_due(Timestamp::ZERO, |_| Vec::new()), None);
//! assert_eq!(queue.pop_due(soon, |_| Vec::new()), Some((next_hop, frame)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod occupancy;
mod slots;
mod wheel;

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use nym_packet::address::HopAddress;
use nym_packet::frame::Frame;
use nym_packet::geometry::PacketSize;
use nym_packet::time::Timestamp;

use self::slots::{Entry, SlotId, Slots};
use self::wheel::Wheel;

/// Room for packets whose turn has come, that is kept: 16 bytes each.
const DUE_KEPT: usize = 4096;

/// How much a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Packets at most.
    pub count: usize,
    /// Bytes of packets at most.
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// A million packets and 256 MiB, whichever is reached first. Regular packets of 2,413 bytes
    /// reach the bytes at 111,000: at the usual mean of 50 ms, two million packets per second. A
    /// million regular packets need 2,413,000,000.
    fn default() -> Self {
        Self {
            count: 1_000_000,
            bytes: 256 << 20,
        }
    }
}

/// Packets ordered by deadline; among equal deadlines the order is not defined.
pub struct DelayQueue {
    limits: QueueLimits,
    slots: Slots,
    wheel: Wheel,
    /// Those whose turn of the wheel has come, by their exact deadline.
    due: BinaryHeap<Reverse<(Timestamp, SlotId)>>,
    count: usize,
    bytes: usize,
    dropped: u64,
}

impl DelayQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            slots: Slots::new(),
            wheel: Wheel::new(),
            due: BinaryHeap::new(),
            count: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// Lets a copy of `frame` wait until `deadline`. `on_drop` is told the next hop of each packet
    /// that is dropped for want of room: of waiting ones, or the new one.
    pub fn insert(
        &mut self,
        deadline: Timestamp,
        next_hop: HopAddress,
        frame: &Frame,
        mut on_drop: impl FnMut(HopAddress),
    ) {
        let len = frame.packet().len();
        while self.is_full_for(len) {
            let Some(later) = self.wheel.take_later(&mut self.slots, deadline) else {
                self.dropped += 1;
                return on_drop(next_hop);
            };
            self.dropped += 1;
            on_drop(self.slots.entry(later).next_hop());
            self.forget(later);
        }
        let entry = Entry::new(deadline, next_hop, frame.mode());
        let Some(id) = self.slots.put(frame.size(), entry, frame.packet()) else {
            self.dropped += 1;
            return on_drop(next_hop);
        };
        self.count += 1;
        self.bytes += len;
        if !self.wheel.insert(&mut self.slots, id) {
            self.due.push(Reverse((deadline, id)));
        }
    }

    /// Takes out a packet with the earliest deadline, if that is not after `now`, in the buffer that
    /// `buffer` gives for its size, whatever that holds. Call it until it gives `None`.
    pub fn pop_due(
        &mut self,
        now: Timestamp,
        buffer: impl FnOnce(PacketSize) -> Vec<u8>,
    ) -> Option<(HopAddress, Frame)> {
        let is_due = |due: &BinaryHeap<Reverse<(Timestamp, SlotId)>>| {
            due.peek()
                .is_some_and(|Reverse((deadline, _))| *deadline <= now)
        };
        if !is_due(&self.due) {
            let due = &mut self.due;
            self.wheel.turn(&mut self.slots, now, |slots, id| {
                due.push(Reverse((slots.entry(id).deadline, id)));
            });
        }
        if !is_due(&self.due) {
            return None;
        }
        let Reverse((_, id)) = self.due.pop()?;
        let entry = self.slots.entry(id);
        let (next_hop, mode) = (entry.next_hop(), entry.mode());
        let (size, packet) = self.slots.packet(id);
        let mut buffer = buffer(size);
        buffer.clear();
        buffer.extend_from_slice(packet);
        let frame = Frame::new(mode, buffer).expect("a slot holds what a frame held, whole");
        self.forget(id);
        if self.due.is_empty() && self.due.capacity() > DUE_KEPT {
            self.due.shrink_to(DUE_KEPT);
        }
        Some((next_hop, frame))
    }

    /// When to call [`pop_due`](Self::pop_due) next; `None` while nothing waits. Nothing is due
    /// before; it may be a little before the earliest deadline, and then gives another moment.
    #[must_use]
    pub fn next_turn(&self) -> Option<Timestamp> {
        match self.due.peek() {
            Some(Reverse((deadline, _))) => Some(*deadline),
            None => self.wheel.next_turn(&self.slots),
        }
    }

    /// Packets waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all waiting packets.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets dropped for want of room since the queue was made.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    const fn is_full_for(&self, len: usize) -> bool {
        self.count >= self.limits.count || self.bytes.saturating_add(len) > self.limits.bytes
    }

    /// Frees the slot of a packet that is in neither wheel nor heap any more.
    fn forget(&mut self, id: SlotId) {
        self.count -= 1;
        self.bytes -= self.slots.packet(id).0.packet_len();
        self.slots.free(id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nym_packet::frame::PacketMode;
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn roomy() -> QueueLimits {
        QueueLimits {
            count: usize::MAX,
            bytes: usize::MAX,
        }
    }

    /// A queue whose packets are told apart by the ports of their next hops.
    struct Bench(DelayQueue);

    impl Bench {
        /// Gives the packets that were dropped.
        fn insert(&mut self, deadline: Timestamp, number: u16, size: PacketSize) -> Vec<u16> {
            let fill = number.to_be_bytes()[1];
            let frame = Frame::new(PacketMode::Mix, vec![fill; size.packet_len()]).unwrap();
            let mut dropped = Vec::new();
            self.0.insert(deadline, hop(number), &frame, |hop| {
                dropped.push(hop.socket_addr().port());
            });
            dropped
        }

        fn drain(&mut self, now: Timestamp) -> Vec<u16> {
            std::iter::from_fn(|| self.0.pop_due(now, |_| Vec::new()))
                .map(|(next_hop, frame)| {
                    let number = next_hop.socket_addr().port();
                    assert_eq!(frame.packet()[0], number.to_be_bytes()[1]);
                    number
                })
                .collect()
        }
    }

    fn hop(number: u16) -> HopAddress {
        HopAddress::new(([10, 0, 0, 1], number).into())
    }

    #[test]
    fn a_packet_is_due_at_its_deadline_and_not_before() {
        // In the present tick, in each ring, and beyond the last.
        for deadline in [10, 1 << 20, 1 << 35, 1 << 44, 1 << 50, u64::MAX] {
            let mut bench = Bench(DelayQueue::new(roomy()));
            bench.insert(at(deadline), 1, PacketSize::Ack);
            assert!(bench.0.next_turn().unwrap() <= at(deadline));
            assert_eq!(bench.drain(at(deadline - 1)), [0; 0]);
            assert_eq!(bench.drain(at(deadline)), [1]);
            assert_eq!(bench.0.next_turn(), None);
            assert!(bench.0.is_empty());
            assert_eq!(bench.0.bytes(), 0);
        }
    }

    #[test]
    fn whoever_sleeps_until_the_next_turn_is_never_late() {
        let mut bench = Bench(DelayQueue::new(roomy()));
        let deadline = at(1 << 46);
        bench.insert(deadline, 1, PacketSize::Ack);
        let mut turns = 0;
        while let Some(now) = bench.0.next_turn() {
            assert!(now <= deadline);
            assert_eq!(bench.drain(now).is_empty(), now < deadline);
            turns += 1;
        }
        assert!(turns < 10, "{turns} turns for one packet");
    }

    #[test]
    fn whoever_sleeps_for_a_packet_that_is_near_wakes_once() {
        // In the next tick, and at the far end of the first ring; alone, and with some beside it.
        for (deadline, count, is_exact) in [
            (1 << 17, 1, true),
            ((1 << 32) + 77_777, 1, true),
            (123_456_789, 7, true),
            (123_456_789, 100, false),
        ] {
            let mut bench = Bench(DelayQueue::new(roomy()));
            for number in (0..count).rev() {
                let deadline = at(deadline + u64::from(number) * 10);
                bench.insert(deadline, number, PacketSize::Ack);
            }
            let turn = bench.0.next_turn().unwrap();
            assert!(turn <= at(deadline));
            assert_eq!(turn == at(deadline), is_exact, "{count} packets");
            assert_eq!(bench.drain(at(deadline)), [0]);
        }
    }

    #[test]
    fn of_a_full_queue_what_is_farthest_away_is_dropped() {
        let second = |number: u64| at(number * 1_000_000_000);
        let limits = QueueLimits {
            count: 3,
            ..roomy()
        };
        let mut bench = Bench(DelayQueue::new(limits));
        for (number, deadline) in [(1, 3600), (2, 1), (3, 30)] {
            assert!(
                bench
                    .insert(second(deadline), number, PacketSize::Ack)
                    .is_empty()
            );
        }
        assert_eq!(bench.insert(second(2), 4, PacketSize::Ack), [1]);
        assert_eq!(bench.insert(second(40), 5, PacketSize::Ack), [5]);
        assert_eq!(bench.insert(second(0), 6, PacketSize::Ack), [3]);
        assert_eq!((bench.0.len(), bench.0.dropped()), (3, 3));
        assert_eq!(bench.drain(second(3600)), [6, 2, 4]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let ack = PacketSize::Ack.packet_len();
        let limits = QueueLimits {
            bytes: 7 * ack,
            ..roomy()
        };
        let mut bench = Bench(DelayQueue::new(limits));
        for number in 1..=7 {
            let deadline = at(u64::from(number) << 30);
            assert!(bench.insert(deadline, number, PacketSize::Ack).is_empty());
        }
        assert_eq!(bench.0.bytes(), 7 * ack);
        // A regular packet is as long as seven acks, nearly.
        assert_eq!(
            bench.insert(at(1), 8, PacketSize::Regular),
            [7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(bench.insert(at(2), 9, PacketSize::Extended), [9]);
        assert_eq!(bench.drain(Timestamp::MAX), [8]);
        assert_eq!(bench.0.bytes(), 0);
    }

    #[test]
    fn a_flood_of_long_delays_displaces_no_short_one() {
        let limits = QueueLimits {
            count: 1000,
            ..roomy()
        };
        let mut bench = Bench(DelayQueue::new(limits));
        let hour = at(3_600_000_000_000);
        for number in 0..1000 {
            bench.insert(hour, number, PacketSize::Ack);
        }
        let mut now = Timestamp::ZERO;
        for number in 1000..3000 {
            // There is room for one, at most.
            bench.insert(hour, 0, PacketSize::Ack);
            assert_eq!(bench.insert(hour, 0, PacketSize::Ack), [0]);
            let dropped = bench.insert(now + Duration::from_millis(50), number, PacketSize::Ack);
            assert!(dropped.iter().all(|dropped| *dropped < 1000), "{dropped:?}");
            now += Duration::from_millis(50);
            assert_eq!(bench.drain(now), [number]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever comes and whenever it is asked, exactly what is due leaves, in the order of
        /// deadlines.
        #[test]
        fn the_queue_agrees_with_a_sorted_list(
            steps in prop::collection::vec(
                // A packet this far from now, or time passing; from nanoseconds to days.
                (any::<bool>(), 0..48_u32, any::<u64>()),
                0..200,
            ),
        ) {
            let mut bench = Bench(DelayQueue::new(roomy()));
            let mut model: Vec<(Timestamp, u16)> = Vec::new();
            let mut now = at(1 << 41);
            for (number, (is_packet, bits, random)) in (0_u16..).zip(steps) {
                let span = Duration::from_nanos(random & ((1 << bits) - 1));
                if is_packet {
                    bench.insert(now + span, number, PacketSize::Ack);
                    model.push((now + span, number));
                } else {
                    now += span;
                    let mut left: Vec<_> = bench.drain(now);
                    let mut due: Vec<_> = model.extract_if(.., |(at, _)| *at <= now).collect();
                    due.sort_unstable();
                    let deadline_of = |number: &u16| {
                        due.iter().find(|(_, other)| other == number).map(|(at, _)| *at)
                    };
                    prop_assert!(left.is_sorted_by_key(deadline_of));
                    left.sort_unstable();
                    let mut due: Vec<_> = due.iter().map(|(_, number)| *number).collect();
                    due.sort_unstable();
                    prop_assert_eq!(left, due);
                }
                prop_assert_eq!(bench.0.len(), model.len());
                if let Some((earliest, _)) = model.iter().min() {
                    prop_assert!(bench.0.next_turn().is_some_and(|turn| turn <= *earliest));
                }
            }
        }
    }
}
