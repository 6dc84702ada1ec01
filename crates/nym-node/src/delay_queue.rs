//! Packets that wait for their moment.
//!
//! Each packet of a Loopix mix leaves on its own, after the exponential delay that its header names
//! (Piotrowska et al. 2017, section 4.1). The queue is a binary heap ordered by deadline: a million
//! waiting packets cost twenty comparisons to insert or to take out. It knows no timer; its owner
//! asks for [`DelayQueue::next_deadline`] and sleeps until then.
//!
//! # Bounds
//!
//! Delays are chosen by senders, so the queue is memory that strangers fill. It is bounded by
//! count and by bytes, and when it is full it *refuses the new packet* and counts the refusal. It
//! does not release a waiting packet early: whoever floods a node would then push everybody else's
//! packets out at a moment of their choosing, which is the flushing attack that random delays are
//! there to prevent (Serjantov et al. 2002, "From a trickle to a flood").
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use nym_node::delay_queue::{DelayQueue, QueueLimits};
//! use nym_packet::time::Timestamp;
//!
//! let soon = Timestamp::ZERO + Duration::from_millis(20);
//! let mut queue = DelayQueue::new(QueueLimits::default());
//! queue.insert(soon, 2413, "packet").expect("the queue is empty");
//! assert_eq!(queue.next_deadline(), Some(soon));
//! assert_eq!(queue.pop_due(Timestamp::ZERO), None);
//! assert_eq!(queue.pop_due(soon), Some("packet"));
//! ```

use core::cmp::Ordering;
use std::collections::BinaryHeap;

use nym_packet::time::Timestamp;

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
    /// reach the bytes at 111,000: at the usual mean of 50 ms, two million packets per second.
    fn default() -> Self {
        Self {
            count: 1_000_000,
            bytes: 256 << 20,
        }
    }
}

/// The queue was full; here is the item back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delay queue is full")]
pub struct Refused<T>(pub T);

/// Items ordered by deadline, and by arrival where deadlines are equal.
pub struct DelayQueue<T> {
    limits: QueueLimits,
    heap: BinaryHeap<Waiting<T>>,
    /// Bytes of all waiting items.
    bytes: usize,
    arrivals: u64,
    refused: u64,
}

impl<T> DelayQueue<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            heap: BinaryHeap::new(),
            bytes: 0,
            arrivals: 0,
            refused: 0,
        }
    }

    /// Lets `item`, which takes `bytes` bytes, wait until `deadline`.
    ///
    /// # Errors
    /// [`Refused`] with the item when it would exceed a limit.
    pub fn insert(&mut self, deadline: Timestamp, bytes: usize, item: T) -> Result<(), Refused<T>> {
        let after = self.bytes.saturating_add(bytes);
        if self.heap.len() >= self.limits.count || after > self.limits.bytes {
            self.refused += 1;
            return Err(Refused(item));
        }
        self.bytes = after;
        self.heap.push(Waiting {
            deadline,
            arrival: self.arrivals,
            bytes,
            item,
        });
        self.arrivals += 1;
        Ok(())
    }

    /// Takes out the item with the earliest deadline if that is not after `now`. Call it until it
    /// gives `None`.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        if self.next_deadline()? > now {
            return None;
        }
        let waiting = self.heap.pop()?;
        self.bytes -= waiting.bytes;
        Some(waiting.item)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.heap.peek().map(|waiting| waiting.deadline)
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Bytes of all waiting items.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Items refused since the queue was made.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

struct Waiting<T> {
    deadline: Timestamp,
    /// Position among all arrivals: orders equal deadlines.
    arrival: u64,
    bytes: usize,
    item: T,
}

impl<T> Ord for Waiting<T> {
    /// The reverse of time, because std's heap gives its greatest element first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.deadline, other.arrival).cmp(&(self.deadline, self.arrival))
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Waiting<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn drain(queue: &mut DelayQueue<usize>, now: Timestamp) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop_due(now)).collect()
    }

    #[test]
    fn an_item_is_due_at_its_deadline_and_not_before() {
        let mut queue = DelayQueue::new(QueueLimits::default());
        queue.insert(at(10), 1, 0).unwrap();
        assert_eq!(queue.pop_due(at(9)), None);
        assert_eq!(queue.pop_due(at(10)), Some(0));
        assert_eq!(queue.next_deadline(), None);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn equal_deadlines_leave_in_order_of_arrival() {
        let mut queue = DelayQueue::new(QueueLimits::default());
        for item in 0..100 {
            queue.insert(at(5), 1, item).unwrap();
        }
        assert_eq!(drain(&mut queue, at(5)), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_refuses_the_new_item_and_keeps_the_old_ones() {
        let mut queue = DelayQueue::new(QueueLimits {
            count: 2,
            bytes: 100,
        });
        queue.insert(at(1), 1, 0).unwrap();
        queue.insert(at(2), 1, 1).unwrap();
        assert_eq!(queue.insert(at(0), 1, 2), Err(Refused(2)));
        assert_eq!(queue.refused(), 1);
        assert_eq!(drain(&mut queue, at(2)), [0, 1]);
        queue.insert(at(3), 1, 3).unwrap();
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = DelayQueue::new(QueueLimits {
            count: 100,
            bytes: 100,
        });
        queue.insert(at(1), 60, 0).unwrap();
        assert_eq!(queue.insert(at(1), 41, 1), Err(Refused(1)));
        queue.insert(at(1), 40, 2).unwrap();
        assert_eq!(queue.bytes(), 100);
        assert_eq!(queue.insert(at(1), usize::MAX, 3), Err(Refused(3)));
        assert_eq!(drain(&mut queue, at(1)), [0, 2]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_million_items_come_out_in_order() {
        let mut queue = DelayQueue::new(QueueLimits {
            count: 1_000_000,
            bytes: usize::MAX,
        });
        let mut state = 1_u64;
        for _ in 0..1_000_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            queue.insert(at(state >> 20), 2413, state >> 20).unwrap();
        }
        assert!(queue.insert(at(0), 2413, 0).is_err());
        let mut last = 0;
        while let Some(deadline) = queue.pop_due(Timestamp::MAX) {
            assert!(deadline >= last);
            last = deadline;
        }
        assert!(queue.is_empty());
    }

    proptest! {
        /// Whatever the deadlines, items come out sorted by (deadline, arrival), and at every
        /// moment exactly those that are due.
        #[test]
        fn the_queue_sorts_stably(
            deadlines in prop::collection::vec(0_u64..50, 0..200),
            now in 0_u64..60,
        ) {
            let mut queue = DelayQueue::new(QueueLimits::default());
            for (index, deadline) in deadlines.iter().enumerate() {
                queue.insert(at(*deadline), 1, index).unwrap();
            }
            let mut expected: Vec<usize> = (0..deadlines.len()).collect();
            expected.sort_by_key(|index| deadlines[*index]);
            let due: Vec<usize> =
                expected.iter().copied().filter(|index| deadlines[*index] <= now).collect();
            prop_assert_eq!(drain(&mut queue, at(now)), due.clone());
            prop_assert_eq!(drain(&mut queue, Timestamp::MAX), expected[due.len()..].to_vec());
        }
    }
}
