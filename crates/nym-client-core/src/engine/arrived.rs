//! Messages that arrived and that no app has taken.

use std::collections::BTreeMap;

use crate::event::MessageNumber;

/// Their numbers, and how much they take.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// The last number given.
    last: u64,
    lens: BTreeMap<MessageNumber, usize>,
    bytes: usize,
}

impl Arrived {
    /// What a message takes beside its own bytes, so that empty ones are bounded as well.
    const COST: usize = 256;

    /// Gives a number to a message that arrived.
    pub(crate) fn add(&mut self, len: usize) -> MessageNumber {
        let number = MessageNumber::new(self.last + 1);
        self.restore(number, len);
        number
    }

    /// An app has the message.
    pub(crate) fn take(&mut self, number: MessageNumber) {
        let len = self.lens.remove(&number);
        self.bytes -= len.map_or(0, |len| len + Self::COST);
    }

    /// Puts back a message that was kept.
    pub(crate) fn restore(&mut self, number: MessageNumber, len: usize) {
        self.restore_last(number.get());
        self.lens.insert(number, len);
        self.bytes += len + Self::COST;
    }

    /// Puts back the last number given.
    pub(crate) fn restore_last(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lens.len()
    }

    /// Bytes of these messages.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_no_more_and_its_number_is_not_given_again() {
        let mut arrived = Arrived::default();
        let (first, empty) = (arrived.add(1_000), arrived.add(0));
        assert_eq!(arrived.bytes(), 1_000 + 2 * Arrived::COST);
        for _ in 0..2 {
            arrived.take(first);
            assert_eq!(arrived.bytes(), Arrived::COST, "once");
        }
        assert_eq!(arrived.count(), 1);
        arrived.take(empty);
        assert_eq!((arrived.count(), arrived.bytes()), (0, 0));
        assert!(arrived.add(1) > empty);
    }
}
